-- Nobody asks what an array of ids is like, and working that out is most of what ANALYZE takes here. Nor do plans depend on how
-- many batches there are: so it comes when they have doubled, and not before there are many. Each batch leaves a dead row, once; ten
-- thousand of them are cleared as well as a few.
ALTER TABLE branch_batch ALTER COLUMN transaction_ids SET STATISTICS 0;
ALTER TABLE branch_batch SET (
    autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_threshold = 100000, autovacuum_analyze_scale_factor = 1
);

-- The first partition of a new log is like those that come after it.
DO $$
BEGIN
    IF to_regclass('branch_log_before') IS NOT NULL AND NOT EXISTS (SELECT FROM branch_log_before) THEN
        ALTER TABLE branch_log_before SET (autovacuum_enabled = false);
    END IF;
END $$;
