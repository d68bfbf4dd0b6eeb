-- Stock per SKU, and what orders in doubt hold of it. Sorted by bytes, so that lists and locks go by one order everywhere.
-- Room is left on each page, so that a change of the figures stays on it and touches no index.
CREATE TABLE stock (
    sku text COLLATE "C" PRIMARY KEY,
    on_hand bigint NOT NULL,
    held bigint NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 1,
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT no_oversell CHECK (0 <= held AND held <= on_hand)
) WITH (fillfactor = 70);
