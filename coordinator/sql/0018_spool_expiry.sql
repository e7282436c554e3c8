-- 0018_spool_expiry.sql - leases that end without a word again and again; how bodies are kept

-- Leases in a row that ended without a word: their edge died, or what it had to say could not be written down. Each counts as an attempt. After
-- the first the mail is leased again at once, as edges do die; after each further one it waits, as it may be what they die of.
ALTER TABLE spool_queue ADD COLUMN expiries integer NOT NULL DEFAULT 0;
CREATE INDEX spool_queue_expiries ON spool_queue (expiries) WHERE expiries > 1;

-- A body of a usual size stays in its row: out of line it would be rows of 2000 bytes with an index of their own. For bodies stored from now on.
ALTER TABLE spool_body SET (toast_tuple_target = 8160);
