-- Up to which deadline END was said: rows of committed transactions at or below it may go. Never above the watermark, nor at or
-- above the deadline of anything that is PREPARED.
ALTER TABLE log_watermark ADD COLUMN ended_unix_ms bigint NOT NULL DEFAULT 0;

-- What ends goes by batches, each with the latest of its rows' deadlines. Rows that were committed before there were batches
-- get one each.
ALTER TABLE branch_batch ADD COLUMN max_deadline_unix_ms bigint;
INSERT INTO branch_batch (batch_id, state, undecided, rows_left, revision, participants, owner_id, transaction_ids, create_time,
                          decide_time)
    SELECT transaction_id, 2, 0, 1, transaction_id, '', '', ARRAY[transaction_id], create_time, decide_time
    FROM branch_log WHERE state = 2 AND batch_id IS NULL;
UPDATE branch_log SET batch_id = transaction_id WHERE state = 2 AND batch_id IS NULL;
UPDATE branch_batch b SET max_deadline_unix_ms = l.max_deadline_unix_ms
FROM (SELECT batch_id, max(deadline_unix_ms) AS max_deadline_unix_ms FROM branch_log GROUP BY batch_id) l
WHERE b.batch_id = l.batch_id;
ALTER TABLE branch_batch ALTER COLUMN max_deadline_unix_ms SET NOT NULL;
CREATE INDEX branch_batch_closed ON branch_batch (max_deadline_unix_ms) WHERE state = 2;
