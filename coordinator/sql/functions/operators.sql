-- functions/operators.sql - what operators ask of the cluster and its nodes
--
-- Every admin_* function, here and in the other files, is one verb of weirctl: it takes its arguments as parameters and returns one row of admin_answer.

-- One act of an operator at a time: what it looks at is what it changes.
CREATE OR REPLACE FUNCTION admin_begin() RETURNS void LANGUAGE sql AS $f$
    SELECT pg_advisory_xact_lock(hashtextextended('weir admin', 0))
$f$;

-- What every verb about a node answers with.
CREATE OR REPLACE FUNCTION admin_node(target text, silence interval) RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT row_to_json(s) FROM node_summary(silence) AS s WHERE s.name = target
$f$;

CREATE OR REPLACE FUNCTION admin_node_show(target text, silence interval) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    body json := admin_node(target, silence);
BEGIN
    IF body IS NULL THEN
        RETURN (65, format('no node is called "%s"', target), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, body)::admin_answer;
END $f$;

CREATE OR REPLACE FUNCTION admin_node_list(silence interval) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(s) FROM node_summary(silence) AS s), '[]')
$f$;

CREATE OR REPLACE FUNCTION admin_status(silence interval) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
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
                AND e->>'l' ~ 'disposition="(delivered|bounced|discarded|quarantined|spooled)[":]')) + (SELECT difference FROM spool_sums()),
        'spool', (SELECT json_build_object('messages', messages, 'bytes', bytes, 'destinations_down', down, 'states',
            (SELECT coalesce(json_object_agg(state, amount), '{}') FROM spool_states())) FROM spool_sums()),
        'outbound', (SELECT row_to_json(o) FROM outbound_counts() AS o),
        'signature_age_seconds', (SELECT max((e->>'v')::numeric) FROM node_metrics m JOIN node_worker w USING (node, worker, boot),
            jsonb_array_elements(m.metrics) AS e
            WHERE e->>'n' = 'weir_signature_age_seconds' AND w.seen_at > clock_timestamp() - silence),
        'dns', (SELECT json_build_object('name', d.name, 'server', d.server, 'failed_at', d.failed_at, 'error', d.error,
            'kept', d.server <> '' AND w.addresses = '{}') FROM dns AS d, dns_wanted(silence) AS w),
        'blocklist', blocklist_summary(),
        'unscannable', (SELECT coalesce(sum(kept - released - deleted - expired), 0) FROM quarantine_usage WHERE reason = 'unscannable'),
        'nodes', coalesce((SELECT json_agg(s) FROM node_summary(silence) AS s), '[]'))
$f$;

-- Clients of the last hour that always came to this edge while others served, too: they go to its own name, or keep their connections.
CREATE OR REPLACE FUNCTION edge_pinned(target text) RETURNS jsonb LANGUAGE sql STABLE AS $f$
    SELECT coalesce(jsonb_agg(p), '[]') FROM (
        SELECT client, count(DISTINCT id) AS messages, max(time) AS last FROM audit
            WHERE time > now() - interval '1 hour' AND disposition NOT LIKE 'refused%'
            GROUP BY client HAVING count(DISTINCT id) >= 5 AND bool_and(node = target) ORDER BY 2 DESC, 1 LIMIT 50) AS p
$f$;

-- Drains and undrains. Taking the last active node of a role stops mail, so that needs force. Draining an edge tells also which clients may have no other,
-- and takes it out of the DNS first, unless at_once, or where it stays there as the last.
CREATE OR REPLACE FUNCTION admin_drain(who text, target text, wanted boolean, force boolean, silence interval, at_once boolean DEFAULT false) RETURNS admin_answer
LANGUAGE plpgsql AS $f$
DECLARE
    n record;
    body jsonb;
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
        UPDATE node SET drain = wanted, drain_number = n.drain_number + 1, drain_by = who, drain_at = now(), drain_held = wanted AND NOT at_once AND n.role = 'edge'
                AND EXISTS (SELECT FROM dns WHERE server <> '') AND EXISTS (SELECT FROM dns_edges(silence) AS d WHERE d.node <> target AND d.why IS NULL)
            WHERE name = target;
        INSERT INTO audit_action (who, action, target, detail)
            VALUES (who, CASE WHEN wanted THEN 'drain' ELSE 'undrain' END, target, jsonb_build_object('force', force));
    ELSIF wanted AND at_once AND n.drain_held THEN
        UPDATE node SET drain_held = false WHERE name = target;
        INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'drain', target, jsonb_build_object('force', force, 'now', true));
    END IF;
    body := admin_node(target, silence)::jsonb;
    IF wanted AND n.role = 'edge' THEN
        body := body || jsonb_build_object('pinned', edge_pinned(target));
    END IF;
    RETURN (0, NULL, body::json)::admin_answer;
END $f$;

CREATE OR REPLACE FUNCTION admin_gc(requester text, target text, silence interval) RETURNS admin_answer LANGUAGE plpgsql AS $f$
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

