-- The participant's log: one row per transaction, in the database of the business rows that it speaks for and written in
-- the same local transaction.
--
-- state: 1 PREPARED, 2 COMMITTED, 3 ABORTED.
CREATE TABLE branch_log (
    transaction_id   uuid PRIMARY KEY,
    deadline_unix_ms bigint NOT NULL,
    state            smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    -- Names of all participants, joined by commas; empty on a row that a fence or an abort wrote. So is the owner.
    participants     text NOT NULL DEFAULT '',
    owner_id         text NOT NULL DEFAULT '',
    -- The branch as it was asked for: what a decision, which names only the transaction, is applied to.
    branch           bytea,
    refusal          jsonb,
    create_time      timestamptz NOT NULL DEFAULT now(),
    decide_time      timestamptz,
    CHECK (state <> 1 OR branch IS NOT NULL),
    CHECK ((state = 1) = (decide_time IS NULL))
);

-- For whoever settles what is in doubt.
CREATE INDEX branch_log_prepared ON branch_log (transaction_id) WHERE state = 1;
-- For garbage collection.
CREATE INDEX branch_log_aborted ON branch_log (deadline_unix_ms) WHERE state = 3;

-- The watermark over deadlines. At or below it nothing is ever inserted.
CREATE TABLE log_watermark (
    sole             boolean PRIMARY KEY DEFAULT true CHECK (sole),
    deadline_unix_ms bigint NOT NULL,
    advance_time     timestamptz NOT NULL DEFAULT now()
);
INSERT INTO log_watermark (deadline_unix_ms) VALUES (0);
