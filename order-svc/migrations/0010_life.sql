-- What becomes of orders after they were placed. Placing writes nothing here: an order without a row is placed, and nothing
-- more has happened to it.
ALTER TABLE orders ADD COLUMN client_id text;

CREATE TABLE order_life (
    order_id       uuid PRIMARY KEY,
    -- 2 confirmed, 4 cancelled, 5 shipped, 6 partially returned, 7 returned.
    state          smallint NOT NULL,
    -- Counts the order's events. That it was placed and that it was confirmed are the first two.
    version        bigint NOT NULL CHECK (version >= 2),
    -- How many units of each line have come back, in the order of the lines; NULL: none.
    returned       jsonb,
    refunded_minor bigint NOT NULL DEFAULT 0 CHECK (refunded_minor >= 0),
    tracking       text NOT NULL DEFAULT '',
    -- The change that is in doubt, at most one, and what it makes of the order. This is its hold: nothing else may be
    -- prepared as long as it stands.
    pending_id             uuid,
    pending_state          smallint,
    pending_returned       jsonb,
    pending_refunded_minor bigint,
    pending_tracking       text,
    CHECK ((pending_id IS NULL) = (pending_state IS NULL))
);
CREATE INDEX order_life_by_state ON order_life (state, order_id);
CREATE INDEX order_life_pending ON order_life (order_id) WHERE pending_id IS NOT NULL;

-- What happened to orders after they were confirmed, each written in the local transaction of the change.
CREATE TABLE order_event (
    order_id       uuid NOT NULL,
    sequence       bigint NOT NULL CHECK (sequence > 2),
    -- 4 cancelled, 5 shipped, 6 returned, 7 refunded.
    kind           smallint NOT NULL,
    -- The order's state after it.
    state          smallint NOT NULL,
    transaction_id uuid NOT NULL,
    client_id      text NOT NULL,
    request_id     text NOT NULL,
    reason         text NOT NULL,
    -- What came back: [[sku, quantity, damaged], ...]; NULL: nothing.
    lines          jsonb,
    refund_minor   bigint NOT NULL CHECK (refund_minor >= 0),
    create_time    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, sequence)
);
CREATE UNIQUE INDEX order_event_by_transaction ON order_event (transaction_id);

-- History is added to, never rewritten.
CREATE FUNCTION order_events_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events of orders are never changed or deleted';
END $$;

CREATE TRIGGER order_events_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON order_event
    FOR EACH STATEMENT EXECUTE FUNCTION order_events_stay();

DROP VIEW order_with_state;
-- Orders with their states: 1 pending, 2 confirmed, 3 refused, 4 and above as in order_life.
CREATE VIEW order_with_state AS
    SELECT o.*, CASE WHEN o.refused THEN 3
                     WHEN o.unconfirmed THEN 1
                     WHEN EXISTS (SELECT FROM branch_log b WHERE b.transaction_id = o.order_id AND b.state = 1) THEN 1
                     ELSE coalesce(l.state, 2) END::smallint AS state,
           l.version, l.returned, l.refunded_minor, l.tracking,
           l.pending_id, l.pending_state, l.pending_returned, l.pending_refunded_minor, l.pending_tracking
    FROM orders o LEFT JOIN order_life l USING (order_id);
