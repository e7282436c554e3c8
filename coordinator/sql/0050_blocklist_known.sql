-- 0050_blocklist_known.sql - whether there is any address to look up

ALTER TABLE blocklist
    ADD COLUMN known bigint,                          -- addresses that are looked up; NULL: a leader of before does not say
    ADD COLUMN private bigint NOT NULL DEFAULT 0;     -- private ones, which are not

-- It has one parameter more.
DROP FUNCTION IF EXISTS blocklist_claim(text, interval, interval, interval, text[], text[], bigint);
