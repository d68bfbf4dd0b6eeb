-- SKUs that may be ordered beyond what is there. `stock.marks` has bit 4 where orders wait for the SKU.
CREATE TABLE supply_policy (
    sku            text COLLATE "C" PRIMARY KEY,
    -- 1 backorder, 2 preorder.
    kind           smallint NOT NULL,
    -- How many units may be owed to orders at most.
    max_owed       bigint NOT NULL,
    -- When it is expected, or released, as the shop says.
    available_time timestamptz
);

-- What orders are owed of a SKU. Rows are changed only while the stock's row of their SKU is locked.
CREATE TABLE backorder (
    order_id    uuid NOT NULL,
    sku         text COLLATE "C" NOT NULL,
    -- The order of placement: given while the stock's row is locked.
    place       bigint GENERATED ALWAYS AS IDENTITY,
    kind        smallint NOT NULL,
    -- How many the order is for, and how many of them it still waits for.
    ordered     bigint NOT NULL,
    owed        bigint NOT NULL CHECK (0 <= owed AND owed <= ordered),
    -- Its price is captured when all of it is there, not in parts.
    whole       boolean NOT NULL,
    -- 1 the order is in doubt, 2 it waits, 3 it has all, 4 it was cancelled.
    state       smallint NOT NULL DEFAULT 1,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, sku)
);
CREATE INDEX backorder_in_order ON backorder (sku, place) WHERE state = 2;
CREATE INDEX backorder_open ON backorder (sku) WHERE state IN (1, 2);

-- Goods that were given to orders, until the coordinator has had their price captured. One for each order and local
-- transaction; `attempt` counts what it was asked.
CREATE TABLE allotment (
    allotment_id uuid PRIMARY KEY,
    order_id     uuid NOT NULL,
    create_time  timestamptz NOT NULL DEFAULT now(),
    attempt      integer NOT NULL DEFAULT 1,
    settled      boolean NOT NULL DEFAULT false,
    next_time    timestamptz NOT NULL DEFAULT now(),
    last_error   text
);
CREATE INDEX allotment_open ON allotment (next_time) WHERE NOT settled;
CREATE INDEX allotment_by_order ON allotment (order_id);
CREATE TABLE allotment_line (
    allotment_id uuid NOT NULL,
    sku          text COLLATE "C" NOT NULL,
    -- How many of the SKU the order had got before.
    first        bigint NOT NULL,
    quantity     bigint NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (allotment_id, sku)
);
