-- Rows here are found by their keys, of which a small sample tells enough. With the default of 100 each ANALYZE of a large
-- table reads and sorts 30,000 rows, which keeps a processor busy for half a second while orders wait.
DO $$
DECLARE
    col record;
BEGIN
    FOR col IN
        SELECT attrelid::regclass AS of_table, attname FROM pg_attribute
        WHERE attrelid IN ('branch_log'::regclass, 'branch_batch'::regclass) AND attnum > 0 AND NOT attisdropped
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS 10', col.of_table, col.attname);
    END LOOP;
END $$;
