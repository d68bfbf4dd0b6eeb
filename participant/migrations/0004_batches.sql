-- What was prepared in one local transaction is nearly always committed together. So decisions are written down for batches:
-- a row that says PREPARED, of a batch that is closed, is COMMITTED. What is decided of a part of a batch is written on its
-- rows.
CREATE TABLE branch_batch (
    batch_id        uuid PRIMARY KEY,
    -- 1 open, 2 closed.
    state           smallint NOT NULL CHECK (state IN (1, 2)),
    -- How many of its rows say PREPARED, as long as it is open.
    undecided       integer NOT NULL,
    -- How many of its rows have not been collected. It goes with the last one.
    rows_left       integer NOT NULL,
    -- Names the local transaction that last prepared or decided any of it.
    revision        uuid NOT NULL,
    -- Names of all participants, joined by commas, and who drives the attempts: the same for all of its rows.
    participants    text NOT NULL,
    owner_id        text NOT NULL,
    -- The rows that it began with, for whoever looks for what is in doubt.
    transaction_ids uuid[] NOT NULL,
    create_time     timestamptz NOT NULL DEFAULT now(),
    decide_time     timestamptz,
    CHECK (0 <= undecided AND undecided <= rows_left),
    CHECK ((state = 1) = (undecided > 0)),
    CHECK ((state = 1) = (decide_time IS NULL))
);
-- For whoever settles what is in doubt.
CREATE INDEX branch_batch_open ON branch_batch (batch_id) WHERE state = 1;

-- NULL where nothing was prepared: on a row that a fence or an abort wrote.
ALTER TABLE branch_log ADD COLUMN batch_id uuid;
INSERT INTO branch_batch (batch_id, state, undecided, rows_left, revision, participants, owner_id, transaction_ids, create_time)
    SELECT transaction_id, 1, 1, 1, transaction_id, participants, owner_id, ARRAY[transaction_id], create_time
    FROM branch_log WHERE state = 1;
UPDATE branch_log SET batch_id = transaction_id WHERE state = 1;
ALTER TABLE branch_log ADD CHECK (state <> 1 OR batch_id IS NOT NULL);
DROP INDEX branch_log_prepared;
ALTER TABLE branch_log DROP COLUMN participants, DROP COLUMN owner_id;

-- The log as its readers see it. LIMIT 1, which is all there can be, keeps a look-up from being planned as anything else,
-- however small the tables are when the plan is made.
CREATE VIEW branch_with_state AS
    SELECT l.transaction_id, l.deadline_unix_ms, l.batch_id,
           CASE WHEN l.state = 1 AND b.state = 2 THEN 2 ELSE l.state END::smallint AS state,
           coalesce(b.participants, '') AS participants, coalesce(b.owner_id, '') AS owner_id,
           l.branch, l.refusal, l.create_time,
           CASE WHEN l.state = 1 THEN b.decide_time ELSE l.decide_time END AS decide_time
    FROM branch_log l LEFT JOIN LATERAL (
        SELECT state, participants, owner_id, decide_time FROM branch_batch WHERE batch_id = l.batch_id LIMIT 1
    ) b ON true;

-- What is PREPARED, found through the few batches that are open.
CREATE VIEW branch_in_doubt AS
    SELECT l.transaction_id, l.deadline_unix_ms, b.batch_id, l.state, b.participants, b.owner_id, l.branch, l.refusal,
           l.create_time, l.decide_time
    FROM branch_batch b CROSS JOIN LATERAL unnest(b.transaction_ids) AS of_batch (transaction_id)
         CROSS JOIN LATERAL (
             SELECT * FROM branch_log WHERE transaction_id = of_batch.transaction_id AND state = 1 LIMIT 1
         ) l
    WHERE b.state = 1;
