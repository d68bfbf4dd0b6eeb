-- The ledger: every change of stock, in the order in which it happened to its SKU. A row of stock is what the last
-- movement leaves. `sequence` is the version that the movement makes, so a SKU has no gaps, and `create_time` never goes
-- back within a SKU.
CREATE TABLE movement (
    sku text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    quantity bigint NOT NULL,
    on_hand bigint NOT NULL,
    held bigint NOT NULL,
    create_time timestamptz NOT NULL,
    transaction_id uuid,
    kind smallint NOT NULL,
    reason text,
    request_id text,
    actor text,
    PRIMARY KEY (sku, sequence)
);

-- What there is already begins its ledger: opened, with what is held brought along.
INSERT INTO movement (sku, sequence, quantity, on_hand, held, create_time, kind)
SELECT sku, version, on_hand, on_hand, held, update_time, 7 FROM stock;

-- History is added to, never rewritten.
CREATE FUNCTION movements_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'movements are never changed or deleted';
END $$;

CREATE TRIGGER movements_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON movement
    FOR EACH STATEMENT EXECUTE FUNCTION movements_stay();
