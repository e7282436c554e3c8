-- As version 0014 dumped it: nodes, policies, an account, audit, and mail in each state.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

CREATE TYPE public.admin_answer AS (
	status integer,
	error text,
	body json
);

CREATE FUNCTION public.admin_account(target text) RETURNS json
    LANGUAGE sql STABLE
    AS $$
    SELECT json_build_object('login', login, 'senders', senders, 'disabled', disabled, 'created_at', created_at, 'created_by', created_by,
        'password_at', password_at, 'last_used_at', last_used_at) FROM account WHERE login = target
$$;

CREATE FUNCTION public.admin_account_add(who text, given_login text, given_hash text, given_senders text) RETURNS public.admin_answer
    LANGUAGE plpgsql
    AS $_$
DECLARE
    target text := lower(given_login);
    list text[] := array_remove(regexp_split_to_array(coalesce(given_senders, ''), '\s+'), '');
    bad text;
BEGIN
    IF length(target) = 0 OR octet_length(target) > 255 OR target ~ '[[:space:][:cntrl:]]' THEN
        RETURN (64, 'a login has 1 to 255 bytes and no blanks', NULL)::admin_answer;
    END IF;
    IF NOT coalesce(admin_account_hash_is_good(given_hash), false) THEN
        RETURN (64, 'the password must come as a yescrypt hash, as weirctl makes it', NULL)::admin_answer;
    END IF;
    IF cardinality(list) = 0 AND target ~ '@.' THEN
        list := ARRAY[target];
    END IF;
    SELECT s INTO bad FROM unnest(list) AS s WHERE s !~ '^[^@[:space:]]*@[^@[:space:]]+$' LIMIT 1;
    IF bad IS NOT NULL OR cardinality(list) > 256 THEN
        RETURN (65, format('"%s" is not an address or @domain', bad), NULL)::admin_answer;
    END IF;
    INSERT INTO account (login, hash, senders, created_by) VALUES (target, given_hash, list, who) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN (65, format('there is an account %s already; account passwd changes its password', target), NULL)::admin_answer;
    END IF;
    INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'account add', target, jsonb_build_object('senders', list));
    RETURN (0, NULL, admin_account(target))::admin_answer;
END $_$;

CREATE FUNCTION public.admin_account_delete(who text, given_login text) RETURNS public.admin_answer
    LANGUAGE plpgsql
    AS $$
DECLARE
    target text := lower(given_login);
    body json := admin_account(target);
BEGIN
    DELETE FROM account WHERE login = target;
    IF NOT FOUND THEN
        RETURN (65, format('there is no account %s', target), NULL)::admin_answer;
    END IF;
    INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'account delete', target, '{}');
    RETURN (0, NULL, body)::admin_answer;
END $$;

CREATE FUNCTION public.admin_account_disable(who text, given_login text, wanted boolean) RETURNS public.admin_answer
    LANGUAGE plpgsql
    AS $$
DECLARE
    target text := lower(given_login);
BEGIN
    UPDATE account SET disabled = wanted WHERE login = target;
    IF NOT FOUND THEN
        RETURN (65, format('there is no account %s', target), NULL)::admin_answer;
    END IF;
    INSERT INTO audit_action (who, action, target, detail)
        VALUES (who, CASE WHEN wanted THEN 'account disable' ELSE 'account enable' END, target, '{}');
    RETURN (0, NULL, admin_account(target))::admin_answer;
END $$;

CREATE FUNCTION public.admin_account_hash_is_good(given text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $_$
    SELECT given ~ '^\$y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{43}$'
$_$;

CREATE FUNCTION public.admin_account_list() RETURNS public.admin_answer
    LANGUAGE sql STABLE
    AS $$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(admin_account(login) ORDER BY login) FROM account), '[]')
$$;

CREATE FUNCTION public.admin_account_passwd(who text, given_login text, given_hash text) RETURNS public.admin_answer
    LANGUAGE plpgsql
    AS $$
DECLARE
    target text := lower(given_login);
BEGIN
    IF NOT coalesce(admin_account_hash_is_good(given_hash), false) THEN
        RETURN (64, 'the password must come as a yescrypt hash, as weirctl makes it', NULL)::admin_answer;
    END IF;
    UPDATE account SET hash = given_hash, password_at = now() WHERE login = target;
    IF NOT FOUND THEN
        RETURN (65, format('there is no account %s', target), NULL)::admin_answer;
    END IF;
    DELETE FROM auth_guess WHERE login = target;
    INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'account passwd', target, '{}');
    RETURN (0, NULL, admin_account(target))::admin_answer;
END $$;

CREATE FUNCTION public.admin_begin() RETURNS void
    LANGUAGE sql
    AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('weir admin', 0))
$$;

CREATE FUNCTION public.admin_drain(who text, target text, wanted boolean, force boolean, silence interval) RETURNS public.admin_answer
    LANGUAGE plpgsql
    AS $$
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
END $$;

CREATE FUNCTION public.admin_gc(requester text, target text, silence interval) RETURNS public.admin_answer
    LANGUAGE plpgsql
    AS $$
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
END $$;

CREATE FUNCTION public.admin_history(most integer) RETURNS public.admin_answer
    LANGUAGE sql STABLE
    AS $$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(h ORDER BY h.number) FROM (
        SELECT * FROM audit_action ORDER BY number DESC LIMIT most) AS h), '[]')
$$;

CREATE FUNCTION public.admin_keys_add(requester text, new_name text, new_role text, new_key text) RETURNS public.admin_answer
    LANGUAGE plpgsql
    AS $_$
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
END $_$;

CREATE FUNCTION public.admin_keys_list() RETURNS public.admin_answer
    LANGUAGE sql STABLE
    AS $$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(k ORDER BY k.revoked_at IS NOT NULL, k.role, length(k.name), k.name, k.added_at)
                                    FROM node_key AS k), '[]')
$$;

CREATE FUNCTION public.admin_keys_revoke(requester text, target text, force boolean) RETURNS public.admin_answer
    LANGUAGE plpgsql
    AS $_$
DECLARE
    wanted text[];
    named text;
    ending record;
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
    INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'keys revoke', target, jsonb_build_object('keys', wanted));
    RETURN (0, NULL, (SELECT json_agg(k) FROM node_key AS k WHERE key = ANY (wanted)))::admin_answer;
END $_$;

CREATE FUNCTION public.admin_node(target text, silence interval) RETURNS json
    LANGUAGE sql STABLE
    AS $$
    SELECT row_to_json(s) FROM node_summary(silence) AS s WHERE s.name = target
$$;

CREATE FUNCTION public.admin_node_list(silence interval) RETURNS public.admin_answer
    LANGUAGE sql STABLE
    AS $$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(s) FROM node_summary(silence) AS s), '[]')
$$;

CREATE FUNCTION public.admin_node_show(target text, silence interval) RETURNS public.admin_answer
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    body json := admin_node(target, silence);
BEGIN
    IF body IS NULL THEN
        RETURN (65, format('no node is called "%s"', target), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, body)::admin_answer;
END $$;

CREATE FUNCTION public.admin_policy_apply(requester text, why text, names text[], contents text[]) RETURNS public.admin_answer
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM admin_begin();
    RETURN policy_store(requester, why, names, contents);
END $$;

CREATE FUNCTION public.admin_policy_history() RETURNS public.admin_answer
    LANGUAGE sql STABLE
    AS $$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(h ORDER BY h.epoch DESC) FROM (
        SELECT epoch, applied_at, applied_by, comment FROM policy ORDER BY epoch DESC LIMIT 200) AS h), '[]')
$$;

CREATE FUNCTION public.admin_policy_rollback(requester text, wanted bigint) RETURNS public.admin_answer
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM admin_begin();
    IF NOT EXISTS (SELECT FROM policy WHERE epoch = wanted) THEN
        RETURN (65, format('there is no policy epoch %s; the newest is %s', wanted, coalesce((SELECT max(epoch) FROM policy), 0)),
                NULL)::admin_answer;
    END IF;
    RETURN policy_store(requester, format('back to epoch %s', wanted),
        coalesce((SELECT array_agg(name ORDER BY name) FROM policy_file WHERE epoch = wanted), '{}'),
        coalesce((SELECT array_agg(content ORDER BY name) FROM policy_file WHERE epoch = wanted), '{}'));
END $$;

CREATE FUNCTION public.admin_policy_show(wanted bigint) RETURNS public.admin_answer
    LANGUAGE plpgsql STABLE
    AS $$
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
END $$;

CREATE FUNCTION public.admin_queue_act(requester text, act text, wanted text, a_from text, a_to text, a_state text, older text, a_destination text, force boolean) RETURNS public.admin_answer
    LANGUAGE plpgsql
    AS $$
DECLARE
    one record;
    entry record;
    changed integer := 0;
    seen integer := 0;
    busy integer := 0;
    ids text[] := '{}';
BEGIN
    IF queue_check(a_state) IS NOT NULL THEN
        RETURN (64, queue_check(a_state), NULL)::admin_answer;
    END IF;
    IF NOT force AND wanted || a_from || a_to || a_state || older || a_destination = '' THEN
        RETURN (64, format('queue %s: which messages? Name one, or give --from, --to, --state, --older or --destination; --force means all', act),
                NULL)::admin_answer;
    END IF;
    FOR one IN SELECT * FROM queue_match(wanted, a_from, a_to, a_state, older, a_destination) AS n
        WHERE CASE act WHEN 'hold' THEN n.state <> 'held' WHEN 'release' THEN n.state = 'held' WHEN 'retry' THEN n.state IN ('deferred', 'ready')
              ELSE true END ORDER BY n.id, n.destination LIMIT 1001
    LOOP
        seen := seen + 1;
        EXIT WHEN seen > 1000;
        PERFORM FROM spool_message m WHERE m.id = one.id FOR UPDATE;
        SELECT q.leased AND q.due_at > clock_timestamp() AS leased INTO entry FROM spool_queue q
            WHERE q.id = one.id AND q.destination = one.destination FOR UPDATE;
        CONTINUE WHEN NOT FOUND;
        IF entry.leased AND act IN ('delete', 'bounce', 'retry') THEN
            busy := busy + 1;
            CONTINUE;
        END IF;
        IF act = 'delete' THEN
            PERFORM queue_delete(requester, one.id, one.destination);
        ELSE
            UPDATE spool_queue q SET held = act = 'hold', bounce = q.bounce OR act = 'bounce',
                due_at = CASE WHEN act = 'hold' OR entry.leased THEN q.due_at ELSE clock_timestamp() END,
                attend_at = CASE act WHEN 'bounce' THEN clock_timestamp() ELSE q.attend_at END
                WHERE q.id = one.id AND q.destination = one.destination;
            INSERT INTO spool_wake SELECT q.destination, q.scanned, q.due_at FROM spool_queue q
                WHERE q.id = one.id AND q.destination = one.destination AND act <> 'hold';
        END IF;
        IF act = 'retry' THEN
            DELETE FROM spool_destination d WHERE d.destination = one.destination;
        END IF;
        changed := changed + 1;
        ids := CASE WHEN cardinality(ids) < 20 THEN ids || one.id ELSE ids END;
    END LOOP;
    IF seen = 0 THEN
        RETURN (65, CASE WHEN wanted <> '' THEN format('%s is not in the spool, or not in a state to %s', wanted, act)
                         ELSE 'nothing in the spool matches' END, NULL)::admin_answer;
    END IF;
    IF changed > 0 THEN
        INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'queue ' || act, wanted, jsonb_strip_nulls(jsonb_build_object(
            'from', nullif(a_from, ''), 'to', nullif(a_to, ''), 'state', nullif(a_state, ''), 'older', nullif(older, ''),
            'destination', nullif(a_destination, ''), 'changed', changed, 'ids', ids)));
        PERFORM pg_notify('weir_spool', '');
    END IF;
    RETURN (0, NULL, json_build_object('changed', changed, 'busy', busy, 'more', seen > 1000, 'ids', ids))::admin_answer;
