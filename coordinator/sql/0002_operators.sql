-- 0002_operators.sql - what coordinators read as a whole, and what operators may ask and do
--
-- Every admin_* function is one verb of weirctl: it takes its arguments as parameters and returns one row: status (0, or an exit code of
-- sysexits.h), error (words) and body (what weirctl prints, or --json gives as it is).

CREATE TYPE admin_answer AS (status integer, error text, body json);

-- Nodes that may take part: with a valid key, and coordinators, which register themselves.
CREATE VIEW node_known AS
    SELECT * FROM node n WHERE role = 'coordinator'
        OR EXISTS (SELECT FROM node_key k WHERE k.name = n.name AND k.role = n.role AND k.revoked_at IS NULL);

-- The cluster state, from one snapshot.
CREATE FUNCTION cluster_state() RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object('epoch', c.epoch, 'policy_epoch', coalesce((SELECT max(epoch) FROM policy), 0),
        'nodes', coalesce((SELECT json_agg(json_build_object('name', name, 'role', role, 'state', state, 'drain', drain, 'gc', gc,
            'lost', lost, 'endpoint', endpoint, 'public_key', public_key) ORDER BY name) FROM node_known), '[]'),
        'keys', coalesce((SELECT json_agg(json_build_object('key', key, 'name', name, 'role', role) ORDER BY name, key)
            FROM node_key WHERE revoked_at IS NULL), '[]'))
    FROM cluster c
$f$;

CREATE FUNCTION node_summary(silence interval)
RETURNS TABLE (name text, role text, state text, drain boolean, drain_by text, drain_at timestamptz, gc bigint, gc_done bigint,
    processes bigint, in_flight bigint, generation bigint, policy_epoch bigint, signatures text, version text, endpoint text,
    coordinator text, up_seconds bigint, silent_seconds numeric) LANGUAGE sql STABLE AS $f$
    SELECT n.name, n.role, CASE WHEN w.seen_at IS NULL AND n.lost THEN 'never seen' WHEN n.lost THEN 'lost' ELSE n.state END,
        n.drain, n.drain_by, n.drain_at, n.gc, coalesce(w.gc_done, 0), coalesce(w.processes, 0), coalesce(w.in_flight, 0),
        coalesce(w.generation, 0), coalesce(w.policy_epoch, 0), coalesce(w.signatures, ''), coalesce(w.version, ''), n.endpoint,
        coalesce(w.coordinator, ''), coalesce(extract(epoch FROM clock_timestamp() - w.first_seen_at)::bigint, 0),
        round(extract(epoch FROM clock_timestamp() - w.seen_at), 1)
    FROM node_known n LEFT JOIN (
        SELECT node, min(l.gc_done) FILTER (WHERE fresh) AS gc_done, count(*) FILTER (WHERE fresh) AS processes,
            sum(l.in_flight) FILTER (WHERE fresh)::bigint AS in_flight, max(l.generation) FILTER (WHERE fresh) AS generation,
            min(l.policy_epoch) FILTER (WHERE fresh) AS policy_epoch, max(l.signatures) AS signatures, max(l.version) AS version,
            string_agg(DISTINCT l.coordinator, ' ') FILTER (WHERE fresh) AS coordinator,
            min(l.first_seen_at) FILTER (WHERE fresh) AS first_seen_at, max(l.seen_at) AS seen_at
        FROM (SELECT *, seen_at > clock_timestamp() - silence AS fresh FROM node_worker) AS l GROUP BY node) AS w ON w.node = n.name
    ORDER BY CASE n.role WHEN 'edge' THEN 1 WHEN 'scanner' THEN 2 ELSE 3 END, length(n.name), n.name
$f$;

CREATE FUNCTION admin_begin() RETURNS void LANGUAGE sql AS $f$
    SELECT pg_advisory_xact_lock(hashtextextended('weir admin', 0))
$f$;

CREATE FUNCTION admin_node(target text, silence interval) RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT row_to_json(s) FROM node_summary(silence) AS s WHERE s.name = target
$f$;

CREATE FUNCTION admin_node_show(target text, silence interval) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    body json := admin_node(target, silence);
BEGIN
    IF body IS NULL THEN
        RETURN (65, format('no node is called "%s"', target), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, body)::admin_answer;
END $f$;

