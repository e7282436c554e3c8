-- functions/cluster.sql - the state that nodes hear: what changes its epoch, and who may take part

-- Whatever nodes hear as cluster state grows its epoch.
CREATE OR REPLACE FUNCTION cluster_changed() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
    UPDATE cluster SET epoch = epoch + 1;
    -- An epoch that nodes have heard must not be given again after a crash, even where a heartbeat brought it.
    PERFORM set_config('synchronous_commit', (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'), true);
    PERFORM pg_notify('weir_cluster', '');
    RETURN NULL;
END $f$;
CREATE OR REPLACE TRIGGER node_key_changed AFTER INSERT OR UPDATE OR DELETE ON node_key
    FOR EACH STATEMENT EXECUTE FUNCTION cluster_changed();
CREATE OR REPLACE TRIGGER node_changed AFTER INSERT OR DELETE ON node FOR EACH ROW EXECUTE FUNCTION cluster_changed();
CREATE OR REPLACE TRIGGER node_updated AFTER UPDATE ON node FOR EACH ROW
    WHEN (OLD IS DISTINCT FROM NEW) EXECUTE FUNCTION cluster_changed();
CREATE OR REPLACE TRIGGER policy_changed AFTER INSERT ON policy FOR EACH STATEMENT EXECUTE FUNCTION cluster_changed();

-- Which database speaks: another timeline may lack what nodes heard of this one.
-- On a standby there is no current WAL file; its own recovery tells the same timeline once it is promoted.
CREATE OR REPLACE FUNCTION cluster_identity() RETURNS text LANGUAGE sql STABLE AS $f$
    SELECT identity || '/' || (SELECT system_identifier FROM pg_control_system()) || '/' ||
        CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END
    FROM cluster
$f$;

-- Nodes that may take part: with a valid key, and coordinators, which register themselves.
CREATE OR REPLACE VIEW node_known AS
    SELECT * FROM node n WHERE role = 'coordinator'
        OR EXISTS (SELECT FROM node_key k WHERE k.name = n.name AND k.role = n.role AND k.revoked_at IS NULL);

-- The cluster state, from one snapshot.
CREATE OR REPLACE FUNCTION cluster_state() RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object('epoch', c.epoch, 'identity', cluster_identity(),
        'policy_epoch', coalesce((SELECT max(epoch) FROM policy), 0),
        'policy_digest', coalesce((SELECT digest FROM policy ORDER BY epoch DESC LIMIT 1), ''),
        'nodes', coalesce((SELECT json_agg(json_build_object('name', name, 'role', role, 'state', state, 'drain', drain,
            'drain_number', drain_number, 'gc', gc, 'lost', lost, 'endpoint', endpoint, 'public_key', public_key) ORDER BY name) FROM node_known), '[]'),
        'keys', coalesce((SELECT json_agg(json_build_object('key', key, 'name', name, 'role', role) ORDER BY name, key)
            FROM node_key WHERE revoked_at IS NULL), '[]'))
    FROM cluster c
$f$;
