-- An order is pending as long as its transaction is PREPARED in the log of this database, and confirmed when it no longer
-- is: a commit touches no order, and what is said of an order can't differ from what its transaction came to. Only a
-- refusal is written down, with its reason.
ALTER TABLE orders ADD COLUMN refused boolean NOT NULL DEFAULT false;
UPDATE orders SET refused = true WHERE state = 3;
DROP INDEX orders_by_state;
ALTER TABLE orders DROP COLUMN state;
CREATE INDEX orders_refused ON orders (order_id) WHERE refused;

-- Orders with their states: 1 pending, 2 confirmed, 3 refused.
CREATE VIEW order_with_state AS
    SELECT o.*, CASE WHEN o.refused THEN 3
                     WHEN EXISTS (SELECT FROM branch_log l WHERE l.transaction_id = o.order_id AND l.state = 1) THEN 1
                     ELSE 2 END::smallint AS state
    FROM orders o;