CREATE FUNCTION admin_node_list(silence interval) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(s) FROM node_summary(silence) AS s), '[]')
$f$;

CREATE FUNCTION admin_status(silence interval) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, json_build_object(
        'epoch', (SELECT epoch FROM cluster),
        'policy', (SELECT row_to_json(p) FROM (SELECT epoch, applied_at, applied_by, comment FROM policy ORDER BY epoch DESC LIMIT 1) AS p),
        'database', json_build_object('version', current_setting('server_version'), 'time', clock_timestamp()),
        'last_message', (SELECT max(time) FROM audit),
        'messages_last_minute', (SELECT json_object_agg(disposition, amount) FROM (
            SELECT split_part(disposition, ':', 1) AS disposition, count(*) AS amount
            FROM audit WHERE time > now() - interval '1 minute' GROUP BY 1) AS d),
        'busy_last_minute', (SELECT count(*) FROM audit WHERE time > now() - interval '1 minute' AND reply_code = 421),
        'conservation_difference', (SELECT coalesce(sum(CASE WHEN e->>'n' = 'weir_recipients_accepted_total' THEN (e->>'v')::numeric
            ELSE -(e->>'v')::numeric END), 0) FROM node_metrics m, jsonb_array_elements(m.metrics) AS e
            WHERE e->>'n' = 'weir_recipients_accepted_total' OR (e->>'n' = 'weir_recipients_total'
                AND e->>'l' ~ 'disposition="(delivered|bounced|discarded|quarantined|spooled)[":]')),
        'signature_age_seconds', (SELECT max((e->>'v')::numeric) FROM node_metrics m JOIN node_worker w USING (node, worker, boot),
            jsonb_array_elements(m.metrics) AS e
            WHERE e->>'n' = 'weir_signature_age_seconds' AND w.seen_at > clock_timestamp() - silence),
        'nodes', coalesce((SELECT json_agg(s) FROM node_summary(silence) AS s), '[]'))
$f$;

-- Drains and undrains. Taking the last active node of a role stops mail, so that needs force.
CREATE FUNCTION admin_drain(who text, target text, wanted boolean, force boolean, silence interval) RETURNS admin_answer
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
        UPDATE node SET drain = wanted, drain_by = who, drain_at = now() WHERE name = target;
        INSERT INTO audit_action (who, action, target, detail)
            VALUES (who, CASE WHEN wanted THEN 'drain' ELSE 'undrain' END, target, jsonb_build_object('force', force));
    END IF;
    RETURN (0, NULL, admin_node(target, silence))::admin_answer;
END $f$;

CREATE FUNCTION admin_gc(requester text, target text, silence interval) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    n record;
BEGIN
    PERFORM admin_begin();
    SELECT * INTO n FROM node_known WHERE name = target;
    IF NOT FOUND THEN
        RETURN (65, format('no node is called "%s"', target), NULL)::admin_answer;
    END IF;
    IF n.role <> 'scanner' THEN
        RETURN (65, format('%s is %s %s: only scanners have generations to collect', target,
                CASE n.role WHEN 'edge' THEN 'an' ELSE 'a' END, n.role), NULL)::admin_answer;
    END IF;
    UPDATE node SET gc = gc + 1, gc_by = requester, gc_at = now() WHERE name = target;
    INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'gc', target, jsonb_build_object('number', n.gc + 1));
    RETURN (0, NULL, admin_node(target, silence))::admin_answer;
END $f$;

CREATE FUNCTION admin_keys_add(requester text, new_name text, new_role text, new_key text) RETURNS admin_answer
LANGUAGE plpgsql AS $f$
DECLARE
    hex text := lower(new_key);
    old record;
