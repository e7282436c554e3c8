-- 0070_always.sql - who sends from where nobody can come again is taken by a full quarantine, too

-- It takes one thing more.
DROP FUNCTION IF EXISTS quarantine_take;