-- agreed: the override by which another operator agreed to it; NULL: nobody did. Where overrides need two, an operator's key does, too, but one more of his own:
-- who can add another name is two by himself.
CREATE OR REPLACE FUNCTION keys_add(requester text, new_name text, new_role text, new_key text, agreed bigint, why text DEFAULT '') RETURNS admin_answer
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
        IF new_role = 'operator' AND new_name <> requester AND agreed IS NULL AND override_needs_two() THEN
            RETURN override_pending_answer(override_ask(requester, 'keys add', new_name, jsonb_build_object('action', 'add a key of operator', 'role', new_role,
                'key', hex), why, '', interval '0'));
        END IF;
        IF new_role IN ('edge', 'scanner') THEN
            INSERT INTO node (name, role) VALUES (new_name, new_role) ON CONFLICT (name) DO UPDATE SET role = EXCLUDED.role;
        END IF;
        INSERT INTO node_key (key, name, role, added_by) VALUES (hex, new_name, new_role, requester);
        INSERT INTO audit_action (who, action, target, detail)
            VALUES (requester, 'keys add', new_name, jsonb_strip_nulls(jsonb_build_object('role', new_role, 'key', hex, 'override', agreed, 'reason', nullif(why, ''))));
    END IF;
    RETURN (0, NULL, (SELECT row_to_json(k) FROM node_key AS k WHERE key = hex))::admin_answer;
END $f$;

CREATE OR REPLACE FUNCTION admin_keys_add(requester text, new_name text, new_role text, new_key text) RETURNS admin_answer LANGUAGE sql AS $f$
    SELECT * FROM keys_add(requester, new_name, new_role, new_key, NULL)
$f$;

CREATE OR REPLACE FUNCTION admin_keys_add(requester text, new_name text, new_role text, new_key text, why text) RETURNS admin_answer LANGUAGE sql AS $f$
    SELECT * FROM keys_add(requester, new_name, new_role, new_key, NULL, why)
$f$;

CREATE OR REPLACE FUNCTION admin_keys_list() RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(k ORDER BY k.revoked_at IS NOT NULL, k.role, length(k.name), k.name, k.added_at)
                                    FROM node_key AS k), '[]')
$f$;

-- target: a name (all its keys) or one key. What needs force: the last operator's key, without which nobody can talk to the cluster; the
-- keys of the last active node of a role, without which no mail flows; a coordinator's key, as that by itself shuts nobody out.
-- An operator's last key takes his sessions at the dashboard with it. What is revoked stays as it is, and is no error: a revocation ends connections, and who lost the answer by that asks again.
CREATE OR REPLACE FUNCTION admin_keys_revoke(requester text, target text, force boolean) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    named_keys text[];
    wanted text[];
    named text;
    ending record;
BEGIN
    PERFORM admin_begin();
    SELECT array_agg(key), array_agg(key) FILTER (WHERE revoked_at IS NULL) INTO named_keys, wanted
        FROM node_key WHERE name = target OR key = lower(target);
    IF named_keys IS NULL THEN
        RETURN (65, format('no key belongs to "%s"', target), NULL)::admin_answer;
    END IF;
    IF wanted IS NULL THEN
        RETURN (0, NULL, (SELECT json_agg(k) FROM node_key AS k WHERE key = ANY (named_keys)))::admin_answer;
    END IF;
    IF NOT force AND NOT EXISTS (SELECT FROM node_key WHERE role = 'operator' AND revoked_at IS NULL AND key <> ALL (wanted)) THEN
        RETURN (77, format('%s has the last operator''s key: without it nobody can use weirctl; add --force to revoke it anyway', target),
                NULL)::admin_answer;
    END IF;
    SELECT name INTO named FROM node_key WHERE role = 'coordinator' AND key = ANY (wanted) LIMIT 1;
    IF NOT force AND FOUND THEN
        RETURN (77, format('nodes trust %1$s by public_key of [coordinator "%1$s"] in their configuration: take the section out, or give it '
                'a new key, and restart them; add --force to strike the key off this list, which changes nothing else', named),
                NULL)::admin_answer;
    END IF;
    SELECT n.name, n.role INTO ending FROM node_known n
        WHERE n.role IN ('edge', 'scanner') AND NOT n.drain AND NOT n.lost AND n.state = 'active'
          AND NOT EXISTS (SELECT FROM node_key k WHERE k.name = n.name AND k.role = n.role AND k.revoked_at IS NULL AND k.key <> ALL (wanted))
          AND NOT EXISTS (SELECT FROM node_known o WHERE o.role = n.role AND o.name <> n.name AND NOT o.drain AND NOT o.lost
                          AND o.state = 'active')
        LIMIT 1;
    IF NOT force AND FOUND THEN
        RETURN (77, format('%s is the last active %s: without it no mail flows; add --force to revoke its key anyway', ending.name, ending.role),
                NULL)::admin_answer;
    END IF;
    UPDATE node_key SET revoked_at = now(), revoked_by = requester WHERE key = ANY (wanted);
    DELETE FROM operator_session WHERE name IN (SELECT name FROM node_key WHERE key = ANY (wanted) AND role = 'operator') AND NOT operator_has_key(name);
    INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'keys revoke', target, jsonb_build_object('keys', wanted));
    RETURN (0, NULL, (SELECT json_agg(k) FROM node_key AS k WHERE key = ANY (wanted)))::admin_answer;
END $f$;
