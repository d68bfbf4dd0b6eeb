-- An order of many lines as one statement; each connection prepares it once. The stock is locked in the order of the
-- articles, so that two orders never wait for each other; where one article lacks, nothing is written.
PREPARE place(bigint, integer, bigint, text[], bigint[], text) AS
WITH asked AS (SELECT * FROM unnest($4, $5) AS line (sku, quantity)),
locked AS (
    SELECT sku FROM baseline.stock JOIN asked USING (sku) WHERE on_hand - held >= quantity ORDER BY sku FOR UPDATE OF stock
), taken AS (
    UPDATE baseline.stock s SET on_hand = s.on_hand - a.quantity, version = s.version + 1, update_time = now()
    FROM asked a
    WHERE s.sku = a.sku AND s.on_hand - s.held >= a.quantity AND (SELECT count(*) FROM locked) = cardinality($4)
    RETURNING s.sku, a.quantity, s.version, s.on_hand, s.held
), paid AS (
    UPDATE baseline.account SET balance_minor = balance_minor - $3
    WHERE account = 'a' || lpad($2::text, 5, '0') AND currency = 'GBP' AND balance_minor - held_minor >= $3
      AND (SELECT count(*) FROM taken) = cardinality($4)
    RETURNING account
), moved AS (
    INSERT INTO baseline.movement (sku, sequence, quantity, on_hand, held, create_time, transaction_id, kind)
    SELECT sku, version, quantity, on_hand, held, now(), lpad(to_hex($1), 32, '0')::uuid, 3 FROM taken
), recorded AS (
    INSERT INTO baseline.record (transaction_id, client_id, request_id, request_digest, state, holds_request, owner_id,
                                 deadline_unix_ms, participants, client_answer, decide_time)
    SELECT lpad(to_hex($1), 32, '0')::uuid, 'default', lpad(to_hex($1), 32, '0'),
           '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 2, true,
           '0190a5b0-0000-7000-8000-000000000000', 1800000000000, 'inventory,order,payment', 1, now() FROM paid
), placed AS (
    INSERT INTO baseline.orders (order_id, account, request_id, currency, total_minor, lines, create_time)
    SELECT lpad(to_hex($1), 32, '0')::uuid, account, lpad(to_hex($1), 32, '0'), 'GBP', $3, $6::jsonb, now() FROM paid
), booked AS (
    INSERT INTO baseline.booking (booking_id, debit_account, credit_account, amount_minor, kind)
    SELECT lpad(to_hex($1), 32, '0')::uuid, account, 'assent-revenue-GBP', $3, 'capture' FROM paid
)
SELECT CASE WHEN EXISTS (SELECT FROM taken) THEN 1 / (SELECT count(*) FROM paid) ELSE 0 END;
