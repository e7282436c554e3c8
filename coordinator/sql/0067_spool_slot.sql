-- 0067_spool_slot.sql - who fills the spool waits behind himself there, too

-- A source's place: who sent it (a login, or a client's address) hashed into one of 64. Within a lane claims take from each place in turn.
ALTER TABLE spool_queue ADD COLUMN slot smallint NOT NULL DEFAULT 0;
DROP INDEX spool_queue_due;
CREATE INDEX spool_queue_due ON spool_queue (destination, scanned, slot, due_at) WHERE NOT held;

-- It has a parameter more.
DROP FUNCTION IF EXISTS spool_take;
-- They have one, too: why.
DROP FUNCTION IF EXISTS keys_add(text, text, text, text, bigint);
DROP FUNCTION IF EXISTS reputation_forget(text, text, text, bigint);
