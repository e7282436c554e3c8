-- 0039_signature_trials.sql - what is no fault of a set of signatures: a canary that was started again, a time without a leader or a database, a mirror that fails

ALTER TABLE signature_set ADD COLUMN canary_boot bigint,                               -- process with which the trial began
    ADD COLUMN canary_restarted boolean NOT NULL DEFAULT false;                        -- another one had begun it
ALTER TABLE signature_control ADD COLUMN stepped_at timestamptz,                       -- when the leader last saw to sets
    ADD COLUMN steps_since timestamptz,                                                -- since when it does without a break
    ADD COLUMN turn_wanted_at timestamptz;                                             -- when a set last waited for a turn of housekeeping to end

-- They have a column and a parameter more.
DROP FUNCTION IF EXISTS signature_scanners(interval);
DROP FUNCTION IF EXISTS signature_add(text, text, text[], text[]);
