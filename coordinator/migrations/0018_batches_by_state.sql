-- One index of all batches instead of one of the open and one of the closed, which has as many entries as the two had: the condition
-- of a partial index is made ready anew for each statement that writes, which is much of one that stages a lone record.
DROP INDEX record_batch_open, record_batch_closed;
CREATE INDEX record_batch_by_state ON record_batch (state, ended, max_deadline_unix_ms, batch_id);