END $$;

CREATE FUNCTION public.admin_queue_list(wanted text, a_from text, a_to text, a_state text, older text, a_destination text, most integer) RETURNS public.admin_answer
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    IF queue_check(a_state) IS NOT NULL THEN
        RETURN (64, queue_check(a_state), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, coalesce((SELECT json_agg(e ORDER BY e.arrived_at, e.id, e.destination) FROM (
        SELECT q.id, q.arrived_at, n.state, m.size, m.sender, q.destination, q.attempts, q.due_at, q.attend_at, q.maybe_duplicate,
            CASE WHEN n.state = 'leased' THEN q.holder ELSE '' END AS holder, m.scanned,
            (SELECT json_agg(r.address ORDER BY r.number) FROM (SELECT o.address, o.number FROM spool_recipient o WHERE o.id = q.id
                AND o.destination = q.destination AND o.state = 'queued' ORDER BY o.number LIMIT 5) AS r) AS recipients,
            (SELECT count(*) FROM spool_recipient o WHERE o.id = q.id AND o.destination = q.destination AND o.state = 'queued') AS recipient_count,
            coalesce(nullif((SELECT o.reply FROM spool_recipient o WHERE o.id = q.id AND o.destination = q.destination AND o.state = 'queued'
                ORDER BY o.number LIMIT 1), ''), d.reply, '') AS reply
        FROM queue_match(wanted, a_from, a_to, a_state, older, a_destination) AS n
        JOIN spool_queue q ON q.id = n.id AND q.destination = n.destination JOIN spool_message m ON m.id = q.id
        LEFT JOIN spool_destination d ON d.destination = q.destination
        ORDER BY q.arrived_at, q.id, q.destination LIMIT most) AS e), '[]'))::admin_answer;
END $$;

CREATE FUNCTION public.admin_queue_show(wanted text) RETURNS public.admin_answer
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    body json;
BEGIN
    SELECT json_build_object('id', m.id, 'arrived_at', m.arrived_at, 'stored_at', m.stored_at, 'size', m.size, 'sender', m.sender,
        'message_id', m.message_id, 'node', m.node, 'listener', m.listener, 'client', m.client, 'helo', m.helo, 'tls', m.tls,
        'scanned', m.scanned, 'verdict', m.verdict, 'dsn', m.dsn,
        'destinations', coalesce((SELECT json_agg(json_build_object('destination', q.destination, 'state',
            spool_state(q.held, q.leased, q.due_at, d.down_until), 'due_at', q.due_at, 'down_until', d.down_until, 'attempts', q.attempts,
            'holder', q.holder, 'maybe_duplicate', q.maybe_duplicate, 'delay_warned', q.delay_warned, 'bounce', q.bounce)
            ORDER BY q.destination) FROM spool_queue q LEFT JOIN spool_destination d USING (destination) WHERE q.id = m.id), '[]'),
        'recipients', coalesce((SELECT json_agg(json_build_object('address', r.address, 'destination', r.destination, 'state', r.state,
            'attempts', r.attempts, 'tried_at', r.tried_at, 'reply', r.reply) ORDER BY r.number) FROM spool_recipient r WHERE r.id = m.id), '[]'),
        'attempts', coalesce((SELECT json_agg(e ORDER BY e.at) FROM spool_event e WHERE e.id = m.id), '[]'))
        INTO body FROM spool_message m WHERE m.id = upper(wanted);
    IF body IS NULL THEN
        RETURN (65, format('%s is not in the spool; weirctl trace %s tells what became of it', wanted, wanted), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, body)::admin_answer;
END $$;

CREATE FUNCTION public.admin_status(silence interval) RETURNS public.admin_answer
    LANGUAGE sql STABLE
    AS $$
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
        'signature_age_seconds', (SELECT max((e->>'v')::numeric) FROM node_metrics m JOIN node_worker w USING (node, worker, boot),
            jsonb_array_elements(m.metrics) AS e
            WHERE e->>'n' = 'weir_signature_age_seconds' AND w.seen_at > clock_timestamp() - silence),
        'nodes', coalesce((SELECT json_agg(s) FROM node_summary(silence) AS s), '[]'))
$$;

CREATE FUNCTION public.admin_trace(wanted text, most integer) RETURNS public.admin_answer
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    found json;
BEGIN
    SELECT json_agg(r ORDER BY r.time, r.id, r.recipient_index) INTO found FROM (
        SELECT l.*, CASE WHEN row_number() OVER (PARTITION BY l.id ORDER BY l.time, l.recipient_index) = 1 THEN
                (SELECT json_agg(e ORDER BY e.at) FROM (SELECT v.at, v.destination, v.who, v.what, v.recipients, v.reply FROM spool_event v
                 WHERE v.id = l.id ORDER BY v.at DESC LIMIT 200) AS e) END AS attempts
        FROM (
            SELECT * FROM (
                SELECT * FROM audit WHERE id = upper(wanted)
                UNION SELECT * FROM audit WHERE message_id <> '' AND message_id IN (wanted, '<' || wanted || '>')
                UNION (SELECT * FROM audit WHERE sender <> '' AND lower(sender) = lower(wanted) ORDER BY time DESC LIMIT most)
                UNION (SELECT * FROM audit WHERE lower(recipient) = lower(wanted) ORDER BY time DESC LIMIT most)) AS a
            ORDER BY a.time DESC, a.id, a.recipient_index LIMIT most) AS l) AS r;
    IF found IS NULL THEN
        RETURN (65, format('nothing is known of "%s": give a queue id, a Message-ID or an address; the oldest row is from %s', wanted,
                coalesce((SELECT to_char(min(time), 'YYYY-MM-DD HH24:MI') FROM audit), 'never')), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, found)::admin_answer;
END $$;

CREATE FUNCTION public.auth_begin(ask bigint, who text, whence text, account_most integer, client_most integer, span interval) RETURNS TABLE(limited text, hash text, senders text[])
    LANGUAGE plpgsql
    AS $$
DECLARE
    since timestamptz := clock_timestamp() - span;
    first_lock bigint := hashtextextended('account ' || who, 0);
    second_lock bigint := hashtextextended('client ' || whence, 0);
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(least(first_lock, second_lock));
    PERFORM pg_advisory_xact_lock(greatest(first_lock, second_lock));
    DELETE FROM auth_guess WHERE request IN (SELECT g.request FROM auth_guess g WHERE g.at < since ORDER BY g.at LIMIT 20 FOR UPDATE SKIP LOCKED);
    limited := CASE
        WHEN (SELECT count(*) FROM (SELECT FROM auth_guess g WHERE g.login = who AND g.at >= since AND g.request <> ask LIMIT account_most) AS n)
            >= account_most THEN 'account'
        WHEN (SELECT count(*) FROM (SELECT FROM auth_guess g WHERE g.client = whence AND g.at >= since AND g.request <> ask LIMIT client_most) AS n)
            >= client_most THEN 'client'
    END;
    IF limited IS NULL THEN
        INSERT INTO auth_guess (request, login, client) VALUES (ask, who, whence) ON CONFLICT DO NOTHING;
        SELECT CASE WHEN a.disabled THEN '!' ELSE '' END || a.hash, a.senders INTO hash, senders FROM account a WHERE a.login = who;
    END IF;
    RETURN NEXT;
END $$;

CREATE FUNCTION public.auth_forgive(ask bigint, who text, used boolean) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF used THEN -- first: operators lock the account before its guesses
        UPDATE account SET last_used_at = now()
            WHERE login = who AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute');
    END IF;
    DELETE FROM auth_guess WHERE request = ask;
END $$;

