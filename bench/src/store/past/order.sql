-- The orders: one line, of one unit.
INSERT INTO orders (order_id, account, request_id, currency, total_minor, lines, create_time, client_id)
    SELECT id, :'run' || '-a' || lpad((place % :accounts)::text, 5, '0'), id::text, 'GBP', 100,
           jsonb_build_array(jsonb_build_array(:'run' || '-s' || lpad((place % :skus)::text, 5, '0'), 1, 100)),
           pg_temp.past_time(us), 'past'
    FROM generate_series(0, :count::bigint - 1) AS place
         CROSS JOIN LATERAL (SELECT :start_us + place AS us) AS at
         CROSS JOIN LATERAL (SELECT pg_temp.past_id(us, place) AS id) AS of;
VACUUM (ANALYZE) orders;
CHECKPOINT;
