-- A batch's ids don't compress, so it is not worth trying for each batch.
ALTER TABLE branch_batch ALTER COLUMN transaction_ids SET STORAGE EXTERNAL;
