-- An order that a saga has placed is pending until another step of the saga confirms it.
ALTER TABLE orders ADD COLUMN unconfirmed boolean NOT NULL DEFAULT false;
CREATE INDEX orders_unconfirmed ON orders (order_id) WHERE unconfirmed;

DROP VIEW order_with_state;
-- Orders with their states: 1 pending, 2 confirmed, 3 refused.
CREATE VIEW order_with_state AS
    SELECT o.*, CASE WHEN o.refused THEN 3
                     WHEN o.unconfirmed THEN 1
                     WHEN EXISTS (SELECT FROM branch_log l WHERE l.transaction_id = o.order_id AND l.state = 1) THEN 1
                     ELSE 2 END::smallint AS state
    FROM orders o;
