-- The records that are STAGING, in a table of their own. As long as an index of `record` told them apart, every decision
-- was an update that touched all of its indexes; now it stays on the record's page and touches none.
CREATE TABLE undecided (
    transaction_id uuid PRIMARY KEY
);
INSERT INTO undecided SELECT transaction_id FROM record WHERE state = 1;

DROP INDEX record_staging;
DROP INDEX record_to_end;
-- No END is to be sent any more: it was, or the record is ABORTED and there never was one to send.
UPDATE record SET ended = true WHERE state = 3;
CREATE INDEX record_to_end ON record (deadline_unix_ms, transaction_id) WHERE NOT ended;
-- Every record is changed once, on its page.
ALTER TABLE record SET (fillfactor = 50);
