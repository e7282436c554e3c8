-- 0041_standing.sql - reputation_listed bounds what follows from scores, and thresholds that change are heeded

-- standings: how many rows by score there are; what operators said has no limit.
UPDATE standing_change SET standings = (SELECT count(*) FROM standing WHERE NOT by_operator);
ALTER TABLE standing_change
    ADD COLUMN untold bigint NOT NULL DEFAULT 0,     -- of those over the limit that no edge was told of, how many the leader has not counted yet
    ADD COLUMN rules text NOT NULL DEFAULT '',       -- by which thresholds and half-life the leader judged last
    ADD COLUMN judged bigint NOT NULL DEFAULT 0,     -- since they changed, it has judged those with numbers up to here anew
    ADD COLUMN to_judge bigint NOT NULL DEFAULT 0;   -- of those with numbers up to here

-- It is told whether all there is is coming.
DROP FUNCTION IF EXISTS standing_source(text, bigint);
-- It is two now: what looks at all that was counted holds nothing that a report waits for.
DROP FUNCTION IF EXISTS reputation_tidy(bigint, integer, boolean);
