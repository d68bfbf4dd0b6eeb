-- What only grows, and is found by its keys, needs neither ANALYZE nor a vacuum before it has doubled: on a busy machine orders
-- wait for them.
ALTER TABLE movement SET (
    autovacuum_analyze_threshold = 100000, autovacuum_analyze_scale_factor = 1,
    autovacuum_vacuum_insert_threshold = 100000, autovacuum_vacuum_insert_scale_factor = 1
);
