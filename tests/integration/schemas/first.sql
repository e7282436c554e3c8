-- The schema as the first version made it: what a new one must be able to go on from.
CREATE TABLE schema_migration (version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());
INSERT INTO schema_migration (version, name) VALUES (1, 'base'), (2, 'operators');
-- 0001_base.sql - registry, keys, desired state, policy, audit
--
-- cluster.epoch numbers what nodes hear as cluster state. It grows in the transaction that changes something in it, under that row's
-- lock, so a snapshot with epoch N has everything up to N. It starts at the time of creation: a database that was made anew is newer
-- than what nodes have cached from the old one.
--
-- Lock order: admin_lock (one act of an operator at a time), then rows of node by name, then cluster (by the triggers, at the end).

CREATE TABLE cluster (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    epoch bigint NOT NULL
);
INSERT INTO cluster (epoch) VALUES ((extract(epoch FROM clock_timestamp()) * 1000)::bigint);

CREATE FUNCTION cluster_changed() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
    UPDATE cluster SET epoch = epoch + 1;
    PERFORM pg_notify('weir_cluster', '');
    RETURN NULL;
END $f$;

CREATE TABLE node_key (
    key text PRIMARY KEY CHECK (key ~ '^[0-9a-f]{64}$'),
    name text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
    role text NOT NULL CHECK (role IN ('edge', 'scanner', 'coordinator', 'operator')),
    added_at timestamptz NOT NULL DEFAULT now(),
    added_by text NOT NULL,
    revoked_at timestamptz,             -- kept: the audit trail names keys
    revoked_by text
);
CREATE INDEX node_key_name ON node_key (name);
CREATE TRIGGER node_key_changed AFTER INSERT OR UPDATE OR DELETE ON node_key
    FOR EACH STATEMENT EXECUTE FUNCTION cluster_changed();

