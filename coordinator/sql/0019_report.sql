-- 0019_report.sql - nodes' clocks; which policy it is

-- How far a process's clock is ahead of the database's (behind: negative), as of its last heartbeat; what that waited for on its way counts as behind.
ALTER TABLE node_process ADD COLUMN skew_ms bigint NOT NULL DEFAULT 0;

-- Another database, or a backup that was restored, counts epochs from where it stands and comes to the same number with other files. What says
-- which policy it is, is the digest of its files; the database makes it, so that every coordinator tells the same.

ALTER TABLE policy ADD COLUMN digest text NOT NULL DEFAULT '';
-- As policy_digest() does it.
UPDATE policy p SET digest = coalesce((
    SELECT encode(sha256(convert_to(string_agg(format(E'%s %s\n%s', name, octet_length(content), content), '' ORDER BY name COLLATE "C"), 'UTF8')), 'hex')
    FROM policy_file f WHERE f.epoch = p.epoch), '');
