-- 0030_spool_others.sql - a claim may be for other destinations than those its worker holds leases of

-- Its parameters are others now: without this there would be two of it.
DROP FUNCTION IF EXISTS spool_claim(text, integer, boolean, integer, interval, interval, interval);
