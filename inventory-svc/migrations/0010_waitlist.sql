-- What a change of a SKU has to mind besides, as bits: 1 somebody waits for it. NULL, which takes no room, is nothing.
ALTER TABLE stock ADD COLUMN marks integer;

-- Those who wait for stock, in the order of arrival. Rows are changed only while the stock's row of their SKU is locked.
CREATE TABLE waitlist_entry (
    entry_id     uuid PRIMARY KEY,
    sku          text COLLATE "C" NOT NULL,
    -- The order of arrival: given while the stock's row is locked.
    place        bigint GENERATED ALWAYS AS IDENTITY,
    customer     text NOT NULL,
    quantity     bigint NOT NULL CHECK (quantity > 0),
    -- Less than this is not offered, unless less is left to be offered.
    min_quantity bigint NOT NULL,
    -- How many have been offered so far.
    offered      bigint NOT NULL DEFAULT 0 CHECK (0 <= offered AND offered <= quantity),
    -- 1 waiting, 2 all of it offered, 3 taken by orders, 4 lapsed, 5 left.
    state        smallint NOT NULL DEFAULT 1,
    offer_ttl_ms bigint NOT NULL,
    create_time  timestamptz NOT NULL DEFAULT now(),
    update_time  timestamptz NOT NULL DEFAULT now(),
    client_id    text NOT NULL,
    request_id   text
);
CREATE UNIQUE INDEX waitlist_in_order ON waitlist_entry (sku, place);
CREATE INDEX waitlist_waiting ON waitlist_entry (sku, place) WHERE state = 1;
CREATE INDEX waitlist_by_customer ON waitlist_entry (customer, sku) WHERE state = 1;
CREATE INDEX waitlist_ended ON waitlist_entry (update_time) WHERE state > 2;
CREATE UNIQUE INDEX waitlist_by_request ON waitlist_entry (client_id, request_id) WHERE request_id IS NOT NULL;

-- An offer is a reservation, of the entry named here.
ALTER TABLE reservation ADD COLUMN entry_id uuid;
CREATE INDEX reservation_by_entry ON reservation (entry_id) WHERE entry_id IS NOT NULL;

-- How long an offer of the SKU stands, where that was set.
ALTER TABLE reservation_policy ADD COLUMN offer_ttl_ms bigint;
