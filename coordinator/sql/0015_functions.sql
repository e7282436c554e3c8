-- 0015_functions.sql - functions, views and triggers are in files of their own, and applied anew when they differ

-- Which ones are here: those of the program whose newest migration is version, with the digest of all their files.
CREATE TABLE schema_functions (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    version integer NOT NULL,
    digest text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- What takes or tells something else now than in databases of before.
DROP FUNCTION IF EXISTS auth_begin, auth_forgive, node_summary, spool_claim, spool_result, spool_sums;
