-- The coordinator's records. All are COMMITTED and were answered so: STAGING, in batches that are closed. No participant was
-- told END.
INSERT INTO record_batch (batch_id, state, undecided, owner_id, transaction_ids, record_count, max_deadline_unix_ms,
                          participants, create_time, decide_time)
    SELECT ids[1], 2, 0, 'past', ids, cardinality(ids), (us + cardinality(ids) - 1) / 1000 + 3000,
           '{inventory,order,payment}', pg_temp.past_time(us), pg_temp.past_time(us)
    FROM generate_series(0, :count - 1, :batch) AS first
         CROSS JOIN LATERAL (
             SELECT :start_us + first AS us,
                    array_agg(pg_temp.past_id(:start_us + place, place) ORDER BY place) AS ids
             FROM generate_series(first, least(first + :batch, :count) - 1) AS place
         ) AS batch;
INSERT INTO record (transaction_id, client_id, request_id, request_digest, state, holds_request, owner_id,
                    deadline_unix_ms, participants, batch_id, create_time)
    SELECT id, 'past', id::text, sha256(id::text::bytea), 1, true, 'past', us / 1000 + 3000, 'inventory,order,payment',
           pg_temp.past_id(us - place % :batch, place - place % :batch), pg_temp.past_time(us)
    FROM generate_series(0, :count::bigint - 1) AS place
         CROSS JOIN LATERAL (SELECT :start_us + place AS us) AS at
         CROSS JOIN LATERAL (SELECT pg_temp.past_id(us, place) AS id) AS of;
VACUUM (ANALYZE) record_batch, record;
CHECKPOINT;
