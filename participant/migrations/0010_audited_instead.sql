-- Postgres reads a table's CHECK constraints anew from their text for each statement that writes to it: of a statement that writes
-- one branch, these were a seventh. What they say of the log's rows is part of the audit now, which `assent doctor` asks for; the
-- services' own (no overselling, no holds without cover) stay. A partition that is older keeps its own until it goes.
ALTER TABLE branch_log
    DROP CONSTRAINT branch_log_state_check,
    DROP CONSTRAINT branch_log_check,
    DROP CONSTRAINT branch_log_check1,
    DROP CONSTRAINT branch_log_check2;
ALTER TABLE branch_batch
    DROP CONSTRAINT branch_batch_state_check,
    DROP CONSTRAINT branch_batch_check,
    DROP CONSTRAINT branch_batch_check1,
    DROP CONSTRAINT branch_batch_check2;
