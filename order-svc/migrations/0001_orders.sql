-- Orders. The id is that of the transaction that placed the order, a UUIDv7: sorted by it is sorted by time.
-- state: 1 pending, 2 confirmed, 3 refused.
-- lines: [[sku, quantity, unit_price_minor], ...] in the order given. They are written and read only as a whole; kept in
-- the order's row they cost a third of the time and a tenth of the room of a row each, for orders of hundreds of lines.
CREATE TABLE orders (
    order_id uuid PRIMARY KEY,
    account text NOT NULL,
    request_id text NOT NULL,
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    currency text NOT NULL,
    total_minor bigint NOT NULL CHECK (total_minor >= 0),
    lines jsonb NOT NULL,
    reason text NOT NULL DEFAULT '',
    reason_message text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL
);

CREATE INDEX orders_by_state ON orders (state, order_id);
CREATE INDEX orders_by_account ON orders (account, order_id);
