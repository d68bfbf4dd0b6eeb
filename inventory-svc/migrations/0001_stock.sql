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

-- Requests that were carried out, so that a repeat changes nothing more.
CREATE TABLE stock_request (
    client_id text NOT NULL,
    request_id text NOT NULL,
    parameters text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (client_id, request_id)
);
