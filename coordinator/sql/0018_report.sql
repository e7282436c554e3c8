-- 0018_report.sql - more to trace and report by; nodes' clocks; which policy it is

-- A trace takes the newest rows of one address out of any number.
DROP INDEX audit_sender, audit_recipient;
CREATE INDEX audit_sender ON audit (lower(sender), time) WHERE sender <> '';
CREATE INDEX audit_recipient ON audit (lower(recipient), time);
CREATE INDEX audit_client ON audit (client, time);
-- What a report is made of; a day of ordinary mail has none of it. A virus that was found in the spool is 'discarded' with 550.
CREATE INDEX audit_trouble ON audit (time) WHERE disposition IN ('refused:relay', 'refused:virus', 'discarded:virus', 'discarded');

-- Who handed a message in, by the name it logged in with. Empty: nobody logged in, or the row is of an edge of before. Where the spool's row of a recipient
-- is first, the edge's report adds what only it knows: the policy that decided, its line, and the login.
ALTER TABLE audit ADD COLUMN login text NOT NULL DEFAULT '';
CREATE INDEX audit_login ON audit (login, time) WHERE login <> '';

-- How far a process's clock is ahead of the database's (behind: negative), as of its last heartbeat; what that waited for on its way counts as behind.
ALTER TABLE node_process ADD COLUMN skew_ms bigint NOT NULL DEFAULT 0;

-- Another database, or a backup that was restored, counts epochs from where it stands and comes to the same number with other files. What says
-- which policy it is, is the digest of its files; the database makes it, so that every coordinator tells the same.

ALTER TABLE policy ADD COLUMN digest text NOT NULL DEFAULT '';
-- As policy_digest() does it.
UPDATE policy p SET digest = coalesce((
    SELECT encode(sha256(convert_to(string_agg(format(E'%s %s\n%s', name, octet_length(content), content), '' ORDER BY name COLLATE "C"), 'UTF8')), 'hex')
    FROM policy_file f WHERE f.epoch = p.epoch), '');