CREATE FUNCTION public.cluster_changed() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE cluster SET epoch = epoch + 1;
    -- An epoch that nodes have heard must not be given again after a crash, even where a heartbeat brought it.
    PERFORM set_config('synchronous_commit', (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'), true);
    PERFORM pg_notify('weir_cluster', '');
    RETURN NULL;
END $$;

CREATE FUNCTION public.cluster_identity() RETURNS text
    LANGUAGE sql STABLE
    AS $$
    SELECT identity || '/' || (SELECT system_identifier FROM pg_control_system()) || '/' ||
        CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END
    FROM cluster
$$;

CREATE FUNCTION public.cluster_state() RETURNS json
    LANGUAGE sql STABLE
    AS $$
    SELECT json_build_object('epoch', c.epoch, 'identity', cluster_identity(),
        'policy_epoch', coalesce((SELECT max(epoch) FROM policy), 0),
        'nodes', coalesce((SELECT json_agg(json_build_object('name', name, 'role', role, 'state', state, 'drain', drain,
            'drain_number', drain_number, 'gc', gc, 'lost', lost, 'endpoint', endpoint, 'public_key', public_key) ORDER BY name) FROM node_known), '[]'),
        'keys', coalesce((SELECT json_agg(json_build_object('key', key, 'name', name, 'role', role) ORDER BY name, key)
            FROM node_key WHERE revoked_at IS NULL), '[]'))
    FROM cluster c
$$;

CREATE FUNCTION public.lines_without(one text, other text) RETURNS json
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT coalesce(json_agg(line ORDER BY number), '[]') FROM (
        SELECT line, number FROM string_to_table(one, E'\n') WITH ORDINALITY AS l(line, number)
        WHERE line <> '' AND line NOT IN (SELECT m FROM string_to_table(coalesce(other, ''), E'\n') AS m WHERE m IS NOT NULL)
        ORDER BY number LIMIT 200) AS d
$$;

CREATE FUNCTION public.metrics_fold() RETURNS integer
    LANGUAGE plpgsql
    AS $$
DECLARE
    folded integer;
BEGIN
    -- A leader of before may still be at it, and two would overwrite each other's sums. What follows sees what it did.
    IF NOT pg_try_advisory_xact_lock(hashtextextended('weir fold', 0)) THEN
        RETURN 0;
    END IF;
    WITH ended AS MATERIALIZED (
        SELECT p.node, p.worker, p.boot FROM node_process p
        WHERE p.seen_at < now() - interval '1 minute'
          AND EXISTS (SELECT FROM node_process newer WHERE newer.node = p.node AND newer.worker = p.worker
                                                       AND newer.first_seen_at > p.first_seen_at)
        ORDER BY p.node, p.worker, p.boot LIMIT 10 FOR UPDATE OF p SKIP LOCKED
    ), gone AS (
        DELETE FROM node_process p USING ended e WHERE (p.node, p.worker, p.boot) = (e.node, e.worker, e.boot)
    ), taken AS (
        DELETE FROM node_metrics m USING ended e WHERE (m.node, m.worker, m.boot) = (e.node, e.worker, e.boot)
        RETURNING m.node, m.worker, m.metrics
    ), source AS (
        SELECT node, worker, metrics FROM taken
        UNION ALL
        SELECT node, worker, metrics FROM node_metrics WHERE boot = 0 AND (node, worker) IN (SELECT node, worker FROM taken)
    ), sample AS MATERIALIZED (
        -- Numbered, so that buckets are joined by a number; one row for each series of each source. Gauges ended with their process.
        SELECT s.node, s.worker, e->>'n' AS n, e->>'l' AS l, e->'k' AS k, e->'b' AS b, (e->>'v')::numeric AS v, (e->>'c')::numeric AS c,
            e->'u' AS u, dense_rank() OVER (ORDER BY s.node, s.worker, e->>'n', e->>'l', e->>'k', e->>'b') AS series
        FROM source s, jsonb_array_elements(s.metrics) AS e WHERE e->>'k' <> '1'
    ), bucket AS (
        SELECT series, jsonb_agg(amount ORDER BY position) AS u FROM (
            SELECT s.series, one.position, sum(one.amount::numeric) AS amount
            FROM sample s, jsonb_array_elements_text(s.u) WITH ORDINALITY AS one(amount, position)
            WHERE jsonb_typeof(s.u) = 'array' GROUP BY s.series, one.position) AS sums
        GROUP BY series
    ), total AS (
        SELECT node, worker, n, l, k, b, series, sum(v) AS v, sum(c) AS c FROM sample GROUP BY node, worker, n, l, k, b, series
    ), written AS (
        INSERT INTO node_metrics AS base (node, worker, boot, metrics)
            SELECT t.node, t.worker, 0, jsonb_agg(jsonb_build_object('n', t.n, 'l', t.l, 'k', t.k, 'v', t.v, 'c', t.c, 'b', t.b,
                'u', coalesce(bucket.u, '[]')) ORDER BY t.series)
            FROM total t LEFT JOIN bucket USING (series) GROUP BY t.node, t.worker
            ON CONFLICT (node, worker, boot) DO UPDATE SET metrics = EXCLUDED.metrics
    )
    SELECT count(*) INTO folded FROM ended;
    RETURN folded;
END $$;

CREATE FUNCTION public.metrics_merge(older jsonb, newer jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT coalesce(jsonb_agg(latest.e ORDER BY latest.at), '[]') FROM (
        SELECT one.e, one.at FROM (
            SELECT DISTINCT ON (s.e->>'n', CASE WHEN s.e->>'n' LIKE '%\_info' THEN '' ELSE s.e->>'l' END) s.e, s.at
            FROM jsonb_array_elements(older || newer) WITH ORDINALITY AS s(e, at)
            ORDER BY s.e->>'n', CASE WHEN s.e->>'n' LIKE '%\_info' THEN '' ELSE s.e->>'l' END, s.at DESC) AS one
        ORDER BY one.at DESC LIMIT 10000) AS latest
$$;

CREATE FUNCTION public.node_refresh(names text[], silence interval) RETURNS void
    LANGUAGE sql
    AS $$
    WITH told AS (
        SELECT node, count(*) AS workers, count(*) FILTER (WHERE state = 'drained') AS drained,
            count(*) FILTER (WHERE state = 'draining') AS draining, count(*) FILTER (WHERE state = 'active') AS active,
            (array_agg(endpoint ORDER BY worker))[1] AS endpoint, (array_agg(public_key ORDER BY worker))[1] AS public_key
        FROM node_worker WHERE seen_at > clock_timestamp() - silence AND (names IS NULL OR node = ANY (names))
        GROUP BY node
    ), heard AS (
        SELECT o.name, t.workers IS NULL AS lost, coalesce(t.endpoint, o.endpoint) AS endpoint,
            coalesce(t.public_key, o.public_key) AS public_key,
            CASE WHEN t.workers IS NULL THEN o.state
                 WHEN t.drained = t.workers THEN 'drained'
                 WHEN t.draining + t.drained > 0 THEN 'draining'
                 WHEN t.active > 0 THEN 'active'
                 ELSE 'starting' END AS state
        FROM node o LEFT JOIN told t ON t.node = o.name WHERE names IS NULL OR o.name = ANY (names)
    ), differs AS (
        -- Only rows that change are locked, in the one order.
        SELECT h.* FROM node n JOIN heard h ON h.name = n.name
        WHERE (n.state, n.lost, n.endpoint, n.public_key) IS DISTINCT FROM (h.state, h.lost, h.endpoint, h.public_key)
        ORDER BY n.name FOR UPDATE OF n
    )
    UPDATE node n SET state = d.state, lost = d.lost, endpoint = d.endpoint, public_key = d.public_key
    FROM differs d WHERE n.name = d.name
$$;

CREATE FUNCTION public.node_summary(silence interval) RETURNS TABLE(name text, role text, state text, drain boolean, drain_by text, drain_at timestamp with time zone, gc bigint, gc_done bigint, processes bigint, in_flight bigint, generation bigint, policy_epoch bigint, signatures text, version text, endpoint text, coordinator text, up_seconds bigint, silent_seconds numeric, drain_number bigint, drain_done bigint)
    LANGUAGE sql STABLE
    AS $$
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
$$;

CREATE FUNCTION public.policy_store(requester text, why text, names text[], contents text[]) RETURNS public.admin_answer
    LANGUAGE plpgsql
    AS $$
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
END $$;

CREATE FUNCTION public.queue_check(a_state text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT format('"%s" is no state: ready, deferred, leased or held', a_state) WHERE a_state NOT IN ('', 'ready', 'deferred', 'leased', 'held')
$$;

CREATE FUNCTION public.queue_delete(requester text, wanted text, to_destination text) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    numbers integer[];
BEGIN
    WITH gone AS (UPDATE spool_recipient SET state = 'discarded' WHERE id = wanted AND destination = to_destination AND state = 'queued'
                  RETURNING number)
        SELECT coalesce(array_agg(number), '{}') INTO numbers FROM gone;
    PERFORM spool_audit(wanted, numbers, 'weirctl', 'discarded:operator', 0, format('deleted by %s', requester), '');
    INSERT INTO spool_event (id, destination, token, who, what, recipients, reply)
        VALUES (wanted, to_destination, 0, requester, 'discarded', cardinality(numbers), 'weirctl queue delete');
    PERFORM spool_count(0, 0, 0, 0, 0, cardinality(numbers), 0);
    PERFORM spool_settle(wanted, cardinality(numbers));
END $$;

CREATE FUNCTION public.queue_like(pattern text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT replace(regexp_replace(CASE WHEN left(pattern, 1) = '@' THEN '*' || pattern ELSE pattern END, '([\\%_])', '\\\1', 'g'), '*', '%')
$$;

CREATE FUNCTION public.queue_match(wanted text, a_from text, a_to text, a_state text, older text, a_destination text) RETURNS TABLE(id text, destination text, state text)
    LANGUAGE sql STABLE
    AS $$
    SELECT q.id, q.destination, s.state
    FROM spool_queue q JOIN spool_message m USING (id) LEFT JOIN spool_destination d USING (destination)
    CROSS JOIN LATERAL (SELECT spool_state(q.held, q.leased, q.due_at, d.down_until) AS state) AS s
    WHERE (wanted = '' OR q.id = upper(wanted))
        AND (a_from = '' OR (a_from = '<>' AND m.sender = '') OR (a_from <> '<>' AND m.sender ILIKE queue_like(a_from)))
        AND (a_to = '' OR EXISTS (SELECT FROM spool_recipient r WHERE r.id = q.id AND r.destination = q.destination AND r.state = 'queued'
                                  AND r.address ILIKE queue_like(a_to)))
        AND (a_state = '' OR s.state = a_state)
        AND (older = '' OR q.arrived_at < now() - nullif(older, '')::interval)
        AND (a_destination = '' OR q.destination ILIKE queue_like(a_destination))
$$;

CREATE FUNCTION public.spool_abandon(age interval, most integer) RETURNS integer
    LANGUAGE plpgsql
    AS $$
DECLARE
    gone text[] := ARRAY(SELECT id FROM spool_message WHERE stored_at IS NULL AND chunk_at < clock_timestamp() - age
                         ORDER BY chunk_at LIMIT most FOR UPDATE SKIP LOCKED);
BEGIN
    PERFORM spool_count(0, 0, 0, 0, 0, 0, count(*)) FROM spool_recipient WHERE id = ANY (gone) HAVING count(*) > 0;
    PERFORM spool_forget(gone);
    RETURN cardinality(gone);
END $$;

CREATE FUNCTION public.spool_attend(arrived timestamp with time zone, warned boolean, warning interval, life interval) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT arrived + CASE WHEN warned OR warning = '0' THEN life ELSE least(warning, life) END
$$;

CREATE FUNCTION public.spool_audit(wanted text, numbers integer[], who text, what text, code integer, said text, hop text) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO audit AS a (id, recipient_index, time, node, worker, listener, client, helo, tls, sender, recipient, message_id, size,
        disposition, reply_code, reply, verdict, signature, scanner, engine, signatures, next_hop, next_hop_reply, duration_ms)
        SELECT m.id, r.number, clock_timestamp(), who, 0, m.listener, m.client, m.helo, m.tls, m.sender, r.address, m.message_id,
            m.size, what, code, said, m.verdict, '', m.scanner, m.engine, m.signatures, left(hop, 512),
            CASE WHEN hop <> '' THEN said ELSE '' END, (extract(epoch FROM clock_timestamp() - m.arrived_at) * 1000)::bigint
        FROM spool_message m JOIN spool_recipient r ON r.id = m.id WHERE m.id = wanted AND r.number = ANY (numbers) ORDER BY r.number
        ON CONFLICT (id, recipient_index) DO UPDATE SET time = EXCLUDED.time, node = EXCLUDED.node, disposition = EXCLUDED.disposition,
            reply_code = EXCLUDED.reply_code, reply = EXCLUDED.reply, verdict = EXCLUDED.verdict, scanner = EXCLUDED.scanner,
            engine = EXCLUDED.engine, signatures = EXCLUDED.signatures, next_hop = EXCLUDED.next_hop,
            next_hop_reply = EXCLUDED.next_hop_reply, duration_ms = EXCLUDED.duration_ms;
END $$;

CREATE FUNCTION public.spool_chunk(max_bytes bigint, warning interval, life interval, wanted text, offset_now bigint, chunk bytea, is_last boolean, is_scanned boolean, a_verdict text, a_scanner text, an_engine text, a_signatures text) RETURNS TABLE(status integer, have bigint, complete boolean)
    LANGUAGE plpgsql
    AS $$
DECLARE
    m record;
BEGIN
    SELECT size, stored_at IS NOT NULL AS complete INTO m FROM spool_message WHERE id = wanted FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT CASE WHEN known THEN 1 ELSE 4 END, offset_now + octet_length(chunk), known
            FROM (SELECT EXISTS (SELECT FROM spool_event e WHERE e.id = wanted) AS known) AS k;
    ELSIF offset_now > m.size THEN
        RETURN QUERY SELECT 2, m.size, false;      -- one before it is still on its way, perhaps by another coordinator
    ELSIF m.complete OR offset_now < m.size THEN
        RETURN QUERY SELECT CASE WHEN offset_now + octet_length(chunk) <= m.size THEN 1 ELSE 4 END, m.size, m.complete;
    ELSIF spool_is_full(9223372036854775807, max_bytes) THEN
        RETURN QUERY SELECT 3, m.size, false;
    ELSE
        IF octet_length(chunk) > 0 THEN
            INSERT INTO spool_body (id, position, data) VALUES (wanted, offset_now, chunk);
        END IF;
        UPDATE spool_message SET size = size + octet_length(chunk), chunk_at = clock_timestamp(),
            stored_at = CASE WHEN is_last THEN clock_timestamp() END, scanned = scanned OR (is_last AND is_scanned),
            verdict = CASE WHEN is_last AND a_verdict <> '' THEN a_verdict ELSE verdict END,
            scanner = CASE WHEN is_last AND a_scanner <> '' THEN a_scanner ELSE scanner END,
            engine = CASE WHEN is_last AND an_engine <> '' THEN an_engine ELSE engine END,
            signatures = CASE WHEN is_last AND a_signatures <> '' THEN a_signatures ELSE signatures END
            WHERE id = wanted;
        PERFORM spool_count(0, octet_length(chunk), 0, 0, 0, 0, 0);
        IF is_last THEN
            PERFORM spool_ready(ARRAY[wanted], warning, life);
        END IF;
        RETURN QUERY SELECT 1, m.size + octet_length(chunk), is_last;
    END IF;
END $$;

CREATE FUNCTION public.spool_claim(who text, room integer, scanners boolean, per_destination integer, lease interval) RETURNS TABLE(first boolean, id text, destination text, token bigint, envelope bytea, attempts integer, age_ms bigint, maybe_duplicate boolean, delay_warned boolean, bounce boolean, dsn boolean, scanned boolean, verdict text, scanner text, engine text, signatures text, size bigint, tries integer, packed bytea)
    LANGUAGE plpgsql
    AS $$
DECLARE
    at_now timestamptz := clock_timestamp();
    lane record;
    kind boolean;
    got_ids text[] := '{}';
    got_destinations text[] := '{}';
    picked text[];
    share integer;
    free integer;
BEGIN
    PERFORM spool_take_wakes();
    -- What needs attention whether its destination can be reached or not: at most half, so that the end of much old mail delays no new mail.
    FOREACH kind IN ARRAY CASE WHEN scanners THEN '{t,f}'::boolean[] ELSE '{t}' END LOOP
        FOR lane IN
            SELECT q.id, q.destination FROM spool_queue q WHERE NOT q.held AND q.scanned = kind AND q.attend_at <= at_now
                AND NOT (q.leased AND q.due_at > at_now)
                ORDER BY q.attend_at LIMIT (room + 1) / 2 - cardinality(got_ids) FOR UPDATE SKIP LOCKED
        LOOP
            got_ids := got_ids || lane.id;
            got_destinations := got_destinations || lane.destination;
        END LOOP;
    END LOOP;
    UPDATE spool_queue q SET leased = true, token = q.token + 1, due_at = at_now + lease, holder = who,
        maybe_duplicate = q.maybe_duplicate OR q.leased
        FROM unnest(got_ids, got_destinations) AS g(id, destination) WHERE q.id = g.id AND q.destination = g.destination;
    share := greatest(1, room / greatest(1, (SELECT count(*) FROM (
        SELECT FROM spool_lane l WHERE (l.scanned OR scanners) AND l.turn_at <= at_now LIMIT room) AS c)));
    FOR lane IN
        SELECT l.destination, l.scanned FROM spool_lane l WHERE (l.scanned OR scanners) AND l.turn_at <= at_now
            ORDER BY l.turn_at LIMIT room FOR UPDATE SKIP LOCKED
    LOOP
        EXIT WHEN cardinality(got_ids) >= room;
        -- The limit is of both lanes of a destination together, and of all coordinators.
        CONTINUE WHEN NOT pg_try_advisory_xact_lock(hashtextextended('weir lane ' || lane.destination, 0));
        SELECT CASE WHEN d.down_until > at_now THEN 0 WHEN d.failures > 0 THEN 1 ELSE per_destination END - (
            SELECT count(*) FROM spool_queue q WHERE q.destination = lane.destination AND q.leased AND q.due_at > at_now)
            INTO free FROM (SELECT) AS one LEFT JOIN spool_destination d ON d.destination = lane.destination;
        picked := '{}';
        IF free > 0 THEN
            picked := ARRAY(SELECT spool_pick(lane.destination, lane.scanned, least(free, share, room - cardinality(got_ids)), at_now));
            UPDATE spool_queue q SET leased = true, token = q.token + 1, due_at = at_now + lease, holder = who,
                maybe_duplicate = q.maybe_duplicate OR q.leased
                WHERE q.id = ANY (picked) AND q.destination = lane.destination;
            got_ids := got_ids || picked;
            got_destinations := got_destinations || array_fill(lane.destination, ARRAY[cardinality(picked)]);
        END IF;
        UPDATE spool_lane l SET turn_at = spool_next_turn(lane.destination, lane.scanned, free - cardinality(picked), at_now)
            WHERE l.destination = lane.destination AND l.scanned = lane.scanned;
    END LOOP;
    RETURN QUERY
        SELECT f.first, q.id, q.destination, q.token, CASE WHEN f.first THEN m.envelope END, q.attempts,
            greatest(0, (extract(epoch FROM at_now - m.arrived_at) * 1000)::bigint), q.maybe_duplicate, q.delay_warned, q.bounce, m.dsn, m.scanned,
            m.verdict, m.scanner, m.engine, m.signatures, m.size, r.attempts, r.packed
        FROM unnest(got_ids, got_destinations) WITH ORDINALITY AS g(id, destination, place)
        JOIN spool_queue q ON q.id = g.id AND q.destination = g.destination
        JOIN spool_message m ON m.id = g.id
        JOIN spool_recipient r ON r.id = g.id AND r.destination = g.destination AND r.state = 'queued'
        CROSS JOIN LATERAL (SELECT r.number = (SELECT min(o.number) FROM spool_recipient o WHERE o.id = g.id AND o.destination = g.destination
            AND o.state = 'queued') AS first) AS f
        ORDER BY g.place, r.number;
END $$;

CREATE FUNCTION public.spool_count(messages bigint, bytes bigint, recipients bigint, delivered bigint, failed bigint, discarded bigint, abandoned bigint) RETURNS void
    LANGUAGE plpgsql
    AS $_$
BEGIN
    INSERT INTO spool_usage AS u VALUES (current_setting('application_name'), $1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (slot) DO UPDATE SET messages = u.messages + $1, bytes = u.bytes + $2, recipients = u.recipients + $3,
        delivered = u.delivered + $4, failed = u.failed + $5, discarded = u.discarded + $6, abandoned = u.abandoned + $7;
END $_$;

CREATE FUNCTION public.spool_due_in(scanners boolean) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN (SELECT CASE WHEN next.at < 'infinity' THEN greatest(0, ceil(extract(epoch FROM next.at - clock_timestamp()) * 1000))::bigint END
    FROM (SELECT least(
        (SELECT min(turn_at) FROM spool_lane WHERE scanned OR scanners),
        (SELECT min(at) FROM spool_wake WHERE scanned OR scanners),
        (SELECT min(attend_at) FROM spool_queue WHERE NOT held AND scanned AND attend_at > now()),
        (SELECT min(attend_at) FROM spool_queue WHERE NOT held AND NOT scanned AND scanners AND attend_at > now())) AS at) AS next);
END $$;

CREATE FUNCTION public.spool_forget(gone text[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    removed record;
BEGIN
    DELETE FROM spool_queue WHERE id = ANY (gone);
    DELETE FROM spool_recipient WHERE id = ANY (gone);
    DELETE FROM spool_body WHERE id = ANY (gone);
    WITH m AS (DELETE FROM spool_message WHERE id = ANY (gone) RETURNING size)
        SELECT count(*), sum(m.size) INTO removed FROM m;
    PERFORM spool_count(-removed.count, -removed.sum::bigint, 0, 0, 0, 0, 0) WHERE removed.count > 0;
END $$;

CREATE FUNCTION public.spool_give_back(ids text[], destinations text[], tokens bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    WITH back AS (
        UPDATE spool_queue q SET leased = false, due_at = clock_timestamp() FROM unnest(ids, destinations, tokens) AS h(id, destination, token)
            WHERE q.id = h.id AND q.destination = h.destination AND q.token = h.token AND q.leased RETURNING q.destination, q.scanned, q.due_at
    )
    INSERT INTO spool_wake SELECT destination, scanned, min(due_at) FROM back GROUP BY destination, scanned;
END $$;

CREATE FUNCTION public.spool_is_full(max_messages bigint, max_bytes bigint) RETURNS boolean
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN (SELECT coalesce(sum(messages) >= max_messages OR sum(bytes) >= max_bytes, false) FROM spool_usage);
END $$;

CREATE FUNCTION public.spool_next_turn(lane_destination text, lane_scanned boolean, free integer, at_now timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN (SELECT CASE WHEN d.down_until > at_now THEN d.down_until
                WHEN due.at <= at_now AND free <= 0 THEN coalesce((SELECT min(due_at) FROM spool_queue
                    WHERE destination = lane_destination AND leased AND due_at > at_now), at_now)
                WHEN due.at <= at_now THEN clock_timestamp()
                ELSE coalesce(due.at, 'infinity') END
    FROM (SELECT (SELECT q.due_at FROM spool_queue q WHERE q.destination = lane_destination AND q.scanned = lane_scanned AND NOT q.held
                  ORDER BY q.due_at LIMIT 1) AS at) AS due LEFT JOIN spool_destination d ON d.destination = lane_destination);
END $$;

CREATE FUNCTION public.spool_pause(tries integer, first interval, most interval) RETURNS interval
    LANGUAGE sql
    AS $$
    SELECT least(first * power(2, least(greatest(tries, 1) - 1, 30)), most) * (0.9 + 0.2 * random())
$$;

CREATE FUNCTION public.spool_pick(lane_destination text, lane_scanned boolean, most integer, at_now timestamp with time zone) RETURNS SETOF text
    LANGUAGE plpgsql
    AS $$
DECLARE
    newest integer := floor(most * 0.25 + random());
    oldest text[];
BEGIN
    oldest := ARRAY(SELECT q.id FROM spool_queue q WHERE q.destination = lane_destination AND q.scanned = lane_scanned AND NOT q.held
        AND q.due_at <= at_now ORDER BY q.due_at LIMIT most - newest FOR UPDATE SKIP LOCKED);
    RETURN QUERY SELECT unnest(oldest);
    IF newest > 0 THEN
        RETURN QUERY SELECT n.id FROM (SELECT q.id FROM spool_queue q WHERE q.destination = lane_destination AND q.scanned = lane_scanned
            AND NOT q.held AND q.due_at <= at_now ORDER BY q.due_at DESC LIMIT most FOR UPDATE SKIP LOCKED) AS n
            WHERE n.id <> ALL (oldest) LIMIT newest;
    END IF;
END $$;

CREATE FUNCTION public.spool_reached(wanted text, down boolean, said text, first interval, most interval) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF down THEN
        -- Deliveries that ran at the same time found out the same thing: they count as one.
        INSERT INTO spool_destination AS d VALUES (wanted, 1, clock_timestamp(), clock_timestamp() + spool_pause(1, first, most), said)
            ON CONFLICT (destination) DO UPDATE SET failures = d.failures + 1, reply = EXCLUDED.reply,
                down_until = clock_timestamp() + spool_pause(d.failures + 1, first, most)
            WHERE d.down_until <= clock_timestamp();
    ELSE
        DELETE FROM spool_destination d WHERE d.destination = wanted;
    END IF;
END $$;

CREATE FUNCTION public.spool_ready(ready text[], warning interval, life interval) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    WITH queued AS (
        INSERT INTO spool_queue (id, destination, arrived_at, scanned, due_at, attend_at)
            SELECT DISTINCT m.id, r.destination, m.arrived_at, m.scanned, m.stored_at, spool_attend(m.arrived_at, m.dsn, warning, life)
            FROM spool_message m JOIN spool_recipient r USING (id) WHERE m.id = ANY (ready)
            RETURNING destination, scanned, due_at
    )
    INSERT INTO spool_wake SELECT destination, scanned, min(due_at) FROM queued GROUP BY destination, scanned;
END $$;

CREATE FUNCTION public.spool_renew(ids text[], destinations text[], tokens bigint[], lease interval) RETURNS TABLE(id text, destination text, token bigint)
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN QUERY
    WITH mine AS (
        SELECT q.id, q.destination FROM spool_queue q JOIN unnest(ids, destinations, tokens) AS h(id, destination, token)
            ON q.id = h.id AND q.destination = h.destination AND q.token = h.token
        WHERE q.leased AND q.due_at > clock_timestamp() ORDER BY q.id, q.destination FOR UPDATE OF q
    )
    UPDATE spool_queue q SET due_at = clock_timestamp() + lease FROM mine
        WHERE q.id = mine.id AND q.destination = mine.destination AND q.leased AND q.due_at > clock_timestamp()
        RETURNING q.id, q.destination, q.token;
END $$;

CREATE FUNCTION public.spool_result(retry_first interval, retry_most interval, warning interval, life interval, wanted text, to_destination text, with_token bigint, who text, down boolean, not_before interval, warned boolean, found_clean boolean, a_verdict text, a_scanner text, an_engine text, a_signatures text, numbers integer[], dispositions integer[], codes integer[], told text[], OUT status integer, OUT removed boolean) RETURNS record
    LANGUAGE plpgsql
    AS $$
DECLARE
    q record;
    m record;
    one record;
    settled integer;
    remaining integer;
    tried boolean := false;
    at_now timestamptz;
    due timestamptz;
BEGIN
    SELECT arrived_at, scanned, dsn INTO m FROM spool_message WHERE id = wanted FOR UPDATE;
    SELECT token, leased, due_at, attempts, delay_warned, bounce INTO q FROM spool_queue
        WHERE id = wanted AND destination = to_destination FOR UPDATE;
    at_now := clock_timestamp();
    removed := m.arrived_at IS NULL;
    IF q.token = with_token AND NOT q.leased THEN
        status := 1;
        RETURN;
    ELSIF q.token IS DISTINCT FROM with_token OR q.due_at <= at_now THEN
        status := CASE WHEN EXISTS (SELECT FROM spool_event e WHERE e.id = wanted AND e.destination = to_destination AND e.token = with_token)
                  THEN 1 ELSE 4 END;
        RETURN;
    END IF;
    IF found_clean AND NOT m.scanned THEN
        UPDATE spool_message SET scanned = true, verdict = a_verdict, scanner = a_scanner, engine = an_engine, signatures = a_signatures
            WHERE id = wanted;
        WITH now_clean AS (UPDATE spool_queue o SET scanned = true WHERE o.id = wanted AND NOT o.scanned RETURNING o.destination, o.due_at)
            INSERT INTO spool_wake SELECT c.destination, true, c.due_at FROM now_clean c;
        m.scanned := true;
    END IF;
    FOR one IN
        SELECT o.disposition, CASE o.disposition WHEN 1 THEN 'delivered' WHEN 2 THEN 'failed' WHEN 3 THEN 'deferred' ELSE 'discarded' END AS what,
            o.code, o.said, array_agg(r.number ORDER BY r.number) AS numbers
        FROM unnest(numbers, dispositions, codes, told) AS o(number, disposition, code, said)
        JOIN spool_recipient r ON r.id = wanted AND r.number = o.number AND r.destination = to_destination AND r.state = 'queued'
        WHERE o.disposition IN (1, 2, 3, 4) GROUP BY o.disposition, o.code, o.said
    LOOP
        tried := true;
        UPDATE spool_recipient r SET state = CASE WHEN one.disposition = 3 THEN 'queued' ELSE one.what END, attempts = r.attempts + 1,
            tried_at = at_now, reply = one.said WHERE r.id = wanted AND r.number = ANY (one.numbers);
        INSERT INTO spool_event (id, destination, token, who, what, recipients, reply)
            VALUES (wanted, to_destination, with_token, who, one.what, cardinality(one.numbers), one.said);
        IF one.disposition <> 3 THEN
            PERFORM spool_audit(wanted, one.numbers, who, CASE one.disposition WHEN 2 THEN 'bounced' ELSE one.what END, one.code, one.said,
                                to_destination);
            PERFORM spool_count(0, 0, 0, CASE one.disposition WHEN 1 THEN cardinality(one.numbers) ELSE 0 END,
                CASE one.disposition WHEN 2 THEN cardinality(one.numbers) ELSE 0 END,
                CASE one.disposition WHEN 4 THEN cardinality(one.numbers) ELSE 0 END, 0);
        END IF;
    END LOOP;
    SELECT count(*) FILTER (WHERE state <> 'queued' AND number = ANY (numbers) AND tried_at = at_now), count(*) FILTER (WHERE state = 'queued')
        INTO settled, remaining FROM spool_recipient WHERE id = wanted AND destination = to_destination;
    IF remaining > 0 THEN
        due := CASE WHEN NOT tried THEN at_now WHEN not_before > '0' THEN at_now + not_before
                    ELSE at_now + spool_pause(q.attempts + 1, retry_first, retry_most) END;
        UPDATE spool_queue SET leased = false, attempts = q.attempts + CASE WHEN tried THEN 1 ELSE 0 END, due_at = due,
            bounce = q.bounce AND NOT tried, delay_warned = q.delay_warned OR warned,
            -- One that is still here after its time is tried at its pace.
            attend_at = CASE WHEN q.bounce AND NOT tried THEN at_now
                             ELSE greatest(spool_attend(m.arrived_at, m.dsn OR q.delay_warned OR warned, warning, life), at_now + retry_first) END
            WHERE id = wanted AND destination = to_destination;
    END IF;
    IF settled > 0 THEN
        removed := spool_settle(wanted, settled);
    END IF;
    IF tried AND NOT q.bounce THEN
        PERFORM spool_reached(to_destination, down, coalesce(told[1], ''), retry_first, retry_most);
    END IF;
    -- There is room in the destination again.
    INSERT INTO spool_wake SELECT l.destination, l.scanned, at_now FROM spool_lane l WHERE l.destination = to_destination;
    status := 0;
END $$;

CREATE FUNCTION public.spool_settle(wanted text, settled integer) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
DECLARE
    left_over integer;
BEGIN
    UPDATE spool_message SET recipients = recipients - settled WHERE id = wanted RETURNING recipients INTO left_over;
    IF left_over <= 0 THEN
        PERFORM spool_forget(ARRAY[wanted]);
        RETURN true;
    ELSE
        DELETE FROM spool_queue q WHERE q.id = wanted AND NOT EXISTS (
            SELECT FROM spool_recipient r WHERE r.id = q.id AND r.destination = q.destination AND r.state = 'queued');
        RETURN false;
    END IF;
END $$;

CREATE FUNCTION public.spool_state(held boolean, leased boolean, due_at timestamp with time zone, down_until timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE
    AS $$
    SELECT CASE WHEN held THEN 'held' WHEN leased AND due_at > now() THEN 'leased'
                WHEN due_at > now() OR down_until > now() THEN 'deferred' ELSE 'ready' END
$$;

CREATE FUNCTION public.spool_states() RETURNS TABLE(state text, amount bigint, oldest numeric)
    LANGUAGE sql STABLE
    SET enable_seqscan TO 'on'
    SET enable_hashjoin TO 'on'
    AS $$
    SELECT spool_state(q.held, q.leased, q.due_at, d.down_until), count(*), round(extract(epoch FROM now() - min(q.arrived_at)), 3)
        FROM spool_queue q LEFT JOIN spool_destination d USING (destination) GROUP BY 1
    UNION ALL SELECT 'incoming', count(*), round(extract(epoch FROM now() - min(arrived_at)), 3) FROM spool_message
        WHERE stored_at IS NULL HAVING count(*) > 0
$$;

CREATE FUNCTION public.spool_store(max_messages bigint, max_bytes bigint, warning interval, life interval, ids text[], bodies bytea[], envelopes bytea[], lasts boolean[], scans boolean[], dsns boolean[], nodes text[], listeners text[], clients text[], helos text[], tlss text[], senders text[], message_ids text[], verdicts text[], scanners text[], engines text[], signaturess text[], r_ids text[], r_numbers integer[], r_destinations text[], r_addresses text[], r_packed bytea[]) RETURNS TABLE(stored text, status integer, have bigint, complete boolean)
    LANGUAGE plpgsql
    AS $$
DECLARE
    fresh text[] := '{}';
    settled text[];
BEGIN
    IF NOT spool_is_full(max_messages, max_bytes) THEN
        WITH added AS (
            INSERT INTO spool_message (id, stored_at, size, recipients, scanned, dsn, envelope, node, listener, client, helo, tls, sender,
                message_id, verdict, scanner, engine, signatures)
                SELECT n.id, CASE WHEN n.last THEN clock_timestamp() END, octet_length(n.body),
                    (SELECT count(*) FROM unnest(r_ids) AS r(id) WHERE r.id = n.id), n.scanned, n.dsn, n.envelope, n.node, n.listener,
                    n.client, n.helo, n.tls, n.sender, n.message_id, n.verdict, n.scanner, n.engine, n.signatures
                FROM unnest(ids, bodies, envelopes, lasts, scans, dsns, nodes, listeners, clients, helos, tlss, senders, message_ids,
                    verdicts, scanners, engines, signaturess) AS n(id, body, envelope, last, scanned, dsn, node, listener, client, helo,
                    tls, sender, message_id, verdict, scanner, engine, signatures)
                ORDER BY n.id ON CONFLICT DO NOTHING RETURNING id)
        SELECT coalesce(array_agg(a.id), '{}') INTO fresh FROM added a;
        -- A repeat that comes when the message was delivered. Looked at after the insert: what it waited for may have been that message's end.
        settled := ARRAY(SELECT f.id FROM unnest(fresh) AS f(id) WHERE EXISTS (SELECT FROM spool_event e WHERE e.id = f.id));
        IF settled <> '{}' THEN
            DELETE FROM spool_message m WHERE m.id = ANY (settled);
            fresh := ARRAY(SELECT f.id FROM unnest(fresh) AS f(id) WHERE f.id <> ALL (settled));
        END IF;
    END IF;
    IF fresh <> '{}' THEN
        INSERT INTO spool_body (id, position, data)
            SELECT n.id, 0, n.body FROM unnest(ids, bodies) AS n(id, body) WHERE octet_length(n.body) > 0 AND n.id = ANY (fresh);
        INSERT INTO spool_recipient (id, number, destination, address, packed)
            SELECT r.* FROM unnest(r_ids, r_numbers, r_destinations, r_addresses, r_packed) AS r(id, number, destination, address, packed)
            WHERE r.id = ANY (fresh);
        PERFORM spool_ready(ARRAY(SELECT n.id FROM unnest(ids, lasts) AS n(id, last) WHERE n.last AND n.id = ANY (fresh)), warning, life);
        PERFORM spool_count(count(*), sum(octet_length(n.body)),
            (SELECT count(*) FROM unnest(r_ids) AS r(id) WHERE r.id = ANY (fresh)), 0, 0, 0, 0)
            FROM unnest(ids, bodies) AS n(id, body) WHERE n.id = ANY (fresh);
    END IF;
    RETURN QUERY SELECT n.id, CASE WHEN m.id IS NOT NULL OR e.id IS NOT NULL THEN 1 ELSE 3 END,
            coalesce(m.size, octet_length(n.body)), m.stored_at IS NOT NULL OR e.id IS NOT NULL
        FROM unnest(ids, bodies) WITH ORDINALITY AS n(id, body, place) LEFT JOIN spool_message m ON m.id = n.id
        LEFT JOIN LATERAL (SELECT v.id FROM spool_event v WHERE m.id IS NULL AND v.id = n.id LIMIT 1) AS e ON true ORDER BY n.place;
END $$;

CREATE FUNCTION public.spool_sums() RETURNS TABLE(messages numeric, bytes numeric, difference numeric, down bigint)
    LANGUAGE sql STABLE
    SET enable_seqscan TO 'on'
    SET enable_hashjoin TO 'on'
    AS $$
    SELECT coalesce(sum(messages), 0), coalesce(sum(bytes), 0), coalesce(sum(recipients - delivered - failed - discarded - abandoned), 0)
        - (SELECT count(*) FROM spool_recipient WHERE state = 'queued'),
        (SELECT count(*) FROM spool_destination) FROM spool_usage
$$;

CREATE FUNCTION public.spool_take_wakes() RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    WITH taken AS (
        DELETE FROM spool_wake WHERE ctid = ANY (ARRAY(SELECT ctid FROM spool_wake LIMIT 5000 FOR UPDATE SKIP LOCKED))
            RETURNING destination, scanned, at
    )
    INSERT INTO spool_lane AS l (destination, scanned, turn_at)
        SELECT t.destination, t.scanned, greatest(min(t.at), max(d.down_until)) FROM taken t LEFT JOIN spool_destination d USING (destination)
        GROUP BY t.destination, t.scanned ORDER BY t.destination, t.scanned
        ON CONFLICT (destination, scanned) DO UPDATE SET turn_at = EXCLUDED.turn_at WHERE l.turn_at > EXCLUDED.turn_at;
END $$;

CREATE FUNCTION public.spool_tidy(age interval, most integer) RETURNS void
    LANGUAGE sql
    AS $$
    DELETE FROM spool_event WHERE ctid = ANY (ARRAY(SELECT ctid FROM spool_event WHERE at < now() - age LIMIT most));
    DELETE FROM spool_lane WHERE ctid = ANY (ARRAY(SELECT l.ctid FROM spool_lane l WHERE l.turn_at = 'infinity' AND NOT EXISTS (
        SELECT FROM spool_queue q WHERE q.destination = l.destination AND q.scanned = l.scanned) LIMIT most FOR UPDATE SKIP LOCKED));
    DELETE FROM spool_destination WHERE ctid = ANY (ARRAY(SELECT d.ctid FROM spool_destination d WHERE d.down_until < now() AND NOT EXISTS (
        SELECT FROM spool_queue q WHERE q.destination = d.destination) LIMIT most FOR UPDATE SKIP LOCKED))
$$;

SET default_tablespace = '';

SET default_table_access_method = heap;

CREATE TABLE public.account (
    login text NOT NULL,
    hash text NOT NULL,
    senders text[] NOT NULL,
    disabled boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by text NOT NULL,
    password_at timestamp with time zone DEFAULT now() NOT NULL,
    last_used_at timestamp with time zone
);

CREATE TABLE public.audit (
    id text NOT NULL,
    recipient_index integer NOT NULL,
    "time" timestamp with time zone NOT NULL,
    node text NOT NULL,
    worker integer NOT NULL,
    listener text NOT NULL,
    client text NOT NULL,
    helo text NOT NULL,
    tls text NOT NULL,
    sender text NOT NULL,
    recipient text NOT NULL,
    message_id text NOT NULL,
    size bigint NOT NULL,
    disposition text NOT NULL,
    reply_code integer NOT NULL,
    reply text NOT NULL,
    verdict text NOT NULL,
    signature text NOT NULL,
    scanner text NOT NULL,
    engine text NOT NULL,
    signatures text NOT NULL,
    next_hop text NOT NULL,
    next_hop_reply text NOT NULL,
    duration_ms bigint NOT NULL,
    policy_epoch bigint DEFAULT 0 NOT NULL,
    rule text DEFAULT ''::text NOT NULL
);

CREATE TABLE public.audit_action (
    number bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    who text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL
);

ALTER TABLE public.audit_action ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.audit_action_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.auth_guess (
    request bigint NOT NULL,
    login text NOT NULL,
    client text NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.cluster (
    single boolean DEFAULT true NOT NULL,
    epoch bigint NOT NULL,
    identity uuid DEFAULT gen_random_uuid() NOT NULL,
    CONSTRAINT cluster_single_check CHECK (single)
);

CREATE TABLE public.node (
    name text NOT NULL,
    role text NOT NULL,
    drain boolean DEFAULT false NOT NULL,
    drain_by text,
    drain_at timestamp with time zone,
    gc bigint DEFAULT 0 NOT NULL,
    gc_by text,
    gc_at timestamp with time zone,
    state text DEFAULT 'unknown'::text NOT NULL,
    lost boolean DEFAULT true NOT NULL,
    endpoint text DEFAULT ''::text NOT NULL,
    public_key text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    drain_number bigint DEFAULT 0 NOT NULL
);

CREATE TABLE public.node_key (
    key text NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    added_at timestamp with time zone DEFAULT now() NOT NULL,
    added_by text NOT NULL,
    revoked_at timestamp with time zone,
    revoked_by text,
    CONSTRAINT node_key_key_check CHECK ((key ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT node_key_name_check CHECK ((name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'::text)),
    CONSTRAINT node_key_role_check CHECK ((role = ANY (ARRAY['edge'::text, 'scanner'::text, 'coordinator'::text, 'operator'::text])))
);

CREATE VIEW public.node_known AS
 SELECT n.name,
    n.role,
    n.drain,
    n.drain_by,
    n.drain_at,
    n.gc,
    n.gc_by,
    n.gc_at,
    n.state,
    n.lost,
    n.endpoint,
    n.public_key,
    n.created_at,
    n.drain_number
   FROM public.node n
  WHERE ((n.role = 'coordinator'::text) OR (EXISTS ( SELECT
           FROM public.node_key k
          WHERE ((k.name = n.name) AND (k.role = n.role) AND (k.revoked_at IS NULL)))));

CREATE TABLE public.node_metrics (
    node text NOT NULL,
    worker integer NOT NULL,
    boot bigint NOT NULL,
    metrics jsonb NOT NULL,
    sequence bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.0', autovacuum_vacuum_threshold='1000');

CREATE TABLE public.node_process (
    node text NOT NULL,
    worker integer NOT NULL,
    boot bigint NOT NULL,
    first_seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    state text NOT NULL,
    version text NOT NULL,
    pid integer NOT NULL,
    in_flight bigint NOT NULL,
    gc_done bigint NOT NULL,
    policy_epoch bigint NOT NULL,
    generation bigint NOT NULL,
    signatures text NOT NULL,
    endpoint text NOT NULL,
    public_key text NOT NULL,
    coordinator text NOT NULL,
    sequence bigint DEFAULT 0 NOT NULL,
    drain_number bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.0', autovacuum_vacuum_threshold='1000');

CREATE VIEW public.node_worker AS
 SELECT DISTINCT ON (node_process.node, node_process.worker) node_process.node,
    node_process.worker,
    node_process.boot,
    node_process.first_seen_at,
    node_process.seen_at,
    node_process.state,
    node_process.version,
    node_process.pid,
    node_process.in_flight,
    node_process.gc_done,
    node_process.policy_epoch,
    node_process.generation,
    node_process.signatures,
    node_process.endpoint,
    node_process.public_key,
    node_process.coordinator,
    node_process.sequence,
    node_process.drain_number
   FROM public.node_process
  ORDER BY node_process.node, node_process.worker, (node_process.seen_at > (clock_timestamp() - '00:01:00'::interval)) DESC, node_process.first_seen_at DESC;

CREATE TABLE public.policy (
    epoch bigint NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL,
    applied_by text NOT NULL,
    comment text DEFAULT ''::text NOT NULL
);

CREATE TABLE public.policy_file (
    epoch bigint NOT NULL,
    name text NOT NULL,
    content text NOT NULL
);

CREATE TABLE public.schema_migration (
    version integer NOT NULL,
    name text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.spool_body (
    id text NOT NULL COLLATE pg_catalog."C",
    "position" bigint NOT NULL,
    data bytea NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.05');
ALTER TABLE ONLY public.spool_body ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE public.spool_destination (
    destination text NOT NULL COLLATE pg_catalog."C",
    failures integer NOT NULL,
    since timestamp with time zone NOT NULL,
    down_until timestamp with time zone NOT NULL,
    reply text NOT NULL
);

CREATE TABLE public.spool_event (
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    destination text NOT NULL COLLATE pg_catalog."C",
    token bigint NOT NULL,
    who text NOT NULL,
    what text NOT NULL,
    recipients integer NOT NULL,
    reply text NOT NULL
);

CREATE TABLE public.spool_lane (
    destination text NOT NULL COLLATE pg_catalog."C",
    scanned boolean NOT NULL,
    turn_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500');

CREATE TABLE public.spool_message (
    id text NOT NULL COLLATE pg_catalog."C",
    arrived_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    stored_at timestamp with time zone,
    chunk_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    size bigint NOT NULL,
    recipients integer NOT NULL,
    scanned boolean NOT NULL,
    dsn boolean NOT NULL,
    envelope bytea NOT NULL,
    node text NOT NULL,
    listener text NOT NULL,
    client text NOT NULL,
    helo text NOT NULL,
    tls text NOT NULL,
    sender text NOT NULL,
    message_id text NOT NULL,
    verdict text NOT NULL,
    scanner text NOT NULL,
    engine text NOT NULL,
    signatures text NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.05');

CREATE TABLE public.spool_queue (
    id text NOT NULL COLLATE pg_catalog."C",
    destination text NOT NULL COLLATE pg_catalog."C",
    arrived_at timestamp with time zone NOT NULL,
    scanned boolean NOT NULL,
    due_at timestamp with time zone NOT NULL,
    attend_at timestamp with time zone NOT NULL,
    leased boolean DEFAULT false NOT NULL,
    held boolean DEFAULT false NOT NULL,
    bounce boolean DEFAULT false NOT NULL,
    token bigint DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    maybe_duplicate boolean DEFAULT false NOT NULL,
    delay_warned boolean DEFAULT false NOT NULL,
    holder text DEFAULT ''::text NOT NULL
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_insert_scale_factor='0.1');

CREATE TABLE public.spool_recipient (
    id text NOT NULL COLLATE pg_catalog."C",
    number integer NOT NULL,
    destination text NOT NULL COLLATE pg_catalog."C",
    address text NOT NULL,
    packed bytea NOT NULL,
    state text DEFAULT 'queued'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    tried_at timestamp with time zone,
    reply text DEFAULT ''::text NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.05');

CREATE TABLE public.spool_usage (
    slot text NOT NULL,
    messages bigint DEFAULT 0 NOT NULL,
    bytes bigint DEFAULT 0 NOT NULL,
    recipients bigint DEFAULT 0 NOT NULL,
    delivered bigint DEFAULT 0 NOT NULL,
    failed bigint DEFAULT 0 NOT NULL,
    discarded bigint DEFAULT 0 NOT NULL,
    abandoned bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='20');

CREATE TABLE public.spool_wake (
    destination text NOT NULL COLLATE pg_catalog."C",
    scanned boolean NOT NULL,
    at timestamp with time zone NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500');

INSERT INTO public.account VALUES ('alice@example.edu', '$y$j9T$Vo49kEmXRuPY2xNpuZeRp0$4DDTbOc14OiyuCga12sX68imEc8jE2s2CMEXWGb0Zg4', '{alice@example.edu}', false, '2026-11-22 04:59:36.93981+00', 'operator', '2026-11-22 04:59:36.93981+00', NULL);

INSERT INTO public.audit VALUES ('06H037Y2EEBRNV1638DP', 0, '2026-11-22 04:59:37.022504+00', 'edge-1', 0, 'submission', '192.0.2.7', 'pc.example.edu', '', 'alice@example.edu', 'bob@example.org', '<m@example.edu>', 46, 'delivered', 250, '250 2.0.0 Ok', 'clean', '', 'scanner-1', 'ClamAV 1.4.6', '27000', '[192.0.2.1]:25', '250 2.0.0 Ok', 68, 0, '');

INSERT INTO public.audit_action OVERRIDING SYSTEM VALUE VALUES (1, '2026-11-22 04:59:36.491169+00', 'weir-coordinator', 'keys add', 'operator', '{"key": "9a1ac2bad4161a4ab3e00cf246744910dbdb7fbf3d5a3123d7908ff0a0b34b35", "role": "operator"}');
INSERT INTO public.audit_action OVERRIDING SYSTEM VALUE VALUES (2, '2026-11-22 04:59:36.696352+00', 'operator', 'keys add', 'scanner-1', '{"key": "cefa38b6773df2f3015570e36ebb829caa0a0ba32f96b04f3d1275a2ff33f627", "role": "scanner"}');
INSERT INTO public.audit_action OVERRIDING SYSTEM VALUE VALUES (3, '2026-11-22 04:59:36.741479+00', 'operator', 'keys add', 'edge-1', '{"key": "d5cb02dfa7140125c42886be89593cb5094a1be0b7801b865803bd9e802af92d", "role": "edge"}');
INSERT INTO public.audit_action OVERRIDING SYSTEM VALUE VALUES (4, '2026-11-22 04:59:36.801329+00', 'operator', 'policy apply', '1', '{"comment": "one"}');
INSERT INTO public.audit_action OVERRIDING SYSTEM VALUE VALUES (5, '2026-11-22 04:59:36.852628+00', 'operator', 'policy apply', '2', '{"comment": "two"}');
INSERT INTO public.audit_action OVERRIDING SYSTEM VALUE VALUES (6, '2026-11-22 04:59:36.93981+00', 'operator', 'account add', 'alice@example.edu', '{"senders": ["alice@example.edu"]}');
INSERT INTO public.audit_action OVERRIDING SYSTEM VALUE VALUES (7, '2026-11-22 04:59:37.068183+00', 'operator', 'queue hold', '06H037Y2EJ6G9KFPNWWS', '{"ids": ["06H037Y2EJ6G9KFPNWWS"], "changed": 1}');
INSERT INTO public.audit_action OVERRIDING SYSTEM VALUE VALUES (8, '2026-11-22 04:59:37.15245+00', 'operator', 'drain', 'edge-1', '{"force": true}');

INSERT INTO public.cluster VALUES (true, 1795323576127, '681ab985-6338-4b93-b7cf-4479cf865abc');

INSERT INTO public.node VALUES ('scanner-1', 'scanner', false, NULL, NULL, 0, NULL, NULL, 'unknown', true, '', '', '2026-11-22 04:59:36.696352+00', 0);
INSERT INTO public.node VALUES ('coordinator-1', 'coordinator', false, NULL, NULL, 0, NULL, NULL, 'active', false, 'tcp://127.0.0.1:46053', '8f0b0bc520fd372b37f00564ce044c8d8a38fdf9094424c7d24864b8e7f5c124', '2026-11-22 04:59:36.829003+00', 0);
INSERT INTO public.node VALUES ('edge-1', 'edge', true, 'operator', '2026-11-22 04:59:37.15245+00', 0, NULL, NULL, 'active', false, '', '', '2026-11-22 04:59:36.741479+00', 1);

INSERT INTO public.node_key VALUES ('9a1ac2bad4161a4ab3e00cf246744910dbdb7fbf3d5a3123d7908ff0a0b34b35', 'operator', 'operator', '2026-11-22 04:59:36.491169+00', 'weir-coordinator', NULL, NULL);
INSERT INTO public.node_key VALUES ('cefa38b6773df2f3015570e36ebb829caa0a0ba32f96b04f3d1275a2ff33f627', 'scanner-1', 'scanner', '2026-11-22 04:59:36.696352+00', 'operator', NULL, NULL);
INSERT INTO public.node_key VALUES ('d5cb02dfa7140125c42886be89593cb5094a1be0b7801b865803bd9e802af92d', 'edge-1', 'edge', '2026-11-22 04:59:36.741479+00', 'operator', NULL, NULL);

INSERT INTO public.node_metrics VALUES ('edge-1', 0, 8954162749694661095, '[{"k": 0, "l": "", "n": "weir_x_total", "v": 7}]', 1);

INSERT INTO public.node_process VALUES ('edge-1', 0, 8954162749694661095, '2026-11-22 04:59:36.830268+00', '2026-11-22 04:59:36.830268+00', 'active', 'test', 1, 0, 0, 0, 0, '', '', '', 'coordinator-1', 1, 0);
INSERT INTO public.node_process VALUES ('coordinator-1', 0, -3927600142037017245, '2026-11-22 04:59:36.830089+00', '2026-11-22 04:59:38.090746+00', 'active', '0.1.0', 20162, 0, 0, 2, 0, '', 'tcp://127.0.0.1:46053', '8f0b0bc520fd372b37f00564ce044c8d8a38fdf9094424c7d24864b8e7f5c124', 'coordinator-1', 8, 0);

INSERT INTO public.policy VALUES (1, '2026-11-22 04:59:36.801329+00', 'operator', 'one');
INSERT INTO public.policy VALUES (2, '2026-11-22 04:59:36.852628+00', 'operator', 'two');

INSERT INTO public.policy_file VALUES (1, 'mailertable', 'example.org relay:[192.0.2.1]
');
INSERT INTO public.policy_file VALUES (2, 'mailertable', 'example.org relay:[192.0.2.2]
');

INSERT INTO public.schema_migration VALUES (1, 'base', '2026-11-22 04:59:36.090757+00');
INSERT INTO public.schema_migration VALUES (2, 'operators', '2026-11-22 04:59:36.090757+00');
INSERT INTO public.schema_migration VALUES (3, 'identity', '2026-11-22 04:59:36.090757+00');
INSERT INTO public.schema_migration VALUES (4, 'fold', '2026-11-22 04:59:36.090757+00');
INSERT INTO public.schema_migration VALUES (5, 'drain_number', '2026-11-22 04:59:36.090757+00');
INSERT INTO public.schema_migration VALUES (6, 'revoke', '2026-11-22 04:59:36.090757+00');
INSERT INTO public.schema_migration VALUES (7, 'same_for_all', '2026-11-22 04:59:36.090757+00');
INSERT INTO public.schema_migration VALUES (8, 'heard_process', '2026-11-22 04:59:36.090757+00');
INSERT INTO public.schema_migration VALUES (9, 'audit_rule', '2026-11-22 04:59:36.090757+00');
INSERT INTO public.schema_migration VALUES (10, 'spool', '2026-11-22 04:59:36.090757+00');
INSERT INTO public.schema_migration VALUES (11, 'spool_lease', '2026-11-22 04:59:36.090757+00');
INSERT INTO public.schema_migration VALUES (12, 'spool_queue', '2026-11-22 04:59:36.090757+00');
INSERT INTO public.schema_migration VALUES (13, 'accounts', '2026-11-22 04:59:36.090757+00');
INSERT INTO public.schema_migration VALUES (14, 'spool_status', '2026-11-22 04:59:36.090757+00');

INSERT INTO public.spool_body VALUES ('06H037Y2EHAFR0Q1VSC9', 0, '\x46726f6d3a2061406578616d706c652e6f72670d0a5375626a6563743a2073706f6f6c0d0a0d0a68656c6c6f0d0a');
INSERT INTO public.spool_body VALUES ('06H037Y2EG8XHBPTZ9BM', 0, '\x46726f6d3a2061406578616d706c652e6f72670d0a5375626a6563743a2073706f6f6c0d0a0d0a68656c6c6f0d0a');
INSERT INTO public.spool_body VALUES ('06H037Y2EJ6G9KFPNWWS', 0, '\x46726f6d3a2061406578616d706c652e6f72670d0a5375626a6563743a2073706f6f6c0d0a0d0a68656c6c6f0d0a');
INSERT INTO public.spool_body VALUES ('06H037Y2EJ11YYC6ZMCB', 0, '\x46726f6d3a2061406578616d706c652e6f72670d0a5375626a6563743a2073706f6f6c0d0a0d0a68656c6c6f0d0a');

INSERT INTO public.spool_event VALUES ('2026-11-22 04:59:37.013865+00', '06H037Y2EEBRNV1638DP', '[192.0.2.1]:25', 1, 'edge-1', 'delivered', 1, '250 2.0.0 Ok');
INSERT INTO public.spool_event VALUES ('2026-11-22 04:59:37.034056+00', '06H037Y2EHAFR0Q1VSC9', '[192.0.2.2]:25', 1, 'edge-1', 'deferred', 1, '450 2.0.0 later');

INSERT INTO public.spool_lane VALUES ('[192.0.2.1]:25', true, '2026-11-22 05:00:06.975594+00');
INSERT INTO public.spool_lane VALUES ('[192.0.2.2]:25', true, '2026-11-22 05:00:06.975594+00');

INSERT INTO public.spool_message VALUES ('06H037Y2EHAFR0Q1VSC9', '2026-11-22 04:59:36.96372+00', '2026-11-22 04:59:36.963709+00', '2026-11-22 04:59:36.96372+00', 46, 2, true, false, '\x0a1430364830333759324548414652305131565343391211616c696365406578616d706c652e6564751a0a7375626d697373696f6e22093139322e302e322e372a0e70632e6578616d706c652e656475420f3c6d406578616d706c652e6564753e70017a05636c65616e8201097363616e6e65722d318a010c436c616d415620312e342e3692010532373030309801ff84ff8ca034a2010745534d54505341b20106656467652d31', 'edge-1', 'submission', '192.0.2.7', 'pc.example.edu', '', 'alice@example.edu', '<m@example.edu>', 'clean', 'scanner-1', 'ClamAV 1.4.6', '27000');
INSERT INTO public.spool_message VALUES ('06H037Y2EG8XHBPTZ9BM', '2026-11-22 04:59:36.967571+00', '2026-11-22 04:59:36.967564+00', '2026-11-22 04:59:36.967571+00', 46, 1, true, false, '\x0a14303648303337593245473858484250545a39424d1211616c696365406578616d706c652e6564751a0a7375626d697373696f6e22093139322e302e322e372a0e70632e6578616d706c652e656475420f3c6d406578616d706c652e6564753e70017a05636c65616e8201097363616e6e65722d318a010c436c616d415620312e342e36920105323730303098018585ff8ca034a2010745534d54505341b20106656467652d31', 'edge-1', 'submission', '192.0.2.7', 'pc.example.edu', '', 'alice@example.edu', '<m@example.edu>', 'clean', 'scanner-1', 'ClamAV 1.4.6', '27000');
INSERT INTO public.spool_message VALUES ('06H037Y2EJ6G9KFPNWWS', '2026-11-22 04:59:36.969445+00', '2026-11-22 04:59:36.969438+00', '2026-11-22 04:59:36.969445+00', 46, 1, true, false, '\x0a143036483033375932454a3647394b46504e5757531211616c696365406578616d706c652e6564751a0a7375626d697373696f6e22093139322e302e322e372a0e70632e6578616d706c652e656475420f3c6d406578616d706c652e6564753e70017a05636c65616e8201097363616e6e65722d318a010c436c616d415620312e342e36920105323730303098018885ff8ca034a2010745534d54505341b20106656467652d31', 'edge-1', 'submission', '192.0.2.7', 'pc.example.edu', '', 'alice@example.edu', '<m@example.edu>', 'clean', 'scanner-1', 'ClamAV 1.4.6', '27000');
INSERT INTO public.spool_message VALUES ('06H037Y2EJ11YYC6ZMCB', '2026-11-22 04:59:36.971438+00', NULL, '2026-11-22 04:59:36.971438+00', 46, 1, true, false, '\x0a143036483033375932454a3131595943365a4d43421211616c696365406578616d706c652e6564751a0a7375626d697373696f6e22093139322e302e322e372a0e70632e6578616d706c652e656475420f3c6d406578616d706c652e6564753e70017a05636c65616e8201097363616e6e65722d318a010c436c616d415620312e342e36920105323730303098018a85ff8ca034a2010745534d54505341b20106656467652d31', 'edge-1', 'submission', '192.0.2.7', 'pc.example.edu', '', 'alice@example.edu', '<m@example.edu>', 'clean', 'scanner-1', 'ClamAV 1.4.6', '27000');

INSERT INTO public.spool_queue VALUES ('06H037Y2EG8XHBPTZ9BM', '[192.0.2.1]:25', '2026-11-22 04:59:36.967571+00', true, '2026-11-22 05:00:06.975594+00', '2026-11-22 08:59:36.967571+00', true, false, false, 1, 0, false, false, 'edge-1/0');
INSERT INTO public.spool_queue VALUES ('06H037Y2EHAFR0Q1VSC9', '[192.0.2.1]:25', '2026-11-22 04:59:36.96372+00', true, '2026-11-22 05:00:06.975594+00', '2026-11-22 08:59:36.96372+00', true, false, false, 1, 0, false, false, 'edge-1/0');
INSERT INTO public.spool_queue VALUES ('06H037Y2EHAFR0Q1VSC9', '[192.0.2.2]:25', '2026-11-22 04:59:36.96372+00', true, '2026-11-22 05:04:36.77659+00', '2026-11-22 08:59:36.96372+00', false, false, false, 1, 1, false, false, 'edge-1/0');
INSERT INTO public.spool_queue VALUES ('06H037Y2EJ6G9KFPNWWS', '[192.0.2.1]:25', '2026-11-22 04:59:36.969445+00', true, '2026-11-22 05:00:06.975594+00', '2026-11-22 08:59:36.969445+00', true, true, false, 1, 0, false, false, 'edge-1/0');

INSERT INTO public.spool_recipient VALUES ('06H037Y2EHAFR0Q1VSC9', 0, '[192.0.2.1]:25', 'bob@example.org', '\x120f626f62406578616d706c652e6f72672a0e5b3139322e302e322e315d3a3235', 'queued', 0, NULL, '');
INSERT INTO public.spool_recipient VALUES ('06H037Y2EG8XHBPTZ9BM', 0, '[192.0.2.1]:25', 'bob@example.org', '\x120f626f62406578616d706c652e6f72672a0e5b3139322e302e322e315d3a3235', 'queued', 0, NULL, '');
INSERT INTO public.spool_recipient VALUES ('06H037Y2EJ6G9KFPNWWS', 0, '[192.0.2.1]:25', 'bob@example.org', '\x120f626f62406578616d706c652e6f72672a0e5b3139322e302e322e315d3a3235', 'queued', 0, NULL, '');
INSERT INTO public.spool_recipient VALUES ('06H037Y2EJ11YYC6ZMCB', 0, '[192.0.2.1]:25', 'bob@example.org', '\x120f626f62406578616d706c652e6f72672a0e5b3139322e302e322e315d3a3235', 'queued', 0, NULL, '');
INSERT INTO public.spool_recipient VALUES ('06H037Y2EHAFR0Q1VSC9', 1, '[192.0.2.2]:25', 'carol@example.net', '\x080112116361726f6c406578616d706c652e6e65742a0e5b3139322e302e322e325d3a3235', 'queued', 1, '2026-11-22 04:59:37.033709+00', '450 2.0.0 later');

INSERT INTO public.spool_usage VALUES ('weir coordinator-1 store', 5, 230, 6, 0, 0, 0, 0);
INSERT INTO public.spool_usage VALUES ('weir coordinator-1 result', -1, -46, 0, 1, 0, 0, 0);

INSERT INTO public.spool_wake VALUES ('[192.0.2.1]:25', true, '2026-11-22 04:59:37.012293+00');
INSERT INTO public.spool_wake VALUES ('[192.0.2.2]:25', true, '2026-11-22 04:59:37.033709+00');

SELECT pg_catalog.setval('public.audit_action_number_seq', 8, true);

ALTER TABLE ONLY public.account
    ADD CONSTRAINT account_pkey PRIMARY KEY (login);

ALTER TABLE ONLY public.audit_action
    ADD CONSTRAINT audit_action_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id, recipient_index);

ALTER TABLE ONLY public.auth_guess
    ADD CONSTRAINT auth_guess_pkey PRIMARY KEY (request);

ALTER TABLE ONLY public.cluster
    ADD CONSTRAINT cluster_pkey PRIMARY KEY (single);

ALTER TABLE ONLY public.node_key
    ADD CONSTRAINT node_key_pkey PRIMARY KEY (key);

ALTER TABLE ONLY public.node_metrics
    ADD CONSTRAINT node_metrics_pkey PRIMARY KEY (node, worker, boot);

ALTER TABLE ONLY public.node
    ADD CONSTRAINT node_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.node_process
    ADD CONSTRAINT node_process_pkey PRIMARY KEY (node, worker, boot);

ALTER TABLE ONLY public.policy_file
    ADD CONSTRAINT policy_file_pkey PRIMARY KEY (epoch, name);

ALTER TABLE ONLY public.policy
    ADD CONSTRAINT policy_pkey PRIMARY KEY (epoch);

ALTER TABLE ONLY public.schema_migration
    ADD CONSTRAINT schema_migration_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.spool_body
    ADD CONSTRAINT spool_body_pkey PRIMARY KEY (id, "position");

ALTER TABLE ONLY public.spool_destination
    ADD CONSTRAINT spool_destination_pkey PRIMARY KEY (destination);

ALTER TABLE ONLY public.spool_lane
    ADD CONSTRAINT spool_lane_pkey PRIMARY KEY (destination, scanned);

ALTER TABLE ONLY public.spool_message
    ADD CONSTRAINT spool_message_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.spool_queue
    ADD CONSTRAINT spool_queue_pkey PRIMARY KEY (id, destination);

ALTER TABLE ONLY public.spool_recipient
    ADD CONSTRAINT spool_recipient_pkey PRIMARY KEY (id, number);

ALTER TABLE ONLY public.spool_usage
    ADD CONSTRAINT spool_usage_pkey PRIMARY KEY (slot);

CREATE INDEX audit_message_id ON public.audit USING btree (message_id) WHERE (message_id <> ''::text);

CREATE INDEX audit_recipient ON public.audit USING btree (lower(recipient));

CREATE INDEX audit_sender ON public.audit USING btree (lower(sender)) WHERE (sender <> ''::text);

CREATE INDEX audit_time ON public.audit USING btree ("time");

CREATE INDEX auth_guess_at ON public.auth_guess USING btree (at);

CREATE INDEX auth_guess_client ON public.auth_guess USING btree (client, at);

CREATE INDEX auth_guess_login ON public.auth_guess USING btree (login, at);

CREATE INDEX node_key_name ON public.node_key USING btree (name);

CREATE INDEX spool_event_at ON public.spool_event USING brin (at);

CREATE INDEX spool_event_id ON public.spool_event USING btree (id);

CREATE INDEX spool_lane_turn ON public.spool_lane USING btree (turn_at);

CREATE INDEX spool_message_incomplete ON public.spool_message USING btree (chunk_at) WHERE (stored_at IS NULL);

CREATE INDEX spool_queue_attend ON public.spool_queue USING btree (scanned, attend_at) WHERE (NOT held);

CREATE INDEX spool_queue_due ON public.spool_queue USING btree (destination, scanned, due_at) WHERE (NOT held);

CREATE INDEX spool_queue_leased ON public.spool_queue USING btree (destination, due_at) WHERE leased;

CREATE TRIGGER node_changed AFTER INSERT OR DELETE ON public.node FOR EACH ROW EXECUTE FUNCTION public.cluster_changed();

CREATE TRIGGER node_key_changed AFTER INSERT OR DELETE OR UPDATE ON public.node_key FOR EACH STATEMENT EXECUTE FUNCTION public.cluster_changed();

CREATE TRIGGER node_updated AFTER UPDATE ON public.node FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION public.cluster_changed();

CREATE TRIGGER policy_changed AFTER INSERT ON public.policy FOR EACH STATEMENT EXECUTE FUNCTION public.cluster_changed();

ALTER TABLE ONLY public.policy_file
    ADD CONSTRAINT policy_file_epoch_fkey FOREIGN KEY (epoch) REFERENCES public.policy(epoch) ON DELETE CASCADE;

