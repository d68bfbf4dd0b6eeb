-- A booking is one row: so much goes from one account to another. That its two sides sum to zero needs no check any more,
-- and that a transaction captures once is what the primary key says. No foreign keys to the accounts: checking them would
-- lock the ledger's own accounts for every capture, and the audit finds a booking without its accounts.
CREATE TABLE booking (
    -- The transaction that captured, or the id of a deposit; a UUIDv7, so that sorted by it is sorted by time.
    booking_id uuid PRIMARY KEY,
    debit_account text COLLATE "C" NOT NULL,
    credit_account text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    kind text NOT NULL CHECK (kind IN ('deposit', 'capture')),
    create_time timestamptz NOT NULL DEFAULT now()
);

INSERT INTO booking
    SELECT d.booking_id, d.account, c.account, c.amount_minor, d.kind, d.create_time
    FROM entry d JOIN entry c USING (booking_id) WHERE d.amount_minor < 0 AND c.amount_minor > 0;
DROP TABLE entry;

CREATE INDEX booking_by_debit ON booking (debit_account, booking_id);
CREATE INDEX booking_by_credit ON booking (credit_account, booking_id);