BEGIN
    PERFORM admin_begin();
    IF new_role NOT IN ('edge', 'scanner', 'coordinator', 'operator') THEN
        RETURN (65, format('"%s" is not a role: edge, scanner, coordinator or operator', new_role), NULL)::admin_answer;
    END IF;
    IF hex !~ '^[0-9a-f]{64}$' THEN
        RETURN (65, 'a key is 64 hex digits: the "public" line of a key file', NULL)::admin_answer;
    END IF;
    IF new_name !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$' THEN
        RETURN (65, format('"%s" is not a name: letters, digits, ".", "_" and "-", at most 63', new_name), NULL)::admin_answer;
    END IF;
    SELECT * INTO old FROM node_key WHERE key = hex;
    IF FOUND AND old.revoked_at IS NOT NULL THEN
        RETURN (65, format('this key of %s was revoked at %s by %s: make a new one', old.name, to_char(old.revoked_at, 'YYYY-MM-DD HH24:MI:SS'),
                old.revoked_by), NULL)::admin_answer;
    END IF;
    IF FOUND AND (old.name, old.role) <> (new_name, new_role) THEN
        RETURN (65, format('this key belongs to %s (%s)', old.name, old.role), NULL)::admin_answer;
    END IF;
    IF NOT FOUND THEN
        SELECT * INTO old FROM node_key WHERE name = new_name AND role <> new_role AND revoked_at IS NULL;
        IF FOUND THEN
            RETURN (65, format('%s is the name of a %s', new_name, old.role), NULL)::admin_answer;
        END IF;
        IF new_role IN ('edge', 'scanner') THEN
            INSERT INTO node (name, role) VALUES (new_name, new_role) ON CONFLICT (name) DO UPDATE SET role = EXCLUDED.role;
        END IF;
        INSERT INTO node_key (key, name, role, added_by) VALUES (hex, new_name, new_role, requester);
        INSERT INTO audit_action (who, action, target, detail)
            VALUES (requester, 'keys add', new_name, jsonb_build_object('role', new_role, 'key', hex));
    END IF;
    RETURN (0, NULL, (SELECT row_to_json(k) FROM node_key AS k WHERE key = hex))::admin_answer;
END $f$;

CREATE FUNCTION admin_keys_list() RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(k ORDER BY k.revoked_at IS NOT NULL, k.role, length(k.name), k.name, k.added_at)
                                    FROM node_key AS k), '[]')
$f$;

-- target: a name (all its keys) or one key. Without any operator's key nobody could talk to the cluster, so the last needs force.
CREATE FUNCTION admin_keys_revoke(requester text, target text, force boolean) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    wanted text[];
BEGIN
    PERFORM admin_begin();
    SELECT array_agg(key) INTO wanted FROM node_key WHERE revoked_at IS NULL AND (name = target OR key = lower(target));
    IF wanted IS NULL THEN
        RETURN (65, format('no valid key belongs to "%s"', target), NULL)::admin_answer;
    END IF;
    IF NOT force AND NOT EXISTS (SELECT FROM node_key WHERE role = 'operator' AND revoked_at IS NULL AND key <> ALL (wanted)) THEN
        RETURN (77, format('%s has the last operator''s key: without it nobody can use weirctl; add --force to revoke it anyway', target),
                NULL)::admin_answer;
    END IF;
    UPDATE node_key SET revoked_at = now(), revoked_by = requester WHERE key = ANY (wanted);
    INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'keys revoke', target, jsonb_build_object('keys', wanted));
    RETURN (0, NULL, (SELECT json_agg(k) FROM node_key AS k WHERE key = ANY (wanted)))::admin_answer;
END $f$;

-- wanted: a queue id, a Message-ID with or without its angle brackets, or an address. The newest rows, oldest of them first.
CREATE FUNCTION admin_trace(wanted text, most integer) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    found json;
BEGIN
    SELECT json_agg(r ORDER BY r.time, r.id, r.recipient_index) INTO found FROM (
        SELECT * FROM (
            SELECT * FROM audit WHERE id = upper(wanted)
            UNION SELECT * FROM audit WHERE message_id <> '' AND message_id IN (wanted, '<' || wanted || '>')
            UNION (SELECT * FROM audit WHERE sender <> '' AND lower(sender) = lower(wanted) ORDER BY time DESC LIMIT most)
            UNION (SELECT * FROM audit WHERE lower(recipient) = lower(wanted) ORDER BY time DESC LIMIT most)) AS a
        ORDER BY a.time DESC, a.id, a.recipient_index LIMIT most) AS r;
    IF found IS NULL THEN
        RETURN (65, format('nothing is known of "%s": give a queue id, a Message-ID or an address; the oldest row is from %s', wanted,
                coalesce((SELECT to_char(min(time), 'YYYY-MM-DD HH24:MI') FROM audit), 'never')), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, found)::admin_answer;
END $f$;

