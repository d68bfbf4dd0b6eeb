-- Postgres reads a table's CHECK constraints anew from their text for each statement that writes to it: of a statement that stages
-- one record, these were a quarter. What they say is part of the audit now, which `assent doctor` asks for.
ALTER TABLE record
    DROP CONSTRAINT record_state_check,
    DROP CONSTRAINT record_client_answer_check,
    DROP CONSTRAINT record_first_decision_check,
    DROP CONSTRAINT record_mode_check,
    DROP CONSTRAINT record_check;
ALTER TABLE record_batch
    DROP CONSTRAINT record_batch_state_check,
    DROP CONSTRAINT record_batch_undecided_check,
    DROP CONSTRAINT record_batch_check,
    DROP CONSTRAINT record_batch_check1;
