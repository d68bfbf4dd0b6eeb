-- At how many that are left, or fewer, a SKU is said to be low. Those that are not here never are.
CREATE TABLE low_stock (
    sku       text COLLATE "C" PRIMARY KEY,
    threshold bigint NOT NULL CHECK (threshold > 0)
);

-- What keeps this database's readings apart from another's, where both are kept in one Redis.
CREATE TABLE readings (id uuid NOT NULL DEFAULT gen_random_uuid());
INSERT INTO readings DEFAULT VALUES;
