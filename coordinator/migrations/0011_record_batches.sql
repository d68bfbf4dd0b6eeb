-- A batch: the records that one owner inserted in one local transaction. Nearly always all of them come to be COMMITTED and
-- accepted, and then the batch says so for all of them, and no record is touched: one that says STAGING in a closed batch
-- is COMMITTED, and its client was told so. A record of a batch that is open is what it says.
--
-- Every decision on a record of a batch is made under the lock of the batch's row, and counted there.
CREATE TABLE record_batch (
    batch_id             uuid PRIMARY KEY,
    -- 1 open, 2 closed.
    state                smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 2),
    -- How many of its records say STAGING; none counts once it is closed.
    undecided            integer NOT NULL CHECK (undecided >= 0),
    owner_id             text NOT NULL,
    transaction_ids      uuid[] NOT NULL,
    record_count         integer NOT NULL,
    -- The latest of its records' deadlines.
    max_deadline_unix_ms bigint NOT NULL,
    create_time          timestamptz NOT NULL DEFAULT now(),
    -- When it was closed.
    decide_time          timestamptz,
    -- Its COMMITTED records and all their participants are durably so, and the participants were told END.
    ended                boolean NOT NULL DEFAULT false,
    CHECK ((state = 2) = (decide_time IS NOT NULL)),
    CHECK (state = 1 OR undecided = 0)
);
-- Ids don't compress.
ALTER TABLE record_batch ALTER COLUMN transaction_ids SET STORAGE EXTERNAL;
-- For takeover and for the operator.
CREATE INDEX record_batch_open ON record_batch (batch_id) WHERE state = 1;
-- For garbage collection: whose participants to tell END, and what may go.
CREATE INDEX record_batch_closed ON record_batch (ended, max_deadline_unix_ms, batch_id) WHERE state = 2;

-- NULL: a saga's, or one that was inserted ABORTED.
ALTER TABLE record ADD COLUMN batch_id uuid;

-- What stands already and is not over: each in a batch of its own.
INSERT INTO record_batch (batch_id, state, undecided, owner_id, transaction_ids, record_count, max_deadline_unix_ms,
                          create_time, decide_time)
SELECT transaction_id, state, CASE state WHEN 1 THEN 1 ELSE 0 END, owner_id, ARRAY[transaction_id], 1, deadline_unix_ms,
       create_time, CASE state WHEN 2 THEN coalesce(decide_time, create_time) END
FROM record WHERE mode = 1 AND NOT ended AND state IN (1, 2);
UPDATE record SET batch_id = transaction_id WHERE mode = 1 AND NOT ended AND state IN (1, 2);

-- Open batches tell which records are STAGING. A coordinator that does not know batches can't decide anything without it.
DROP TABLE undecided;
DROP INDEX record_to_end;
CREATE INDEX record_saga_to_end ON record (transaction_id) WHERE mode = 2 AND NOT ended;
-- Few records are changed any more.
ALTER TABLE record SET (fillfactor = 90);

-- Records with what their batches say of them. That one is closed is told by its time here: were it told by its state, the
-- index for collection would do for this, and be scanned from end to end where the planner thinks that it is small.
CREATE VIEW record_as_it_stands AS
SELECT r.transaction_id, r.client_id, r.request_id, r.request_digest,
       CASE WHEN r.state = 1 AND b.batch_id IS NOT NULL THEN 2::smallint ELSE r.state END AS state,
       r.holds_request, r.owner_id, r.deadline_unix_ms, r.participants, r.refusal,
       CASE WHEN r.state = 1 AND r.client_answer = 0 AND b.batch_id IS NOT NULL THEN 1::smallint ELSE r.client_answer
           END AS client_answer,
       CASE WHEN r.state = 1 AND b.batch_id IS NOT NULL THEN 2::smallint ELSE r.first_decision END AS first_decision,
       r.create_time,
       CASE WHEN r.state = 1 THEN b.decide_time ELSE r.decide_time END AS decide_time,
       r.ended OR coalesce(b.ended, false) AS ended,
       r.mode, r.batch_id
FROM record r LEFT JOIN record_batch b ON b.batch_id = r.batch_id AND b.decide_time IS NOT NULL;

-- The records that are STAGING, but for those of sagas.
CREATE VIEW undecided_record AS
SELECT r.* FROM record_batch b
CROSS JOIN LATERAL unnest(b.transaction_ids) AS member (transaction_id)
JOIN record r ON r.transaction_id = member.transaction_id
WHERE b.state = 1 AND r.state = 1;
