-- 0005_drain_number.sql - which drain or undrain a node has heard of
--
-- What is known of a node's state may be from before the last request, so requests are numbered, and a node tells the number it acts on.

ALTER TABLE node ADD COLUMN drain_number bigint NOT NULL DEFAULT 0;
ALTER TABLE node_process ADD COLUMN drain_number bigint NOT NULL DEFAULT 0;

DROP FUNCTION IF EXISTS node_summary(interval); -- it tells more columns now