-- Lines that one text has and the other has not, in their order, at most 200.
CREATE FUNCTION lines_without(one text, other text) RETURNS json LANGUAGE sql IMMUTABLE AS $f$
    SELECT coalesce(json_agg(line ORDER BY number), '[]') FROM (
        SELECT line, number FROM string_to_table(one, E'\n') WITH ORDINALITY AS l(line, number)
        WHERE line <> '' AND line NOT IN (SELECT m FROM string_to_table(coalesce(other, ''), E'\n') AS m WHERE m IS NOT NULL)
        ORDER BY number LIMIT 200) AS d
$f$;

CREATE FUNCTION policy_store(requester text, why text, names text[], contents text[]) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    current bigint := coalesce((SELECT max(epoch) FROM policy), 0);
    changes json;
BEGIN
    SELECT json_agg(json_build_object('file', coalesce(n.name, o.name), 'added', lines_without(coalesce(n.content, ''), o.content),
               'removed', lines_without(coalesce(o.content, ''), n.content)) ORDER BY coalesce(n.name, o.name))
        INTO changes
        FROM unnest(names, contents) AS n(name, content)
        FULL JOIN (SELECT name, content FROM policy_file WHERE epoch = current) AS o ON o.name = n.name
        WHERE n.content IS DISTINCT FROM o.content;
    IF changes IS NOT NULL OR current = 0 THEN
        INSERT INTO policy (epoch, applied_by, comment) VALUES (current + 1, requester, why);
        INSERT INTO policy_file (epoch, name, content) SELECT current + 1, n.name, n.content FROM unnest(names, contents) AS n(name, content);
        INSERT INTO audit_action (who, action, target, detail)
            VALUES (requester, 'policy apply', (current + 1)::text, jsonb_build_object('comment', why));
        current := current + 1;
    END IF;
    RETURN (0, NULL, json_build_object('epoch', current, 'changes', coalesce(changes, '[]')))::admin_answer;
END $f$;

CREATE FUNCTION admin_policy_apply(requester text, why text, names text[], contents text[]) RETURNS admin_answer
LANGUAGE plpgsql AS $f$
BEGIN
    PERFORM admin_begin();
    RETURN policy_store(requester, why, names, contents);
END $f$;

CREATE FUNCTION admin_policy_rollback(requester text, wanted bigint) RETURNS admin_answer LANGUAGE plpgsql AS $f$
BEGIN
    PERFORM admin_begin();
    IF NOT EXISTS (SELECT FROM policy WHERE epoch = wanted) THEN
        RETURN (65, format('there is no policy epoch %s; the newest is %s', wanted, coalesce((SELECT max(epoch) FROM policy), 0)),
                NULL)::admin_answer;
    END IF;
    RETURN policy_store(requester, format('back to epoch %s', wanted),
        coalesce((SELECT array_agg(name ORDER BY name) FROM policy_file WHERE epoch = wanted), '{}'),
        coalesce((SELECT array_agg(content ORDER BY name) FROM policy_file WHERE epoch = wanted), '{}'));
END $f$;

-- wanted: NULL for the newest.
CREATE FUNCTION admin_policy_show(wanted bigint) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    body json;
BEGIN
    SELECT json_build_object('epoch', p.epoch, 'applied_at', p.applied_at, 'applied_by', p.applied_by, 'comment', p.comment,
        'files', coalesce((SELECT json_agg(json_build_object('name', f.name, 'content', f.content) ORDER BY f.name)
                           FROM policy_file f WHERE f.epoch = p.epoch), '[]'))
        INTO body FROM policy p WHERE p.epoch = coalesce(wanted, (SELECT max(epoch) FROM policy));
    IF body IS NULL THEN
        RETURN (65, CASE WHEN wanted IS NULL THEN 'no policy was applied yet: weirctl policy apply DIR'
                         ELSE format('there is no policy epoch %s', wanted) END, NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, body)::admin_answer;
END $f$;

CREATE FUNCTION admin_policy_history() RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(h ORDER BY h.epoch DESC) FROM (
        SELECT epoch, applied_at, applied_by, comment FROM policy ORDER BY epoch DESC LIMIT 200) AS h), '[]')
$f$;

CREATE FUNCTION admin_history(most integer) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(h ORDER BY h.number) FROM (
        SELECT * FROM audit_action ORDER BY number DESC LIMIT most) AS h), '[]')
$f$;
