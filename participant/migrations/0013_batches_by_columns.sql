-- A statement makes ready what each index of the tables that it writes needs, and of a lone branch's that is much: the condition of
-- a partial index, the terms of one of expressions. Open and closed batches are one index now, which has as many entries as the two
-- had. Between which ids a batch's rows are is written down with it; NULL where a process of an earlier version has written it,
-- until the collector fills it in.
ALTER TABLE branch_batch ADD COLUMN first_transaction_id uuid, ADD COLUMN last_transaction_id uuid;
ALTER TABLE branch_batch ALTER COLUMN first_transaction_id SET STATISTICS 10, ALTER COLUMN last_transaction_id SET STATISTICS 10;
DROP INDEX branch_batch_by_ids;
CREATE INDEX branch_batch_by_ids ON branch_batch (first_transaction_id, last_transaction_id);
DROP INDEX branch_batch_open, branch_batch_closed;
CREATE INDEX branch_batch_by_state ON branch_batch (state, max_deadline_unix_ms);
