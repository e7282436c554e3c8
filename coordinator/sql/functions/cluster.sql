-- functions/cluster.sql - the state that nodes hear, and what changes its epoch

-- Whatever nodes hear as cluster state grows its epoch: once for all that a transaction changes, which nodes hear as one. Each growth leaves a row that all later
-- ones of its transaction have to pass: thousands of stops at once would take minutes.
CREATE OR REPLACE FUNCTION cluster_changed() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
    UPDATE cluster SET epoch = epoch + 1 WHERE xmin <> pg_current_xact_id()::xid;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- An epoch that nodes have heard must not be given again after a crash, even where a heartbeat brought it.
    PERFORM set_config('synchronous_commit', (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'), true);
    PERFORM pg_notify('weir_cluster', '');
    RETURN NULL;
END $f$;

-- Which database speaks: another timeline may lack what nodes heard of this one.
-- On a standby there is no current WAL file; its own recovery tells the same timeline once it is promoted.
CREATE OR REPLACE FUNCTION cluster_identity() RETURNS text LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN (SELECT identity || '/' || (SELECT system_identifier FROM pg_control_system()) || '/' ||
            CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END
        FROM cluster);
END $f$;

-- What nodes hear: as many as go into a cluster state, the newest of those who are stopped before those who are slowed down. Of those who are stopped beyond them
-- only the names, of which a coordinator makes digests, and of each in the same order a letter: held, refused or full.
CREATE OR REPLACE FUNCTION outbound_stops() RETURNS json LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN (SELECT coalesce(json_agg(json_build_object('subject', subject, 'state', CASE WHEN full_up THEN 'full' ELSE state END)), '[]')
        FROM (SELECT * FROM outbound_stop WHERE NOT dry AND NOT idle ORDER BY state = 'throttled', since DESC, subject LIMIT 1000) AS o);
END $f$;

CREATE OR REPLACE FUNCTION outbound_stops_beyond() RETURNS json LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN (SELECT coalesce(json_agg(o.subject), '[]')
        FROM (SELECT subject FROM outbound_stop WHERE NOT dry AND NOT idle AND state <> 'throttled' ORDER BY since DESC, subject OFFSET 1000 LIMIT 20000) AS o);
END $f$;

CREATE OR REPLACE FUNCTION outbound_states_beyond() RETURNS text LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN (SELECT coalesce(string_agg(CASE WHEN o.full_up THEN 'f' WHEN o.state = 'refused' THEN 'r' ELSE 'h' END, ''), '')
        FROM (SELECT state, full_up FROM outbound_stop WHERE NOT dry AND NOT idle AND state <> 'throttled' ORDER BY since DESC, subject OFFSET 1000 LIMIT 20000) AS o);
END $f$;

-- The same of those who were moved to an egress pool: there are no more, see admin_outbound_pool().
CREATE OR REPLACE FUNCTION outbound_pools() RETURNS json LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN (SELECT coalesce(json_agg(json_build_object('subject', subject, 'pool', pool)), '[]') FROM (SELECT * FROM outbound_pool ORDER BY at DESC LIMIT 1000) AS o);
END $f$;

-- The cluster state, from one snapshot.
CREATE OR REPLACE FUNCTION cluster_state() RETURNS json LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN (SELECT json_build_object('epoch', c.epoch, 'identity', cluster_identity(),
            'policy_epoch', coalesce((SELECT max(epoch) FROM policy), 0),
            'policy_digest', coalesce((SELECT digest FROM policy ORDER BY epoch DESC LIMIT 1), ''),
            'nodes', coalesce((SELECT json_agg(json_build_object('name', name, 'role', role, 'state', state, 'drain', drain AND NOT drain_held,
                'drain_number', drain_number, 'gc', gc, 'lost', lost, 'endpoint', endpoint, 'public_key', public_key,
                'signature_set', signature_set, 'signature_number', signature_number) ORDER BY name) FROM node_known), '[]'),
            'keys', coalesce((SELECT json_agg(json_build_object('key', key, 'name', name, 'role', role) ORDER BY name, key)
                FROM node_key WHERE revoked_at IS NULL), '[]'), 'stops', outbound_stops(), 'beyond', outbound_stops_beyond(),
            'beyond_states', outbound_states_beyond(), 'pools', outbound_pools(), 'personal_blocks', c.personal_blocks)
        FROM cluster c);
END $f$;
