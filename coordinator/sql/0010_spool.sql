-- 0010_spool.sql - the spool: messages at rest, their recipients, bodies, and what is due when
--
-- A message is visible (stored_at) when all of its body is there; from then on it has one row of spool_queue for each destination, and
-- that row is what is leased. due_at is when a row may be leased; of a leased one it is when the lease ends, so a lease that ran out is
-- simply due again. All times are this database's clock.
--
-- spool_lane has one row for each destination and kind (scanned or not) that was ever due, with its next turn: a claim looks at those whose
-- turn has come, never at the queue as a whole. Only claims write lanes. Who makes something due adds a row to spool_wake, which
-- locks nothing, so stores do not wait for each other; claims empty it. spool_destination has only destinations in trouble.
--
-- What runs for each message is in PL/pgSQL, which keeps its plans; a function in SQL would be planned at each call.
--
-- Lock order: a message by id, its rows of spool_queue, then spool_destination. Claims skip what is locked.

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

CREATE FUNCTION spool_count(messages bigint, bytes bigint, recipients bigint, delivered bigint, failed bigint, discarded bigint, abandoned bigint)
RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    INSERT INTO spool_usage AS u VALUES (current_setting('application_name'), $1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (slot) DO UPDATE SET messages = u.messages + $1, bytes = u.bytes + $2, recipients = u.recipients + $3,
        delivered = u.delivered + $4, failed = u.failed + $5, discarded = u.discarded + $6, abandoned = u.abandoned + $7;
END $f$;

CREATE FUNCTION spool_is_full(max_messages bigint, max_bytes bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN (SELECT coalesce(sum(messages) >= max_messages OR sum(bytes) >= max_bytes, false) FROM spool_usage);
END $f$;

-- When a message that is here since arrived is looked at whatever its destination does. A warning of 0: none is sent.
CREATE FUNCTION spool_attend(arrived timestamptz, warned boolean, warning interval, life interval) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $f$
    SELECT arrived + CASE WHEN warned OR warning = '0' THEN life ELSE least(warning, life) END
$f$;

-- Complete messages become visible.
CREATE FUNCTION spool_ready(ready text[], warning interval, life interval) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    WITH queued AS (
        INSERT INTO spool_queue (id, destination, arrived_at, scanned, due_at, attend_at)
            SELECT DISTINCT m.id, r.destination, m.arrived_at, m.scanned, m.stored_at, spool_attend(m.arrived_at, m.dsn, warning, life)
            FROM spool_message m JOIN spool_recipient r USING (id) WHERE m.id = ANY (ready)
            RETURNING destination, scanned, due_at
    )
    INSERT INTO spool_wake SELECT destination, scanned, min(due_at) FROM queued GROUP BY destination, scanned;
END $f$;

-- Stores messages with the first chunks of their bodies; each id once. One answer for each, in their order: AnswerStatus, the bytes that are here, and whether
-- it is visible.
CREATE FUNCTION spool_store(max_messages bigint, max_bytes bigint, warning interval, life interval, ids text[], bodies bytea[],
    envelopes bytea[], lasts boolean[], scans boolean[], dsns boolean[], nodes text[], listeners text[], clients text[], helos text[],
    tlss text[], senders text[], message_ids text[], verdicts text[], scanners text[], engines text[], signaturess text[],
    r_ids text[], r_numbers integer[], r_destinations text[], r_addresses text[], r_packed bytea[])
RETURNS TABLE (stored text, status integer, have bigint, complete boolean) LANGUAGE plpgsql AS $f$
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
END $f$;

-- The next chunk of a body.
CREATE FUNCTION spool_chunk(max_bytes bigint, warning interval, life interval, wanted text, offset_now bigint, chunk bytea, is_last boolean,
    is_scanned boolean, a_verdict text, a_scanner text, an_engine text, a_signatures text)
RETURNS TABLE (status integer, have bigint, complete boolean) LANGUAGE plpgsql AS $f$
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
END $f$;

-- Removes messages with all that belongs to them.
CREATE FUNCTION spool_forget(gone text[]) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    removed record;
BEGIN
    DELETE FROM spool_queue WHERE id = ANY (gone);
    DELETE FROM spool_recipient WHERE id = ANY (gone);
    DELETE FROM spool_body WHERE id = ANY (gone);
    WITH m AS (DELETE FROM spool_message WHERE id = ANY (gone) RETURNING size)
        SELECT count(*), sum(m.size) INTO removed FROM m;
    PERFORM spool_count(-removed.count, -removed.sum::bigint, 0, 0, 0, 0, 0) WHERE removed.count > 0;
END $f$;

-- Stores whose edge died or gave up. Returns how many were removed.
CREATE FUNCTION spool_abandon(age interval, most integer) RETURNS integer LANGUAGE plpgsql AS $f$
DECLARE
    gone text[] := ARRAY(SELECT id FROM spool_message WHERE stored_at IS NULL AND chunk_at < clock_timestamp() - age
                         ORDER BY chunk_at LIMIT most FOR UPDATE SKIP LOCKED);
BEGIN
    PERFORM spool_count(0, 0, 0, 0, 0, 0, count(*)) FROM spool_recipient WHERE id = ANY (gone) HAVING count(*) > 0;
    PERFORM spool_forget(gone);
    RETURN cardinality(gone);
END $f$;
