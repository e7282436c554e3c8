-- 0061_hunt.sql - messages by the name of what was found in them
-- commit: audit may have millions of rows, so its index takes long; no lock of any other table is held meanwhile
CREATE INDEX IF NOT EXISTS audit_by_signature ON audit (signature, time) WHERE signature <> '';
