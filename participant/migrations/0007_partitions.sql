-- The log by ranges of its ids, which are UUIDv7 and so ranges of time: what has ended goes with its partition, at once, instead of
-- row by row. The collector makes partitions ahead and drops them; what has no partition (an odd id, or a collector that did not
-- come) is in the DEFAULT one.
ALTER TABLE branch_log RENAME TO branch_log_before;
ALTER INDEX branch_log_pkey RENAME TO branch_log_before_pkey;
DROP INDEX branch_log_aborted;
CREATE TABLE branch_log (LIKE branch_log_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS, PRIMARY KEY (transaction_id))
    PARTITION BY RANGE (transaction_id);
-- For garbage collection: what no batch tells of, or tells wrongly.
CREATE INDEX branch_log_alone ON branch_log (deadline_unix_ms) WHERE state = 3 OR batch_id IS NULL;
CREATE TABLE branch_log_default PARTITION OF branch_log DEFAULT;

-- What was there is the first partition, up to two minutes ahead: a process that has not been replaced yet may still be writing.
DO $$
DECLARE
    bound_ms bigint := extract(epoch FROM date_trunc('minute', now()) + interval '2 minutes')::bigint * 1000;
    bound uuid := rpad(lpad(to_hex(bound_ms), 12, '0'), 32, '0')::uuid;
BEGIN
    WITH odd AS (DELETE FROM branch_log_before WHERE transaction_id >= bound RETURNING *)
        INSERT INTO branch_log SELECT * FROM odd;
    EXECUTE format('ALTER TABLE branch_log ATTACH PARTITION branch_log_before FOR VALUES FROM (%L) TO (%L)',
                   '00000000-0000-0000-0000-000000000000', bound);
END $$;

-- Between which ids the rows of a batch are, which it has in their order: whose rows are in a partition is found by that.
ALTER TABLE branch_batch
    ADD COLUMN first_id uuid GENERATED ALWAYS AS (transaction_ids[1]) STORED,
    ADD COLUMN last_id uuid GENERATED ALWAYS AS (transaction_ids[cardinality(transaction_ids)]) STORED;
CREATE INDEX branch_batch_by_ids ON branch_batch (first_id, last_id);

-- How many rows went with partitions; Postgres counts those that are deleted only.
ALTER TABLE log_watermark ADD COLUMN dropped_rows bigint NOT NULL DEFAULT 0;

-- The same as before, of the new table.
CREATE OR REPLACE VIEW branch_with_state AS
    SELECT l.transaction_id, l.deadline_unix_ms, l.batch_id,
           CASE WHEN l.state = 1 AND b.state = 2 THEN 2 ELSE l.state END::smallint AS state,
           coalesce(b.participants, '') AS participants, coalesce(b.owner_id, '') AS owner_id,
           l.branch, l.refusal, l.create_time,
           CASE WHEN l.state = 1 THEN b.decide_time ELSE l.decide_time END AS decide_time
    FROM branch_log l LEFT JOIN LATERAL (
        SELECT state, participants, owner_id, decide_time FROM branch_batch WHERE batch_id = l.batch_id LIMIT 1
    ) b ON true;
CREATE OR REPLACE VIEW branch_in_doubt AS
    SELECT l.transaction_id, l.deadline_unix_ms, b.batch_id, l.state, b.participants, b.owner_id, l.branch, l.refusal,
           l.create_time, l.decide_time
    FROM branch_batch b CROSS JOIN LATERAL unnest(b.transaction_ids) AS of_batch (transaction_id)
         CROSS JOIN LATERAL (
             SELECT * FROM branch_log WHERE transaction_id = of_batch.transaction_id AND state = 1 LIMIT 1
         ) l
    WHERE b.state = 1;

DO $$
DECLARE
    col record;
BEGIN
    FOR col IN
        SELECT attrelid::regclass AS of_table, attname FROM pg_attribute
        WHERE attrelid IN ('branch_log'::regclass, 'branch_log_default'::regclass, 'branch_batch'::regclass)
          AND attnum > 0 AND NOT attisdropped
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS 10', col.of_table, col.attname);
    END LOOP;
END $$;
