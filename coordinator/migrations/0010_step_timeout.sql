-- Until when a step must be done, counted from the saga's beginning, which its id tells. NULL: as long as the saga may take.
ALTER TABLE saga_step ADD COLUMN timeout_ms integer;
