-- The same order as an expert writes it: one data-modifying statement, one round trip. It fails as a whole (a division by
-- zero) if there is too little stock or money.
\set n :n + 1
\set id :n * 1024 + :client_id
\set sku random(1, :skus)
\set account random(1, :accounts)
WITH asked AS (SELECT lpad(to_hex(:id::bigint), 32, '0')::uuid AS id, lpad(to_hex(:id::bigint), 32, '0') AS request_id),
taken AS (
    UPDATE baseline.stock SET on_hand = on_hand - 1, version = version + 1, update_time = now()
    WHERE sku = 's' || lpad(:sku::text, 5, '0') AND on_hand - held >= 1 RETURNING sku
), paid AS (
    UPDATE baseline.account SET balance_minor = balance_minor - 100
    WHERE account = 'a' || lpad(:account::text, 5, '0') AND currency = 'GBP' AND balance_minor - held_minor >= 100
    RETURNING account
), recorded AS (
    INSERT INTO baseline.record (transaction_id, client_id, request_id, request_digest, state, holds_request, owner_id,
                                 deadline_unix_ms, participants, client_answer, decide_time)
    SELECT id, 'default', request_id, '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 2, true,
           '0190a5b0-0000-7000-8000-000000000000', 1800000000000, 'inventory,order,payment', 1, now() FROM asked
), placed AS (
    INSERT INTO baseline.orders (order_id, account, request_id, currency, total_minor, lines, create_time)
    SELECT id, account, request_id, 'GBP', 100, ('[["' || sku || '", 1, 100]]')::jsonb, now() FROM asked, taken, paid
), booked AS (
    INSERT INTO baseline.booking (booking_id, debit_account, credit_account, amount_minor, kind)
    SELECT id, account, 'assent-revenue-GBP', 100, 'capture' FROM asked, paid
)
SELECT 1 / count(*) FROM taken, paid;
