-- The same as before, in half as many words: Postgres reads them anew for each statement that writes stock. LEAST passes over what
-- is NULL, which is 0.
ALTER TABLE stock
    DROP CONSTRAINT no_oversell,
    ADD CONSTRAINT no_oversell CHECK (
        0 <= least(held, reserved, on_hand - held, on_hand - held - reserved, buffer, damaged, quality_control)
    );
