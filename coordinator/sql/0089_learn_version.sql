-- 0089_learn_version.sql - words whose features are of another version than the leader's model wait to be said again: they neither count nor stand in the way

ALTER TABLE learn_control ADD COLUMN version integer NOT NULL DEFAULT 0; -- NATIVE_MODEL_VERSION of who leads, from his first turn on
UPDATE learn_control SET version = coalesce((SELECT max(version) FROM learn_model), 0);
