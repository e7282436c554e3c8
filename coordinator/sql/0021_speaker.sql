-- 0021_speaker.sql - who spoke when a delivery ended: the next hop, or the edge itself

ALTER TABLE spool_event ADD COLUMN own boolean; -- the edge's words, or an operator's; NULL: written down before anybody asked

-- They take more now.
DROP FUNCTION IF EXISTS spool_audit, spool_result;
