-- Movements only come. Vacuumed whenever so many rows are new, of which each is looked at once then. By default it is done when the
-- table has grown by a fifth: seldom, but for millions of rows at a time, and in all databases of an order at one time, because
-- all of them grow alike.
ALTER TABLE movement SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);
