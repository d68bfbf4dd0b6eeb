-- The log of a participant, whose branches have :branch_bytes. All of it is COMMITTED: PREPARED, in batches that are closed.
INSERT INTO branch_batch (batch_id, state, undecided, rows_left, revision, participants, owner_id, transaction_ids,
                          max_deadline_unix_ms, create_time, decide_time, first_transaction_id, last_transaction_id)
    SELECT ids[1], 2, 0, cardinality(ids), ids[1], 'inventory,order,payment', 'past', ids,
           (us + cardinality(ids) - 1) / 1000 + 3000, pg_temp.past_time(us), pg_temp.past_time(us),
           ids[1], ids[cardinality(ids)]
    FROM generate_series(0, :count - 1, :batch) AS first
         CROSS JOIN LATERAL (
             SELECT :start_us + first AS us,
                    array_agg(pg_temp.past_id(:start_us + place, place) ORDER BY place) AS ids
             FROM generate_series(first, least(first + :batch, :count) - 1) AS place
         ) AS batch;
INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, batch_id, branch, create_time)
    SELECT pg_temp.past_id(us, place), us / 1000 + 3000, 1,
           pg_temp.past_id(us - place % :batch, place - place % :batch), decode(repeat('00', :branch_bytes), 'hex'),
           pg_temp.past_time(us)
    FROM generate_series(0, :count::bigint - 1) AS place CROSS JOIN LATERAL (SELECT :start_us + place AS us) AS at;
VACUUM (ANALYZE) branch_batch, branch_log;
