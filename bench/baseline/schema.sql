-- One database with the rows and indexes that an order leaves in all services together, made anew and filled with what
-- psql is told: :skus, :sold_out, :accounts.
--
-- What is left out are the participants' logs, which one database has no need of, the movement "held" of each line, which
-- it has none of, and the balance of the revenue account: updated by every single order it would be a row that all of them
-- wait for, so an application adds the bookings up.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS baseline CASCADE;
CREATE SCHEMA baseline;
SET search_path = baseline;

CREATE TABLE record (
    transaction_id   uuid PRIMARY KEY,
    client_id        text NOT NULL,
    request_id       text NOT NULL,
    request_digest   bytea NOT NULL,
    state            smallint NOT NULL,
    holds_request    boolean NOT NULL,
    owner_id         text NOT NULL,
    deadline_unix_ms bigint NOT NULL,
    participants     text NOT NULL,
    client_answer    smallint NOT NULL,
    create_time      timestamptz NOT NULL DEFAULT now(),
    decide_time      timestamptz
);
CREATE UNIQUE INDEX record_request ON record (client_id, request_id) WHERE holds_request;

CREATE TABLE stock (
    sku text COLLATE "C" PRIMARY KEY,
    on_hand bigint NOT NULL,
    held bigint NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 1,
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT no_oversell CHECK (0 <= held AND held <= on_hand)
) WITH (fillfactor = 70);

CREATE TABLE movement (
    sku text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    quantity bigint NOT NULL,
    on_hand bigint NOT NULL,
    held bigint NOT NULL,
    create_time timestamptz NOT NULL,
    transaction_id uuid,
    kind smallint NOT NULL,
    reason text,
    request_id text,
    actor text,
    PRIMARY KEY (sku, sequence)
);

CREATE TABLE orders (
    order_id uuid PRIMARY KEY,
    account text NOT NULL,
    request_id text NOT NULL,
    currency text NOT NULL,
    total_minor bigint NOT NULL CHECK (total_minor >= 0),
    lines jsonb NOT NULL,
    reason text NOT NULL DEFAULT '',
    reason_message text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL,
    refused boolean NOT NULL DEFAULT false
);
CREATE INDEX orders_refused ON orders (order_id) WHERE refused;
CREATE INDEX orders_by_account ON orders (account, order_id);

CREATE TABLE account (
    account text COLLATE "C" PRIMARY KEY,
    currency text NOT NULL,
    balance_minor bigint NOT NULL DEFAULT 0,
    held_minor bigint NOT NULL DEFAULT 0,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT held_is_covered CHECK (0 <= held_minor AND held_minor <= balance_minor)
) WITH (fillfactor = 70);

CREATE TABLE booking (
    booking_id uuid PRIMARY KEY,
    debit_account text COLLATE "C" NOT NULL,
    credit_account text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    kind text NOT NULL CHECK (kind IN ('deposit', 'capture')),
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX booking_by_debit ON booking (debit_account, booking_id);
CREATE INDEX booking_by_credit ON booking (credit_account, booking_id);

-- Vacuumed as rarely as the services' tables.
ALTER TABLE record SET (
    autovacuum_analyze_threshold = 100000, autovacuum_analyze_scale_factor = 1,
    autovacuum_vacuum_insert_threshold = 100000, autovacuum_vacuum_insert_scale_factor = 1
);
ALTER TABLE movement SET (
    autovacuum_analyze_threshold = 100000, autovacuum_analyze_scale_factor = 1,
    autovacuum_vacuum_insert_threshold = 100000, autovacuum_vacuum_insert_scale_factor = 1
);
ALTER TABLE orders SET (
    autovacuum_analyze_threshold = 100000, autovacuum_analyze_scale_factor = 1,
    autovacuum_vacuum_insert_threshold = 100000, autovacuum_vacuum_insert_scale_factor = 1
);
ALTER TABLE booking SET (
    autovacuum_analyze_threshold = 100000, autovacuum_analyze_scale_factor = 1,
    autovacuum_vacuum_insert_threshold = 100000, autovacuum_vacuum_insert_scale_factor = 1
);

INSERT INTO stock (sku, on_hand)
    SELECT 's' || lpad(n::text, 5, '0'), CASE WHEN n <= :skus THEN 1000000000 ELSE 0 END
    FROM generate_series(1, :skus + :sold_out) AS n;
INSERT INTO account (account, currency, balance_minor)
    SELECT 'a' || lpad(n::text, 5, '0'), 'GBP', 1000000000000 FROM generate_series(1, :accounts) AS n;
VACUUM ANALYZE;
CHECKPOINT;
