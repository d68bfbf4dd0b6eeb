-- Fails a statement that has met what it did not expect, with all that it has done; it is then done in steps.
CREATE FUNCTION log_unexpected() RETURNS smallint LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a batch met what it did not expect' USING ERRCODE = 'AS001';
END $$;
