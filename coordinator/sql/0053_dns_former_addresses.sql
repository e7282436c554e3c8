-- 0053_dns_former_addresses.sql - which addresses names of before have of us

ALTER TABLE dns ADD COLUMN tried text[] NOT NULL DEFAULT '{}'; -- that the server may have beside `pushed`: of pushes that failed, and of before its zone, server or TTL changed

ALTER TABLE dns_former ADD COLUMN addresses text[] NOT NULL DEFAULT '{}'; -- to be taken away; others are somebody else's
UPDATE dns_former SET addresses = coalesce((SELECT pushed FROM dns), '{}'); -- nobody wrote down theirs; most are the same
DELETE FROM dns_former WHERE addresses = '{}';

-- It tells them.
DROP FUNCTION IF EXISTS dns_former_due(interval, interval);
