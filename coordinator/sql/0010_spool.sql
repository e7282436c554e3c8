-- 0010_spool.sql - the spool: messages at rest, their recipients, bodies, and what is due when
--
-- A message is visible (stored_at) when all of its body is there; from then on it has one row of spool_queue for each destination, and
-- that row is what is leased. due_at is when a row may be leased; of a leased one it is when the lease ends, so a lease that ran out is
-- simply due again. All times are this database's clock.
--
-- spool_lane has one row for each destination and kind (scanned or not) that was ever due, with its next turn: a claim looks at those whose
-- turn has come, never at the queue as a whole. Only claims write lanes. Who makes something due adds a row to spool_wake, which
-- locks nothing, so stores do not wait for each other; claims empty it. spool_destination has only destinations in trouble.

CREATE TABLE spool_message (
    id text COLLATE "C" PRIMARY KEY,
    arrived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    stored_at timestamptz,              -- NULL: the body is still coming
    chunk_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    size bigint NOT NULL,               -- of the body that is here
    recipients integer NOT NULL,        -- not settled yet
    scanned boolean NOT NULL,
    dsn boolean NOT NULL,
    envelope bytea NOT NULL,            -- SpoolEnvelope as it came: addresses need not be UTF-8
    -- The same as text, for people and the audit.
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
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX spool_message_incomplete ON spool_message (chunk_at) WHERE stored_at IS NULL;

CREATE TABLE spool_recipient (
    id text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    destination text COLLATE "C" NOT NULL,
    address text NOT NULL,
    packed bytea NOT NULL,              -- SpoolRecipient as it came
    state text NOT NULL DEFAULT 'queued',   -- delivered, failed, discarded: kept until the message is gone
    attempts integer NOT NULL DEFAULT 0,
    tried_at timestamptz,
    reply text NOT NULL DEFAULT '',     -- the last one
    PRIMARY KEY (id, number)
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE spool_body (
    id text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (id, position)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE spool_body ALTER COLUMN data SET STORAGE EXTERNAL;  -- mail was compressed, or is not worth the time

CREATE TABLE spool_queue (
    id text COLLATE "C" NOT NULL,
    destination text COLLATE "C" NOT NULL,
    arrived_at timestamptz NOT NULL,
    scanned boolean NOT NULL,
    due_at timestamptz NOT NULL,
    attend_at timestamptz NOT NULL,     -- due whatever its destination does: a delay warning, the end of its life, an operator's wish
    leased boolean NOT NULL DEFAULT false,
    held boolean NOT NULL DEFAULT false,
    bounce boolean NOT NULL DEFAULT false,
    token bigint NOT NULL DEFAULT 0,    -- of the newest lease
    attempts integer NOT NULL DEFAULT 0,
    maybe_duplicate boolean NOT NULL DEFAULT false,
    delay_warned boolean NOT NULL DEFAULT false,
    holder text NOT NULL DEFAULT '',    -- of the newest lease: edge-1/0
    PRIMARY KEY (id, destination)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1);
CREATE INDEX spool_queue_due ON spool_queue (destination, scanned, due_at) WHERE NOT held;
CREATE INDEX spool_queue_leased ON spool_queue (destination, due_at) WHERE leased;
CREATE INDEX spool_queue_attend ON spool_queue (scanned, attend_at) WHERE NOT held;

CREATE TABLE spool_lane (
    destination text COLLATE "C" NOT NULL,
    scanned boolean NOT NULL,
    turn_at timestamptz NOT NULL,
    PRIMARY KEY (destination, scanned)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX spool_lane_turn ON spool_lane (turn_at);

CREATE TABLE spool_wake (
    destination text COLLATE "C" NOT NULL,
    scanned boolean NOT NULL,
    at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE TABLE spool_destination (
    destination text COLLATE "C" PRIMARY KEY,
    failures integer NOT NULL,          -- in a row
    since timestamptz NOT NULL,
    down_until timestamptz NOT NULL,
    reply text NOT NULL
);

-- What became of each attempt. Also how a result that comes again, or a message that was stored and delivered, is known again.
CREATE TABLE spool_event (
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    id text COLLATE "C" NOT NULL,
    destination text COLLATE "C" NOT NULL,
    token bigint NOT NULL,              -- of the lease; 0: an operator, or the end of a store that was left
    who text NOT NULL,
    what text NOT NULL,                 -- delivered, deferred, failed, discarded
    recipients integer NOT NULL,
    reply text NOT NULL
);
CREATE INDEX spool_event_id ON spool_event (id);
CREATE INDEX spool_event_at ON spool_event USING brin (at);

-- What is in the spool and what went through it, one row for each connection's name, so that nobody waits for another. Sums are exact.
CREATE TABLE spool_usage (
    slot text PRIMARY KEY,
    messages bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    recipients bigint NOT NULL DEFAULT 0,   -- ever stored
    delivered bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    discarded bigint NOT NULL DEFAULT 0,
    abandoned bigint NOT NULL DEFAULT 0     -- of stores that were left
) WITH (fillfactor = 20);
