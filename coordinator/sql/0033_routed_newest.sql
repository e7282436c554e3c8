-- 0033_routed_newest.sql - who joined an entry by a newer policy is not moved by an older one

-- Of the policies by which recipients of this entry were routed, the newest; 0: all have the one they were stored with.
ALTER TABLE spool_queue ADD COLUMN routed_newest bigint NOT NULL DEFAULT 0;

-- Leases tell one thing more.
DROP FUNCTION IF EXISTS spool_claim(text, integer, boolean, integer, interval, interval, interval, boolean);
