-- Accounts and their double-entry ledger. Accounts that begin with "assent:" are the ledger's own: money that comes in is
-- taken from assent:external:CURRENCY, which goes below zero, and what is captured goes to assent:revenue:CURRENCY.
CREATE TABLE account (
    account text COLLATE "C" PRIMARY KEY,
    currency text NOT NULL,
    balance_minor bigint NOT NULL DEFAULT 0,
    held_minor bigint NOT NULL DEFAULT 0,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT held_is_covered CHECK (
        (0 <= held_minor AND held_minor <= balance_minor) OR (account LIKE 'assent:%' AND held_minor = 0)
    )
) WITH (fillfactor = 70);

-- One side of a booking each; those of a booking sum to zero. No foreign key to the account: checking it would lock the
-- ledger's own accounts for every capture, and the audit finds an entry without one.
CREATE TABLE entry (
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    booking_id uuid NOT NULL,
    account text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('deposit', 'capture')),
    create_time timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX entry_by_account ON entry (account, entry_id);
