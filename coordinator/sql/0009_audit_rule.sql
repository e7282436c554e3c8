-- 0009_audit_rule.sql - which policy a recipient was decided with, and which of its lines decided
--
-- Rows of before, and of edges of before, have neither.

ALTER TABLE audit ADD COLUMN policy_epoch bigint NOT NULL DEFAULT 0, ADD COLUMN rule text NOT NULL DEFAULT '';
