-- What is more to be known of a SKU than what is on hand and held: what reservations keep, what is not to be sold, and
-- what is there but not on hand. NULL is 0 and takes no room, so a SKU that has none of it is as small as before.
ALTER TABLE stock
    ADD COLUMN reserved bigint,
    ADD COLUMN buffer bigint,
    ADD COLUMN damaged bigint,
    ADD COLUMN quality_control bigint,
    DROP CONSTRAINT no_oversell,
    ADD CONSTRAINT no_oversell CHECK (
        0 <= held AND 0 <= coalesce(reserved, 0) AND held + coalesce(reserved, 0) <= on_hand
        AND 0 <= coalesce(buffer, 0) AND 0 <= coalesce(damaged, 0) AND 0 <= coalesce(quality_control, 0)
    );

ALTER TABLE movement
    ADD COLUMN reserved bigint,
    ADD COLUMN buffer bigint,
    ADD COLUMN damaged bigint,
    ADD COLUMN quality_control bigint,
    ADD COLUMN reservation_id uuid;
