-- 0076_limit_place.sql - buckets are found by bytes, and their places in a question are given (functions/limits.sql)

-- Without a language's order, which costs more than all else in finding one.
ALTER TABLE limit_bucket ALTER COLUMN name TYPE text COLLATE "C";
DROP FUNCTION IF EXISTS limit_take(integer[], text[], bigint[], bigint[], bigint[], bigint[], bigint[], boolean[], boolean[]);
