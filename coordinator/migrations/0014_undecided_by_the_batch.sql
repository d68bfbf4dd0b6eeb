-- LIMIT 1, which is all there can be, keeps the look-up of each record from being planned as anything else, however small the
-- tables are when the plan is made. A join was planned as a comparison of each record with each id, and ten thousand in doubt took
-- ten seconds to list; or as a walk through all records there are.

-- The records that are STAGING, but for those of sagas.
CREATE OR REPLACE VIEW undecided_record AS
SELECT r.* FROM record_batch b
CROSS JOIN LATERAL unnest(b.transaction_ids) AS member (transaction_id)
CROSS JOIN LATERAL (SELECT * FROM record WHERE transaction_id = member.transaction_id AND state = 1 LIMIT 1) r
WHERE b.state = 1;

-- And those of sagas.
CREATE VIEW undecided_saga_record AS
SELECT r.* FROM open_saga s
CROSS JOIN LATERAL (SELECT * FROM record WHERE transaction_id = s.transaction_id AND state = 1 LIMIT 1) r;
