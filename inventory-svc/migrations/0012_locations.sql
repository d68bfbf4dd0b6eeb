-- Where the units of a SKU are. A SKU that is kept in one place has no rows here: `stock.marks` has bit 2 where it has. The row
-- in `stock` stays what decides; rows here are changed only while it is locked, and sum up to it.
CREATE TABLE location (
    location    text COLLATE "C" PRIMARY KEY,
    -- Orders are served from the lowest first.
    priority    integer NOT NULL DEFAULT 100,
    create_time timestamptz NOT NULL DEFAULT now()
);
INSERT INTO location (location) VALUES ('main');

CREATE TABLE location_stock (
    sku      text COLLATE "C" NOT NULL,
    location text COLLATE "C" NOT NULL,
    on_hand  bigint NOT NULL,
    -- What orders in doubt will take from here.
    held     bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (sku, location),
    CONSTRAINT no_oversell_at_location CHECK (0 <= held AND held <= on_hand)
);

-- How movements divide among locations: what each added to what is on hand there.
CREATE TABLE location_movement (
    sku      text COLLATE "C" NOT NULL,
    location text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    quantity bigint NOT NULL,
    on_hand  bigint NOT NULL,
    PRIMARY KEY (sku, location, sequence)
);
CREATE TRIGGER movements_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON location_movement
    FOR EACH STATEMENT EXECUTE FUNCTION movements_stay();

-- Which location ships what of an order.
CREATE TABLE allocation (
    transaction_id uuid NOT NULL,
    sku            text COLLATE "C" NOT NULL,
    location       text COLLATE "C" NOT NULL,
    quantity       bigint NOT NULL CHECK (quantity > 0),
    -- Held for an order in doubt; else it has left.
    is_held        boolean NOT NULL,
    -- How many of it have come back.
    returned       bigint NOT NULL DEFAULT 0 CHECK (0 <= returned AND returned <= quantity),
    PRIMARY KEY (transaction_id, sku, location)
);
CREATE INDEX allocation_held ON allocation (transaction_id) WHERE is_held;
