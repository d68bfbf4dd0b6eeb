-- What every order sold: one unit, held and then gone. The stock is there already, and every SKU's ledger goes on from it.
CREATE TEMP TABLE base AS
    SELECT row_number() OVER (ORDER BY sku) - 1 AS number, sku, on_hand, version FROM stock;
ALTER TABLE base ADD PRIMARY KEY (number);
ANALYZE base;

INSERT INTO movement (sku, sequence, quantity, on_hand, held, create_time, transaction_id, kind)
    SELECT sku, version + 2 * turn + step, 1, on_hand - turn - (step - 1), 2 - step, pg_temp.past_time(us),
           pg_temp.past_id(us, place), step + 1
    FROM generate_series(0, :count::bigint - 1) AS place
         CROSS JOIN LATERAL (SELECT :start_us + place AS us, place / :skus AS turn) AS at
         JOIN base ON number = place % :skus
         CROSS JOIN generate_series(1, 2) AS step;
UPDATE stock SET on_hand = last.on_hand, version = last.sequence, update_time = last.create_time
    FROM base CROSS JOIN LATERAL (
        SELECT on_hand, sequence, create_time FROM movement WHERE sku = base.sku ORDER BY sequence DESC LIMIT 1
    ) AS last
    WHERE stock.sku = base.sku;
VACUUM (ANALYZE) movement, stock;
CHECKPOINT;
