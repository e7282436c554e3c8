-- 0008_heard_process.sql - a process that is heard counts more than a newer one that is not
--
-- A second process under a node's name (started by hand to look at something, or on the machine a node was to move to) was the newest
-- for ever, also when it had ended: the node counted as lost while it worked.

-- The process that speaks for each worker: the newest of those heard within the last minute, else the newest. For as long a restart's
-- predecessor, which may have hung and go on for a moment, does not count again.
CREATE OR REPLACE VIEW node_worker AS
    SELECT DISTINCT ON (node, worker) * FROM node_process
    ORDER BY node, worker, seen_at > clock_timestamp() - interval '1 minute' DESC, first_seen_at DESC;
