-- 0023_policy_speed.sql - a large policy is stored and read faster

-- lz4 makes a policy a little larger than pglz, in half the time, and every coordinator reads each. A server may be built without it.
DO $do$ BEGIN
    ALTER TABLE policy_file ALTER content SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END $do$;
