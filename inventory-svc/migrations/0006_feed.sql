-- How far the ledger was passed on to a stream of NATS, by SKU: the sequence of the last movement that the stream has. Rows are
-- only there for what was passed on, so without a stream this stays empty.
CREATE TABLE feed_cursor (
    sku      text COLLATE "C" PRIMARY KEY,
    sequence bigint NOT NULL
) WITH (fillfactor = 70);

-- The one relay: who it is, what it is passing on (so that whoever comes after it asks the stream about these SKUs), and how
-- far the stream was when it last answered.
CREATE TABLE feed_relay (
    one             boolean PRIMARY KEY DEFAULT true CHECK (one),
    relay           text NOT NULL DEFAULT '',
    in_flight       text[] NOT NULL DEFAULT '{}',
    stream_sequence bigint NOT NULL DEFAULT 0,
    publish_time    timestamptz
);
INSERT INTO feed_relay DEFAULT VALUES;
