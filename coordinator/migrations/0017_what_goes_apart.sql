-- What is collected apart from batches, by when it may go. These records were looked for among the oldest there are, which read
-- over all that had gone since the last vacuum: most of what collection took in a large table.
CREATE INDEX record_apart ON record (holds_request, deadline_unix_ms) WHERE batch_id IS NULL OR NOT holds_request;
DROP INDEX record_tombstone;
