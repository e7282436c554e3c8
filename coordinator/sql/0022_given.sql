-- 0022_given.sql - whom the client named, where that was an alias
-- commit: audit may have millions of rows, so its index takes long; no lock of any other table is held meanwhile
--
-- Both may be there before, made by hand (coordinator/README.md).

-- Empty: the recipient itself, or the row is of an edge of before. No row is written anew for it.
ALTER TABLE audit ADD COLUMN IF NOT EXISTS given text NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS audit_by_given ON audit (lower(given), time) WHERE given <> '';
