-- The fencing token of the lock under which a SKU was held last, where orders are held under locks of another server. Who
-- comes with a token that is not above it has lost his lock, whatever he believes. NULL, which takes no room, is none.
ALTER TABLE stock ADD COLUMN fence bigint;
