-- The same order as an expert writes it: one data-modifying statement, one round trip. Where nothing is left of the
-- article it writes nothing; where there is too little money it fails as a whole, by a division by zero.
WITH asked AS (SELECT lpad(to_hex(:id::bigint), 32, '0')::uuid AS id, lpad(to_hex(:id::bigint), 32, '0') AS request_id),
taken AS (
    UPDATE baseline.stock SET on_hand = on_hand - 1, version = version + 1, update_time = now()
    WHERE sku = 's' || lpad(:sku::text, 5, '0') AND on_hand - held >= 1 RETURNING sku, version, on_hand, held
), paid AS (
    UPDATE baseline.account SET balance_minor = balance_minor - 100
    WHERE account = 'a' || lpad(:account::text, 5, '0') AND currency = 'GBP' AND balance_minor - held_minor >= 100
      AND EXISTS (SELECT FROM taken)
    RETURNING account
), moved AS (
    INSERT INTO baseline.movement (sku, sequence, quantity, on_hand, held, create_time, transaction_id, kind)
    SELECT sku, version, 1, on_hand, held, now(), id, 3 FROM asked, taken
), recorded AS (
    INSERT INTO baseline.record (transaction_id, client_id, request_id, request_digest, state, holds_request, owner_id,
                                 deadline_unix_ms, participants, client_answer, decide_time)
    SELECT id, 'default', request_id, '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 2, true,
           '0190a5b0-0000-7000-8000-000000000000', 1800000000000, 'inventory,order,payment', 1, now() FROM asked, paid
), placed AS (
    INSERT INTO baseline.orders (order_id, account, request_id, currency, total_minor, lines, create_time)
    SELECT id, account, request_id, 'GBP', 100, ('[["' || sku || '", 1, 100]]')::jsonb, now() FROM asked, taken, paid
), booked AS (
    INSERT INTO baseline.booking (booking_id, debit_account, credit_account, amount_minor, kind)
    SELECT id, account, 'assent-revenue-GBP', 100, 'capture' FROM asked, paid
)
SELECT CASE WHEN EXISTS (SELECT FROM taken) THEN 1 / (SELECT count(*) FROM paid) ELSE 0 END;
