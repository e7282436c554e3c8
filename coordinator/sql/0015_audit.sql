-- 0015_audit.sql - more to trace and report by
-- commit: audit may have millions of rows, so its indexes take long; no lock of any other table is held meanwhile
--
-- All of it may be there before, made by hand without a lock (coordinator/README.md), so what changes has another name.

-- Who handed a message in, by the name it logged in with. Empty: nobody logged in, or the row is of an edge of before. Where the spool's row of a recipient
-- is first, the edge's report adds what only it knows: the policy that decided, its line, and the login.
ALTER TABLE audit ADD COLUMN IF NOT EXISTS login text NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS audit_by_login ON audit (login, time) WHERE login <> '';
-- A trace takes the newest rows of one address out of any number.
CREATE INDEX IF NOT EXISTS audit_by_sender ON audit (lower(sender), time) WHERE sender <> '';
CREATE INDEX IF NOT EXISTS audit_by_recipient ON audit (lower(recipient), time);
CREATE INDEX IF NOT EXISTS audit_by_client ON audit (client, time);
-- What a report is made of; a day of ordinary mail has none of it. A virus that was found in the spool is 'discarded' with 550.
CREATE INDEX IF NOT EXISTS audit_trouble ON audit (time) WHERE disposition IN ('refused:relay', 'refused:virus', 'discarded:virus', 'discarded');
DROP INDEX IF EXISTS audit_sender, audit_recipient;
