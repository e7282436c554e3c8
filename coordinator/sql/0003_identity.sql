-- 0003_identity.sql - which database speaks, so that nodes can tell a database that was set back from a coordinator that lags behind
--
-- Epochs of one database only grow, so an older one comes from a coordinator that has not read for a while. It may be right only where
-- the database is not the one of before: made anew, restored (its timeline or its server differs), or taken over by a standby that
-- lacked the last commits (the timeline differs).

ALTER TABLE cluster ADD COLUMN identity uuid NOT NULL DEFAULT gen_random_uuid();

-- What databases made by the first version of 0001 lack.
ALTER TABLE node_process ADD COLUMN IF NOT EXISTS sequence bigint NOT NULL DEFAULT 0;
ALTER TABLE node_metrics ADD COLUMN IF NOT EXISTS sequence bigint NOT NULL DEFAULT 0;