-- What operators want of a node, and what is last known of it as a whole.
CREATE TABLE node (
    name text PRIMARY KEY,
    role text NOT NULL,
    drain boolean NOT NULL DEFAULT false,
    drain_by text,
    drain_at timestamptz,
    gc bigint NOT NULL DEFAULT 0,       -- number of the last request
    gc_by text,
    gc_at timestamptz,
    state text NOT NULL DEFAULT 'unknown',
    lost boolean NOT NULL DEFAULT true,
    endpoint text NOT NULL DEFAULT '',
    public_key text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER node_changed AFTER INSERT OR DELETE ON node FOR EACH ROW EXECUTE FUNCTION cluster_changed();
CREATE TRIGGER node_updated AFTER UPDATE ON node FOR EACH ROW
    WHEN (OLD IS DISTINCT FROM NEW) EXECUTE FUNCTION cluster_changed();

-- One row per process start. Rewritten with every heartbeat, so without indexes on what changes (HOT) and with room in the pages.
CREATE TABLE node_process (
    node text NOT NULL,
    worker integer NOT NULL,
    boot bigint NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL,       -- the database's clock
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
    coordinator text NOT NULL,          -- which one heard it
    PRIMARY KEY (node, worker, boot)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

-- The newest process of each worker: what an older one said does not count any more.
CREATE VIEW node_worker AS
    SELECT DISTINCT ON (node, worker) * FROM node_process ORDER BY node, worker, first_seen_at DESC;

-- Series of each process as told in heartbeats; boot 0 holds the sums of processes that ended, so that a node's counters never step back.
-- An array of {"n":name,"l":labels,"k":kind,"v":value,"c":count,"b":[bounds],"u":[buckets]}; kind 0 counter, 1 gauge, 2 histogram.
CREATE TABLE node_metrics (
    node text NOT NULL,
    worker integer NOT NULL,
    boot bigint NOT NULL,
    metrics jsonb NOT NULL,
    PRIMARY KEY (node, worker, boot)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

CREATE FUNCTION metrics_sum(a jsonb, b jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $f$
    WITH sample AS (
        SELECT e->>'n' AS n, e->>'l' AS l, e->'k' AS k, e->'b' AS b, (e->>'v')::numeric AS v, (e->>'c')::numeric AS c, e->'u' AS u
        FROM jsonb_array_elements(a || b) AS e WHERE e->>'k' <> '1'
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('n', n, 'l', l, 'k', k, 'v', v, 'c', c, 'b', s.b, 'u',
        (SELECT coalesce(jsonb_agg(bucket.amount ORDER BY bucket.position), '[]') FROM (
            SELECT one.position, sum(one.amount::numeric) AS amount
            FROM sample, jsonb_array_elements_text(sample.u) WITH ORDINALITY AS one(amount, position)
            WHERE sample.n = s.n AND sample.l = s.l AND sample.k = s.k AND sample.b = s.b GROUP BY one.position) AS bucket))), '[]')
    FROM (SELECT n, l, k, b, sum(v) AS v, sum(c) AS c FROM sample GROUP BY n, l, k, b) AS s
$f$;

-- Adds what ended processes counted to their worker's base row. Returns how many were folded.
CREATE FUNCTION metrics_fold() RETURNS integer LANGUAGE plpgsql AS $f$
DECLARE
    ended record;
    folded integer := 0;
BEGIN
    FOR ended IN
        SELECT p.node, p.worker, p.boot FROM node_process p
        WHERE p.seen_at < now() - interval '1 minute'
          AND EXISTS (SELECT FROM node_process newer WHERE newer.node = p.node AND newer.worker = p.worker
                                                       AND newer.first_seen_at > p.first_seen_at)
        ORDER BY p.node, p.worker, p.boot LIMIT 200 FOR UPDATE OF p SKIP LOCKED
    LOOP
        INSERT INTO node_metrics AS base (node, worker, boot, metrics)
            SELECT node, worker, 0, metrics_sum(metrics, '[]') FROM node_metrics
            WHERE node = ended.node AND worker = ended.worker AND boot = ended.boot
            ON CONFLICT (node, worker, boot) DO UPDATE SET metrics = metrics_sum(base.metrics, EXCLUDED.metrics);
        DELETE FROM node_metrics WHERE node = ended.node AND worker = ended.worker AND boot = ended.boot;
        DELETE FROM node_process WHERE node = ended.node AND worker = ended.worker AND boot = ended.boot;
        folded := folded + 1;
    END LOOP;
    RETURN folded;
END $f$;

-- Brings node.state and lost in line with what was heard. silence: how long a process may be silent. names: only these (whoever was
-- just heard), or all, to find the lost ones.
CREATE FUNCTION node_refresh(names text[], silence interval) RETURNS void LANGUAGE sql AS $f$
    UPDATE node n SET state = heard.state, lost = heard.lost, endpoint = heard.endpoint, public_key = heard.public_key
    FROM (
        SELECT o.name, l.workers IS NULL AS lost, coalesce(l.endpoint, o.endpoint) AS endpoint,
            coalesce(l.public_key, o.public_key) AS public_key,
            CASE WHEN l.workers IS NULL THEN o.state
                 WHEN l.drained = l.workers THEN 'drained'
                 WHEN l.draining + l.drained > 0 THEN 'draining'
                 WHEN l.active > 0 THEN 'active'
                 ELSE 'starting' END AS state
        FROM (SELECT * FROM node WHERE names IS NULL OR name = ANY (names) ORDER BY name FOR UPDATE) AS o
        LEFT JOIN (
            SELECT node, count(*) AS workers, count(*) FILTER (WHERE state = 'drained') AS drained,
                count(*) FILTER (WHERE state = 'draining') AS draining, count(*) FILTER (WHERE state = 'active') AS active,
                (array_agg(endpoint ORDER BY worker))[1] AS endpoint, (array_agg(public_key ORDER BY worker))[1] AS public_key
            FROM node_worker WHERE seen_at > clock_timestamp() - silence AND (names IS NULL OR node = ANY (names))
            GROUP BY node) AS l ON l.node = o.name
    ) AS heard
    WHERE n.name = heard.name
      AND (n.state, n.lost, n.endpoint, n.public_key) IS DISTINCT FROM (heard.state, heard.lost, heard.endpoint, heard.public_key)
$f$;

CREATE TABLE policy (
    epoch bigint PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text NOT NULL,
    comment text NOT NULL DEFAULT ''
);
CREATE TABLE policy_file (
    epoch bigint NOT NULL REFERENCES policy ON DELETE CASCADE,
    name text NOT NULL,
    content text NOT NULL,
    PRIMARY KEY (epoch, name)
);
CREATE TRIGGER policy_changed AFTER INSERT ON policy FOR EACH STATEMENT EXECUTE FUNCTION cluster_changed();

-- One row per message and recipient. A repeated report makes no second row.
CREATE TABLE audit (
    id text NOT NULL,
    recipient_index integer NOT NULL,
    time timestamptz NOT NULL,
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
    PRIMARY KEY (id, recipient_index)
);
CREATE INDEX audit_time ON audit (time);
CREATE INDEX audit_message_id ON audit (message_id) WHERE message_id <> '';
CREATE INDEX audit_sender ON audit (lower(sender)) WHERE sender <> '';
CREATE INDEX audit_recipient ON audit (lower(recipient));

-- What operators did.
CREATE TABLE audit_action (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    who text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
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
            min(l.first_seen_at) AS first_seen_at, max(l.seen_at) AS seen_at
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
