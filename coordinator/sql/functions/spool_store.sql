-- functions/spool_store.sql - messages come and go
--
-- Of all that is done with the spool: what runs for each message is in PL/pgSQL, which keeps its plans; a function in SQL would be planned at each call.
-- Lock order: a message by id, its rows of spool_queue, then spool_destination. Claims skip what is locked.

-- The name under which this transaction adds to sums: one that no other that is under way uses, so that adding waits for nobody and is part of no deadlock,
-- whatever else is locked. Mostly the connection's name; where several have the same (psql, a pool of connections) the second to ask at once gets another,
-- and keeps it till its end: there are as many names as ever were at it at once. The lock ends with the transaction, behind its commit.
CREATE OR REPLACE FUNCTION usage_slot() RETURNS text LANGUAGE plpgsql AS $f$
DECLARE
    slot text := coalesce(nullif(current_setting('weir.slot', true), ''), current_setting('application_name'));
    further integer := 1;
BEGIN
    WHILE NOT pg_try_advisory_xact_lock(hashtextextended('weir usage ' || slot, 0)) LOOP
        further := further + 1;
        slot := format('%s #%s', current_setting('application_name'), further);
    END LOOP;
    IF further > 1 THEN
        PERFORM set_config('weir.slot', slot, true);
    END IF;
    RETURN slot;
END $f$;

