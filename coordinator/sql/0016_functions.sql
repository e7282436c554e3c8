-- 0016_functions.sql - functions, views and triggers are in files of their own, and applied again when these differ

-- Which ones are here: a row for each file.
CREATE TABLE schema_functions (
    name text PRIMARY KEY,
    digest text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- What takes or tells something else now than in databases of before.
DROP FUNCTION IF EXISTS auth_begin, auth_forgive, node_summary, spool_claim, spool_result, spool_sums;
