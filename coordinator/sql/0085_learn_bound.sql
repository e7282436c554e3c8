-- 0085_learn_bound.sql - as whom a user's words are bounded: he, or the routed domain that he may have to himself ('@' and the domain)

ALTER TABLE learn_queue ADD COLUMN bound text NOT NULL DEFAULT ''; -- learn_bound(); '': before this, or an operator's
UPDATE learn_queue SET bound = who WHERE personal;
DROP INDEX learn_queue_who;
CREATE INDEX learn_queue_bound ON learn_queue (bound, at) WHERE personal;