-- Adds to the sums of the connection that asks.
CREATE OR REPLACE FUNCTION spool_count(messages bigint, bytes bigint, recipients bigint, delivered bigint, failed bigint, discarded bigint, abandoned bigint)
RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    INSERT INTO spool_usage AS u VALUES (usage_slot(), $1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (slot) DO UPDATE SET messages = u.messages + $1, bytes = u.bytes + $2, recipients = u.recipients + $3,
        delivered = u.delivered + $4, failed = u.failed + $5, discarded = u.discarded + $6, abandoned = u.abandoned + $7;
END $f$;

-- What stores are refused for, and what edges are told so that they refuse earlier.
CREATE OR REPLACE FUNCTION spool_is_full(max_messages bigint, max_bytes bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN (SELECT coalesce(sum(messages) >= max_messages OR sum(bytes) >= max_bytes, false) FROM spool_usage);
END $f$;

-- When a message that is here since arrived is looked at whatever its destination does. A warning of 0: none is sent.
-- STABLE is what the expression is (days depend on the time zone); only so is it made part of the statements it stands in.
CREATE OR REPLACE FUNCTION spool_attend(arrived timestamptz, warned boolean, warning interval, life interval) RETURNS timestamptz
LANGUAGE sql STABLE AS $f$
    SELECT arrived + CASE WHEN warned OR warning = '0' THEN life ELSE least(warning, life) END
$f$;

-- Where coordinators do not say the place of who sent it (store.c does, and knows logins).
CREATE OR REPLACE FUNCTION spool_slot(client text) RETURNS smallint LANGUAGE sql IMMUTABLE AS $f$
    SELECT (hashtext(client) & 63)::smallint
$f$;

-- Complete messages become visible.
CREATE OR REPLACE FUNCTION spool_ready(ready text[], warning interval, life interval) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    WITH queued AS (
        INSERT INTO spool_queue (id, destination, arrived_at, scanned, due_at, attend_at, held, slot)
            SELECT DISTINCT m.id, r.destination, m.arrived_at, m.scanned, m.stored_at, spool_attend(m.arrived_at, m.dsn, warning, life), m.held_for <> '',
                coalesce(m.slot, spool_slot(m.client))
            FROM spool_message m JOIN spool_recipient r USING (id) WHERE m.id = ANY (ready) AND r.state = 'queued'
            RETURNING destination, scanned, due_at, slot
    )
    INSERT INTO spool_wake SELECT destination, scanned, min(due_at), slot FROM queued GROUP BY destination, scanned, slot;
END $f$;

-- Stores messages with the first chunks of their bodies; each id once. One answer for each, in their order: AnswerStatus, the bytes that are here, and whether
-- that is all. All go through each step together: a statement costs what some messages do. This takes whatever comes, also what is here already; spool_add() is
-- for messages that are new, and comes here with others.
CREATE OR REPLACE FUNCTION spool_store(max_messages bigint, max_bytes bigint, warning interval, life interval, ids text[], bodies bytea[],
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
        WITH body AS (
            INSERT INTO spool_body (id, position, data)
                SELECT n.id, 0, n.body FROM unnest(ids, bodies) AS n(id, body) WHERE octet_length(n.body) > 0 AND n.id = ANY (fresh)
        ), added AS (
            INSERT INTO spool_recipient (id, number, destination, address, packed)
                SELECT r.* FROM unnest(r_ids, r_numbers, r_destinations, r_addresses, r_packed) AS r(id, number, destination, address, packed)
                WHERE r.id = ANY (fresh) RETURNING id, destination
        ), queued AS (
            INSERT INTO spool_queue (id, destination, arrived_at, scanned, due_at, attend_at, slot)
                SELECT DISTINCT m.id, a.destination, m.arrived_at, m.scanned, m.stored_at, spool_attend(m.arrived_at, m.dsn, warning, life), spool_slot(m.client)
                FROM added a JOIN spool_message m ON m.id = a.id WHERE m.stored_at IS NOT NULL
                RETURNING destination, scanned, due_at, slot
        )
        INSERT INTO spool_wake SELECT q.destination, q.scanned, min(q.due_at), q.slot FROM queued q GROUP BY q.destination, q.scanned, q.slot;
        PERFORM spool_count(count(*), sum(octet_length(n.body)),
            (SELECT count(*) FROM unnest(r_ids) AS r(id) WHERE r.id = ANY (fresh)), 0, 0, 0, 0)
            FROM unnest(ids, bodies) AS n(id, body) WHERE n.id = ANY (fresh);
    END IF;
    IF cardinality(fresh) = cardinality(ids) THEN
        RETURN QUERY SELECT n.id, 1, octet_length(n.body)::bigint, n.last FROM unnest(ids, bodies, lasts) WITH ORDINALITY AS n(id, body, last, place)
            ORDER BY n.place;
        RETURN;
    END IF;
    -- What is said to be here may be of a commit whose wait for the synchronous standby was cut off, so that nobody has it but this server. A commit that
    -- wrote nothing waits for nobody; with this in it, it waits for all before it.
    PERFORM pg_logical_emit_message(true, 'weir', '') WHERE EXISTS (SELECT FROM spool_message m WHERE m.id = ANY (ids) AND m.id <> ALL (fresh))
        OR EXISTS (SELECT FROM spool_event e WHERE e.id = ANY (ids));
    RETURN QUERY SELECT n.id, CASE WHEN m.id IS NOT NULL OR e.id IS NOT NULL THEN 1 ELSE 3 END,
            coalesce(m.size, octet_length(n.body)), m.stored_at IS NOT NULL OR e.id IS NOT NULL
        FROM unnest(ids, bodies) WITH ORDINALITY AS n(id, body, place) LEFT JOIN spool_message m ON m.id = n.id
        LEFT JOIN LATERAL (SELECT v.id FROM spool_event v WHERE m.id IS NULL AND v.id = n.id LIMIT 1) AS e ON true ORDER BY n.place;
END $f$;

-- The same for messages of which none is here yet, as nearly always: nothing is joined or looked up, as who asks has it at hand. For that it tells more: of each message
-- its bytes and recipients, and to whom outbound protection it counts; and the rows of spool_queue (entries, of complete ones), with the places of their sources. The
-- bodies come in one piece, of which each message has a part, in the order of the messages: what is an array is copied several times before a row is made of it. Then the
-- answer is one row: status 1, and stored is NULL, as all of them are, with all that came. Where one is here all the same, or was once,
-- nothing of this has happened, and all of them go the way above, with an answer for each. work: what it took until here, in us.
-- Messages are written first, in their order, so that two coordinators that repeat the same do not wait for each other in circles.
CREATE OR REPLACE FUNCTION spool_add(max_messages bigint, max_bytes bigint, warning interval, life interval, messages spool_new_message[], parts spool_new_part[],
    bodies bytea, receivers spool_new_recipient[], entries spool_new_entry[])
RETURNS TABLE (stored text, status integer, have bigint, complete boolean, work bigint) LANGUAGE plpgsql AS $f$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    m record;
    r record;
BEGIN
    <<fresh>>
    BEGIN
        EXIT fresh WHEN spool_is_full(max_messages, max_bytes);
        WITH body AS (
            INSERT INTO spool_body (id, position, data) SELECT p.id, 0, substring(bodies FROM p.at + 1 FOR p.len) FROM unnest(parts) AS p WHERE p.len > 0
        ), recipient AS (
            INSERT INTO spool_recipient (id, number, destination, address, packed) SELECT * FROM unnest(receivers)
        ), queued AS (
            INSERT INTO spool_queue (id, destination, arrived_at, scanned, due_at, attend_at, slot)
                SELECT q.id, q.destination, moment, q.scanned, moment, spool_attend(moment, q.dsn, warning, life), q.slot FROM unnest(entries) AS q
        ), woken AS (
            INSERT INTO spool_wake SELECT DISTINCT q.destination, q.scanned, moment, q.slot FROM unnest(entries) AS q
        )
        INSERT INTO spool_message (id, arrived_at, stored_at, chunk_at, size, recipients, scanned, dsn, envelope, node, listener, client, helo, tls, sender,
            message_id, verdict, scanner, engine, signatures, slot)
            SELECT n.id, moment, CASE WHEN n.last THEN moment END, moment, n.size, n.recipients, n.scanned, n.dsn, n.envelope, n.node, n.listener,
                n.client, n.helo, n.tls, n.sender, n.message_id, n.verdict, n.scanner, n.engine, n.signatures, n.slot
            FROM unnest(messages) AS n ORDER BY n.id;
        -- Looked at after the insert: what it waited for may have been that message's end.
        IF EXISTS (SELECT FROM spool_event e WHERE e.id = ANY (ARRAY(SELECT p.id FROM unnest(parts) AS p))) THEN
            RAISE unique_violation;
        END IF;
        PERFORM spool_count(cardinality(messages), (SELECT sum(p.len) FROM unnest(parts) AS p), cardinality(receivers), 0, 0, 0, 0);
        IF EXISTS (SELECT FROM outbound_stop) THEN -- here, as nobody leases them before the commit
            PERFORM outbound_hold(array_agg(n.id), array_agg(n.subject)) FROM unnest(messages) AS n WHERE n.subject <> '';
        END IF;
        RETURN QUERY SELECT NULL::text, 1, NULL::bigint, NULL::boolean, floor(extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000000)::bigint;
        RETURN;
    EXCEPTION WHEN unique_violation THEN
        NULL;
    END;
    SELECT array_agg(n.id) AS ids, array_agg(n.envelope) AS envelopes, array_agg(n.last) AS lasts, array_agg(n.scanned) AS scans, array_agg(n.dsn) AS dsns,
        array_agg(n.node) AS nodes, array_agg(n.listener) AS listeners, array_agg(n.client) AS clients, array_agg(n.helo) AS helos, array_agg(n.tls) AS tlss,
        array_agg(n.sender) AS senders, array_agg(n.message_id) AS message_ids, array_agg(n.verdict) AS verdicts, array_agg(n.scanner) AS scanners,
        array_agg(n.engine) AS engines, array_agg(n.signatures) AS signaturess, array_agg(n.subject) AS subjects
        INTO m FROM unnest(messages) AS n;
    SELECT array_agg(n.id) AS ids, array_agg(n.number) AS numbers, array_agg(n.destination) AS destinations, array_agg(n.address) AS addresses,
        array_agg(n.packed) AS packed INTO r FROM unnest(receivers) AS n;
    RETURN QUERY SELECT s.*, 0::bigint FROM spool_store(max_messages, max_bytes, warning, life, m.ids,
        ARRAY(SELECT substring(bodies FROM p.at + 1 FOR p.len) FROM unnest(parts) WITH ORDINALITY AS p(id, at, len, place) ORDER BY p.place), m.envelopes, m.lasts, m.scans, m.dsns, m.nodes, m.listeners, m.clients, m.helos, m.tlss, m.senders, m.message_ids, m.verdicts, m.scanners, m.engines, m.signaturess,
        r.ids, r.numbers, r.destinations, r.addresses, r.packed) AS s;
    PERFORM outbound_hold(m.ids, m.subjects);
END $f$;

-- Asked by the version before, which has arrays of each column.
CREATE OR REPLACE FUNCTION spool_take(max_messages bigint, max_bytes bigint, warning interval, life interval, ids text[], bodies bytea[],
    envelopes bytea[], lasts boolean[], scans boolean[], dsns boolean[], nodes text[], listeners text[], clients text[], helos text[],
    tlss text[], senders text[], message_ids text[], verdicts text[], scanners text[], engines text[], signaturess text[],
    r_ids text[], r_numbers integer[], r_destinations text[], r_addresses text[], r_packed bytea[],
    sizes bigint[], counts integer[], q_ids text[], q_destinations text[], q_scans boolean[], q_dsns boolean[], hold_ids text[], hold_subjects text[],
    q_slots smallint[] DEFAULT NULL)
RETURNS TABLE (stored text, status integer, have bigint, complete boolean, work bigint) LANGUAGE plpgsql AS $f$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    <<fresh>>
    BEGIN
        EXIT fresh WHEN spool_is_full(max_messages, max_bytes);
        WITH body AS (
            INSERT INTO spool_body (id, position, data) SELECT n.id, 0, n.body FROM unnest(ids, bodies) AS n(id, body) WHERE octet_length(n.body) > 0
        ), recipient AS (
            INSERT INTO spool_recipient (id, number, destination, address, packed) SELECT * FROM unnest(r_ids, r_numbers, r_destinations, r_addresses, r_packed)
        ), queued AS (
            INSERT INTO spool_queue (id, destination, arrived_at, scanned, due_at, attend_at, slot)
                SELECT q.id, q.destination, moment, q.scanned, moment, spool_attend(moment, q.dsn, warning, life), coalesce(q.slot, 0)
                FROM unnest(q_ids, q_destinations, q_scans, q_dsns, q_slots) AS q(id, destination, scanned, dsn, slot)
        ), woken AS (
            INSERT INTO spool_wake SELECT DISTINCT q.destination, q.scanned, moment, coalesce(q.slot, -1) FROM unnest(q_destinations, q_scans, q_slots) AS q(destination, scanned, slot)
        )
        INSERT INTO spool_message (id, arrived_at, stored_at, chunk_at, size, recipients, scanned, dsn, envelope, node, listener, client, helo, tls, sender,
            message_id, verdict, scanner, engine, signatures)
            SELECT n.id, moment, CASE WHEN n.last THEN moment END, moment, n.size, n.recipients, n.scanned, n.dsn, n.envelope, n.node, n.listener,
                n.client, n.helo, n.tls, n.sender, n.message_id, n.verdict, n.scanner, n.engine, n.signatures
            FROM unnest(ids, lasts, sizes, counts, scans, dsns, envelopes, nodes, listeners, clients, helos, tlss, senders, message_ids, verdicts, scanners,
                engines, signaturess) AS n(id, last, size, recipients, scanned, dsn, envelope, node, listener, client, helo, tls, sender, message_id,
                verdict, scanner, engine, signatures)
            ORDER BY n.id COLLATE "C";
        -- Looked at after the insert: what it waited for may have been that message's end.
        IF EXISTS (SELECT FROM spool_event e WHERE e.id = ANY (ids)) THEN
            RAISE unique_violation;
        END IF;
        PERFORM spool_count(cardinality(ids), (SELECT sum(s)::bigint FROM unnest(sizes) AS s), cardinality(r_ids), 0, 0, 0, 0);
        IF EXISTS (SELECT FROM outbound_stop) THEN -- here, as nobody leases them before the commit
            PERFORM outbound_hold(hold_ids, hold_subjects);
        END IF;
        RETURN QUERY SELECT n.id, 1, n.size, n.last, floor(extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000000)::bigint
            FROM unnest(ids, sizes, lasts) AS n(id, size, last);
        RETURN;
    EXCEPTION WHEN unique_violation THEN
        NULL;
    END;
    RETURN QUERY SELECT s.*, 0::bigint FROM spool_store(max_messages, max_bytes, warning, life, ids, bodies, envelopes, lasts, scans, dsns, nodes, listeners, clients,
        helos, tlss, senders, message_ids, verdicts, scanners, engines, signaturess, r_ids, r_numbers, r_destinations, r_addresses, r_packed) AS s;
    PERFORM outbound_hold(hold_ids, hold_subjects);
END $f$;

-- The next chunk of a body.
CREATE OR REPLACE FUNCTION spool_chunk(max_bytes bigint, warning interval, life interval, wanted text, offset_now bigint, chunk bytea, is_last boolean,
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
            PERFORM quarantine_arrive(wanted, '');
        END IF;
        RETURN QUERY SELECT 1, m.size + octet_length(chunk), is_last;
    END IF;
END $f$;

-- From each start to the end of the chunk that has it, in the order asked; no row: there is no such message.
CREATE OR REPLACE FUNCTION spool_fetch(wanted text[], starts bigint[]) RETURNS TABLE (place integer, size bigint, data bytea) LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN QUERY SELECT n.place::integer, m.size, coalesce((SELECT CASE WHEN b.position = n.start THEN b.data
                ELSE substr(b.data, (n.start - b.position)::integer + 1) END
            FROM spool_body b WHERE b.id = m.id AND b.position <= n.start AND b.position + octet_length(b.data) > n.start
            ORDER BY b.position DESC LIMIT 1), '')
        FROM unnest(wanted, starts) WITH ORDINALITY AS n(id, start, place)
        JOIN spool_message m ON m.id = n.id AND m.stored_at IS NOT NULL AND n.start <= m.size ORDER BY n.place;
END $f$;

-- Removes messages with all that belongs to them. A body that the quarantine needs is left to it.
CREATE OR REPLACE FUNCTION spool_forget(gone text[]) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    removed record;
BEGIN
    WITH m AS (DELETE FROM spool_message WHERE id = ANY (gone) RETURNING size),
        q AS (DELETE FROM spool_queue WHERE id = ANY (gone)),
        r AS (DELETE FROM spool_recipient WHERE id = ANY (gone)),
        b AS (DELETE FROM spool_body WHERE id = ANY (gone)
              AND NOT EXISTS (SELECT FROM quarantine_message q WHERE q.id = spool_body.id AND q.needed > 0))
        SELECT count(*), sum(m.size) INTO removed FROM m;
    PERFORM spool_count(-removed.count, -removed.sum::bigint, 0, 0, 0, 0, 0) WHERE removed.count > 0;
END $f$;

-- Stores whose edge died or gave up. Returns how many were removed.
CREATE OR REPLACE FUNCTION spool_abandon(age interval, most integer) RETURNS integer LANGUAGE plpgsql AS $f$
DECLARE
    gone text[] := ARRAY(SELECT id FROM spool_message WHERE stored_at IS NULL AND chunk_at < clock_timestamp() - age
                         ORDER BY chunk_at LIMIT most FOR UPDATE SKIP LOCKED);
BEGIN
    PERFORM spool_count(0, 0, 0, 0, 0, 0, count(*)) FROM spool_recipient WHERE id = ANY (gone) HAVING count(*) > 0;
    DELETE FROM quarantine_copy WHERE id = ANY (gone) AND state = 'incoming';
    PERFORM spool_forget(gone);
    RETURN cardinality(gone);
END $f$;
