-- 0003_identity.sql - which database speaks, so that nodes can tell a database that was set back from a coordinator that lags behind
--
-- Epochs of one database only grow, so an older one comes from a coordinator that has not read for a while. It may be right only where
-- the database is not the one of before: made anew, restored (its timeline or its server differs), or taken over by a standby that
-- lacked the last commits (the timeline differs).

ALTER TABLE cluster ADD COLUMN identity uuid NOT NULL DEFAULT gen_random_uuid();

-- On a standby there is no current WAL file; its own recovery tells the same timeline once it is promoted.
CREATE FUNCTION cluster_identity() RETURNS text LANGUAGE sql STABLE AS $f$
    SELECT identity || '/' || (SELECT system_identifier FROM pg_control_system()) || '/' ||
        CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END
    FROM cluster
$f$;

CREATE OR REPLACE FUNCTION cluster_state() RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object('epoch', c.epoch, 'identity', cluster_identity(),
        'policy_epoch', coalesce((SELECT max(epoch) FROM policy), 0),
        'nodes', coalesce((SELECT json_agg(json_build_object('name', name, 'role', role, 'state', state, 'drain', drain, 'gc', gc,
            'lost', lost, 'endpoint', endpoint, 'public_key', public_key) ORDER BY name) FROM node_known), '[]'),
        'keys', coalesce((SELECT json_agg(json_build_object('key', key, 'name', name, 'role', role) ORDER BY name, key)
            FROM node_key WHERE revoked_at IS NULL), '[]'))
    FROM cluster c
$f$;

-- What databases made by the first version of 0001 lack.

CREATE OR REPLACE FUNCTION cluster_changed() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
    UPDATE cluster SET epoch = epoch + 1;
    -- An epoch that nodes have heard must not be given again after a crash, even where a heartbeat brought it.
    PERFORM set_config('synchronous_commit', (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'), true);
    PERFORM pg_notify('weir_cluster', '');
    RETURN NULL;
END $f$;

CREATE OR REPLACE FUNCTION metrics_merge(older jsonb, newer jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $f$
    SELECT coalesce(jsonb_agg(latest.e ORDER BY latest.at), '[]') FROM (
        SELECT one.e, one.at FROM (
            SELECT DISTINCT ON (s.e->>'n', s.e->>'l') s.e, s.at FROM jsonb_array_elements(older || newer) WITH ORDINALITY AS s(e, at)
            ORDER BY s.e->>'n', s.e->>'l', s.at DESC) AS one
        ORDER BY one.at DESC LIMIT 10000) AS latest
$f$;

ALTER TABLE node_process ADD COLUMN IF NOT EXISTS sequence bigint NOT NULL DEFAULT 0;
ALTER TABLE node_metrics ADD COLUMN IF NOT EXISTS sequence bigint NOT NULL DEFAULT 0;
