-- Depots, and the places for parcels in their vans: taken is what was promised, held or shipped.
CREATE TABLE depot (
    name  text COLLATE "C" PRIMARY KEY,
    room  bigint NOT NULL,
    taken bigint NOT NULL DEFAULT 0 CHECK (taken BETWEEN 0 AND room)
);
-- state: planned, shipped or cancelled.
CREATE TABLE shipment (
    transaction_id uuid PRIMARY KEY,
    depot          text NOT NULL REFERENCES depot,
    parcels        bigint NOT NULL,
    state          text NOT NULL
);
INSERT INTO depot (name, room) VALUES ('london', 1000), ('leeds', 10);
