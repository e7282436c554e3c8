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
    -- An epoch that nodes have heard must not be given again after a crash, even where a heartbeat brought it.
    PERFORM set_config('synchronous_commit', (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'), true);
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
    sequence bigint NOT NULL,           -- of the heartbeat: one that a hung coordinator hands in late changes nothing
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
    sequence bigint NOT NULL DEFAULT 0, -- of the heartbeat, as in node_process
    PRIMARY KEY (node, worker, boot)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

-- What a process told in part: newer samples replace older ones of the same series. At most 10,000 series of a process are kept.
CREATE FUNCTION metrics_merge(older jsonb, newer jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $f$
    SELECT coalesce(jsonb_agg(latest.e ORDER BY latest.at), '[]') FROM (
        SELECT one.e, one.at FROM (
            SELECT DISTINCT ON (s.e->>'n', s.e->>'l') s.e, s.at FROM jsonb_array_elements(older || newer) WITH ORDINALITY AS s(e, at)
            ORDER BY s.e->>'n', s.e->>'l', s.at DESC) AS one
        ORDER BY one.at DESC LIMIT 10000) AS latest
$f$;

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
