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
