-- Nobody asks what an array of ids is like, and working that out is most of what ANALYZE takes here. Nor do plans depend on how
-- many records there are: so it comes when they have doubled, and not before there are many. Each batch leaves a dead row, once; ten
-- thousand of them are cleared as well as a few. Records are hardly ever changed, so a vacuum of what was only added can wait.
ALTER TABLE record_batch ALTER COLUMN transaction_ids SET STATISTICS 0, ALTER COLUMN participants SET STATISTICS 0;
ALTER TABLE record_batch SET (
    autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_threshold = 100000, autovacuum_analyze_scale_factor = 1
);
ALTER TABLE record SET (
    autovacuum_analyze_threshold = 100000, autovacuum_analyze_scale_factor = 1,
    autovacuum_vacuum_insert_threshold = 100000, autovacuum_vacuum_insert_scale_factor = 1
);
