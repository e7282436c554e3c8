-- 0025_limits.sql - what is missing in the buckets of the policy file `limits`, for all edges
--
-- A bucket that is full has no row. A crash of PostgreSQL may forget what was taken in the last moment.

CREATE TABLE limit_bucket (
    name text PRIMARY KEY,  -- "inbound client messages/60 192.0.2.7"
    missing bigint NOT NULL, -- tokens * ms of the period
    at_ms bigint NOT NULL,   -- since 1970, by this database's clock
    full_ms bigint NOT NULL  -- when it is full again, if nothing is taken
) WITH (fillfactor = 50);    -- no index but the key's: all that is written stays on its page
