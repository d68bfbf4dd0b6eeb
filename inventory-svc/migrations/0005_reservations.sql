-- Carts' timed holds. What all of a SKU's lines come to is `reserved` of its stock, until the reservation is released or has
-- run out, when its rows go.
CREATE TABLE reservation (
    reservation_id uuid PRIMARY KEY,
    customer       text NOT NULL,
    expire_time    timestamptz NOT NULL,
    create_time    timestamptz NOT NULL DEFAULT now(),
    -- The client and its name for the request that made it.
    client_id      text NOT NULL,
    request_id     text
);
CREATE INDEX reservation_by_expiry ON reservation (expire_time);
CREATE UNIQUE INDEX reservation_by_request ON reservation (client_id, request_id) WHERE request_id IS NOT NULL;

CREATE TABLE reservation_line (
    reservation_id uuid NOT NULL,
    sku            text COLLATE "C" NOT NULL,
    customer       text NOT NULL,
    -- What it has left: orders claim of it.
    quantity       bigint NOT NULL CHECK (quantity >= 0),
    PRIMARY KEY (reservation_id, sku)
);
CREATE INDEX reservation_line_by_customer ON reservation_line (customer, sku);

-- What prepared orders have claimed of reservations: it goes back to those that are still there if the order is aborted.
CREATE TABLE reservation_claim (
    transaction_id uuid NOT NULL,
    reservation_id uuid NOT NULL,
    sku            text COLLATE "C" NOT NULL,
    quantity       bigint NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (transaction_id, reservation_id, sku)
);

-- Where a SKU is not reserved as others are.
CREATE TABLE reservation_policy (
    sku              text COLLATE "C" PRIMARY KEY,
    ttl_ms           bigint,
    max_per_customer bigint
);
