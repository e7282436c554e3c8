-- 0046_signature_ends.sql - canaries that end with a set are counted for all of them together; what no turn was ever asked with goes

ALTER TABLE signature_set ADD COLUMN canary_ends integer NOT NULL DEFAULT 0; -- canaries that ended, or were away, while they tried it
UPDATE signature_set SET canary_ends = 1 WHERE canary_restarted;
ALTER TABLE signature_set DROP COLUMN canary_restarted;

-- They have a parameter more.
DROP FUNCTION IF EXISTS signature_canary(signature_set, interval, interval, interval);
DROP FUNCTION IF EXISTS signature_step(interval, interval, interval, integer);

-- Sets of signatures are brought to scanners by a course of their own, so all turns are housekeeping, and none has a subject.
DELETE FROM turn WHERE reason <> 'gc';
ALTER TABLE turn DROP COLUMN subject, DROP COLUMN subject_given, DROP CONSTRAINT turn_reason_check, ADD CHECK (reason = 'gc');
DROP FUNCTION IF EXISTS turn_ask(text, text, text, text);
