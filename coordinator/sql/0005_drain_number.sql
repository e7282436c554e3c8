-- 0005_drain_number.sql - which drain or undrain a node has heard of
--
-- What is known of a node's state may be from before the last request, so requests are numbered, and a node tells the number it acts on.

ALTER TABLE node ADD COLUMN drain_number bigint NOT NULL DEFAULT 0;
ALTER TABLE node_process ADD COLUMN drain_number bigint NOT NULL DEFAULT 0;

CREATE OR REPLACE VIEW node_worker AS
    SELECT DISTINCT ON (node, worker) * FROM node_process ORDER BY node, worker, first_seen_at DESC;

CREATE OR REPLACE VIEW node_known AS
    SELECT * FROM node n WHERE role = 'coordinator'
        OR EXISTS (SELECT FROM node_key k WHERE k.name = n.name AND k.role = n.role AND k.revoked_at IS NULL);

CREATE OR REPLACE FUNCTION cluster_state() RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object('epoch', c.epoch, 'identity', cluster_identity(),
        'policy_epoch', coalesce((SELECT max(epoch) FROM policy), 0),
        'nodes', coalesce((SELECT json_agg(json_build_object('name', name, 'role', role, 'state', state, 'drain', drain,
            'drain_number', drain_number, 'gc', gc, 'lost', lost, 'endpoint', endpoint, 'public_key', public_key) ORDER BY name) FROM node_known), '[]'),
        'keys', coalesce((SELECT json_agg(json_build_object('key', key, 'name', name, 'role', role) ORDER BY name, key)
            FROM node_key WHERE revoked_at IS NULL), '[]'))
    FROM cluster c
$f$;

DROP FUNCTION node_summary(interval);
CREATE FUNCTION node_summary(silence interval)
RETURNS TABLE (name text, role text, state text, drain boolean, drain_by text, drain_at timestamptz, gc bigint, gc_done bigint,
    processes bigint, in_flight bigint, generation bigint, policy_epoch bigint, signatures text, version text, endpoint text,
    coordinator text, up_seconds bigint, silent_seconds numeric,
    drain_number bigint, drain_done bigint) LANGUAGE sql STABLE AS $f$
    SELECT n.name, n.role, CASE WHEN w.seen_at IS NULL AND n.lost THEN 'never seen' WHEN n.lost THEN 'lost' ELSE n.state END,
        n.drain, n.drain_by, n.drain_at, n.gc, coalesce(w.gc_done, 0), coalesce(w.processes, 0), coalesce(w.in_flight, 0),
        coalesce(w.generation, 0), coalesce(w.policy_epoch, 0), coalesce(w.signatures, ''), coalesce(w.version, ''), n.endpoint,
        coalesce(w.coordinator, ''), coalesce(extract(epoch FROM clock_timestamp() - w.first_seen_at)::bigint, 0),
        round(extract(epoch FROM clock_timestamp() - w.seen_at), 1), n.drain_number, coalesce(w.drain_done, 0)
    FROM node_known n LEFT JOIN (
        SELECT node, min(l.gc_done) FILTER (WHERE fresh) AS gc_done, min(l.drain_number) FILTER (WHERE fresh) AS drain_done, count(*) FILTER (WHERE fresh) AS processes,
            sum(l.in_flight) FILTER (WHERE fresh)::bigint AS in_flight, max(l.generation) FILTER (WHERE fresh) AS generation,
            min(l.policy_epoch) FILTER (WHERE fresh) AS policy_epoch, max(l.signatures) AS signatures, max(l.version) AS version,
            string_agg(DISTINCT l.coordinator, ' ') FILTER (WHERE fresh) AS coordinator,
            min(l.first_seen_at) FILTER (WHERE fresh) AS first_seen_at, max(l.seen_at) AS seen_at
        FROM (SELECT *, seen_at > clock_timestamp() - silence AS fresh FROM node_worker) AS l GROUP BY node) AS w ON w.node = n.name
    ORDER BY CASE n.role WHEN 'edge' THEN 1 WHEN 'scanner' THEN 2 ELSE 3 END, length(n.name), n.name
$f$;

-- Drains and undrains. Taking the last active node of a role stops mail, so that needs force.
CREATE OR REPLACE FUNCTION admin_drain(who text, target text, wanted boolean, force boolean, silence interval) RETURNS admin_answer
LANGUAGE plpgsql AS $f$
DECLARE
    n record;
BEGIN
    PERFORM admin_begin();
    SELECT * INTO n FROM node_known WHERE name = target;
    IF NOT FOUND THEN
        RETURN (65, format('no node is called "%s"', target), NULL)::admin_answer;
    END IF;
    IF n.role NOT IN ('edge', 'scanner') THEN
        RETURN (65, format('%s is a %s: only edges and scanners are drained; stop it, and its nodes use another', target, n.role),
                NULL)::admin_answer;
    END IF;
    IF wanted AND NOT n.drain AND NOT force AND NOT EXISTS (
        SELECT FROM node_known o WHERE o.role = n.role AND o.name <> target AND NOT o.drain AND NOT o.lost AND o.state = 'active') THEN
        RETURN (77, format('%s is the last active %s: without it no mail flows; add --force to drain it anyway', target, n.role),
                NULL)::admin_answer;
    END IF;
    IF n.drain <> wanted THEN
        UPDATE node SET drain = wanted, drain_number = n.drain_number + 1, drain_by = who, drain_at = now() WHERE name = target;
        INSERT INTO audit_action (who, action, target, detail)
            VALUES (who, CASE WHEN wanted THEN 'drain' ELSE 'undrain' END, target, jsonb_build_object('force', force));
    END IF;
    RETURN (0, NULL, admin_node(target, silence))::admin_answer;
END $f$;
