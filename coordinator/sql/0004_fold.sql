-- 0004_fold.sql - the columns that an older coordinator does not know have defaults

DROP FUNCTION IF EXISTS metrics_sum(jsonb, jsonb);

-- A coordinator of the version before does not tell the sequence.
ALTER TABLE node_process ALTER COLUMN sequence SET DEFAULT 0;
