-- 0029_routed.sql - spooled mail follows a change of its route

-- Of the policy by which this entry's recipients were routed last; 0: the one they were stored with, which the envelope has.
ALTER TABLE spool_queue ADD COLUMN routed_epoch bigint NOT NULL DEFAULT 0;

-- They take, or tell, one thing more.
DROP FUNCTION IF EXISTS spool_move, spool_result;
DROP FUNCTION IF EXISTS spool_claim(text, integer, boolean, integer, interval, interval, interval);
