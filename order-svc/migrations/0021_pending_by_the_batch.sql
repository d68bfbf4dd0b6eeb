-- What the log says of a transaction is what its row and its batch say together.
DROP VIEW order_with_state;
-- Orders with their states: 1 pending, 3 refused, 4 and above as in order_life, where there is such a row; else 8
-- backordered if it waits, and 2 confirmed if it does not.
CREATE VIEW order_with_state AS
    SELECT o.*, CASE WHEN o.refused THEN 3
                     WHEN o.unconfirmed THEN 1
                     WHEN (SELECT b.state FROM branch_with_state b WHERE b.transaction_id = o.order_id) = 1 THEN 1
                     ELSE coalesce(l.state, CASE WHEN o.waits THEN 8 ELSE 2 END) END::smallint AS state,
           l.version, l.returned, l.refunded_minor, l.tracking, l.allotted_units,
           l.pending_id, l.pending_state, l.pending_returned, l.pending_refunded_minor, l.pending_tracking,
           l.pending_allotted_units
    FROM orders o LEFT JOIN order_life l USING (order_id);
