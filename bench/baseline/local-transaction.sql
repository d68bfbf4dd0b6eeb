-- An order of one line as an application writes it: one local transaction of ordinary statements. A colon, even in a
-- string, begins a variable of pgbench here, so the ledger's own account is written with dashes. Where nothing is left
-- the update of the stock finds no row, and the application rolls back.
BEGIN;
INSERT INTO baseline.record (transaction_id, client_id, request_id, request_digest, state, holds_request, owner_id, deadline_unix_ms, participants, client_answer, decide_time) VALUES (lpad(to_hex(:id::bigint), 32, '0')::uuid, 'default', lpad(to_hex(:id::bigint), 32, '0'), '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 2, true, '0190a5b0-0000-7000-8000-000000000000', 1800000000000, 'inventory,order,payment', 1, now());
INSERT INTO baseline.orders (order_id, account, request_id, currency, total_minor, lines, create_time) VALUES (lpad(to_hex(:id::bigint), 32, '0')::uuid, 'a' || lpad(:account::text, 5, '0'), lpad(to_hex(:id::bigint), 32, '0'), 'GBP', 100, ('[["s' || lpad(:sku::text, 5, '0') || '", 1, 100]]')::jsonb, now());
\if :refused
UPDATE baseline.stock SET on_hand = on_hand - 1, version = version + 1, update_time = now() WHERE sku = 's' || lpad(:sku::text, 5, '0') AND on_hand - held >= 1;
ROLLBACK;
\else
UPDATE baseline.stock SET on_hand = on_hand - 1, version = version + 1, update_time = now() WHERE sku = 's' || lpad(:sku::text, 5, '0') AND on_hand - held >= 1 RETURNING version, on_hand, held \gset
INSERT INTO baseline.movement (sku, sequence, quantity, on_hand, held, create_time, transaction_id, kind) VALUES ('s' || lpad(:sku::text, 5, '0'), :version, 1, :on_hand, :held, now(), lpad(to_hex(:id::bigint), 32, '0')::uuid, 3);
UPDATE baseline.account SET balance_minor = balance_minor - 100 WHERE account = 'a' || lpad(:account::text, 5, '0') AND currency = 'GBP' AND balance_minor - held_minor >= 100;
INSERT INTO baseline.booking (booking_id, debit_account, credit_account, amount_minor, kind) VALUES (lpad(to_hex(:id::bigint), 32, '0')::uuid, 'a' || lpad(:account::text, 5, '0'), 'assent-revenue-GBP', 100, 'capture');
COMMIT;
\endif
