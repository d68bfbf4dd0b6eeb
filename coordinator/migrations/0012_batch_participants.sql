-- Whom the records of a batch name, so that what names a participant that a coordinator does not know is found without
-- looking at each record. Of batches that have ended nobody asks.
ALTER TABLE record_batch ADD COLUMN participants text[] NOT NULL DEFAULT '{}';
UPDATE record_batch b SET participants = named.participants
FROM (SELECT r.batch_id, array_agg(DISTINCT name) AS participants
      FROM record r CROSS JOIN LATERAL unnest(string_to_array(r.participants, ',')) AS name
      WHERE r.batch_id IS NOT NULL AND name <> '' GROUP BY r.batch_id) AS named
WHERE b.batch_id = named.batch_id AND NOT b.ended;
ALTER TABLE record_batch ALTER COLUMN participants DROP DEFAULT;
