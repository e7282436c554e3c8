-- 0016_spool_batches.sql - what happens to most messages, many at a time

-- A body of a usual size stays in its row: out of line it would be rows of 2000 bytes with an index of their own. For bodies stored from now on.
ALTER TABLE spool_body SET (toast_tuple_target = 8160);

-- What the expression is; only so is it made part of the statements it stands in.
ALTER FUNCTION spool_attend(timestamptz, boolean, interval, interval) STABLE;

-- From each start to the end of the chunk that has it, in the order asked; no row: there is no such message.
CREATE FUNCTION spool_fetch(wanted text[], starts bigint[]) RETURNS TABLE (place integer, size bigint, data bytea) LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN QUERY SELECT n.place::integer, m.size, coalesce((SELECT CASE WHEN b.position = n.start THEN b.data
                ELSE substr(b.data, (n.start - b.position)::integer + 1) END
            FROM spool_body b WHERE b.id = m.id AND b.position <= n.start AND b.position + octet_length(b.data) > n.start
            ORDER BY b.position DESC LIMIT 1), '')
        FROM unnest(wanted, starts) WITH ORDINALITY AS n(id, start, place)
        JOIN spool_message m ON m.id = n.id AND m.stored_at IS NOT NULL AND n.start <= m.size ORDER BY n.place;
END $f$;

-- Results of leases with which every recipient asked about was delivered. firsts, amounts: which outcomes are whose, o_places the other way. Where a
-- message is done with by that, as most are, they are taken together; the others one by one, as spool_result() does. Answers as of
-- spool_result(), in the order given.
CREATE FUNCTION spool_delivered(retry_first interval, retry_most interval, warning interval, life interval, ids text[], destinations text[],
    tokens bigint[], whos text[], cleans boolean[], verdicts text[], scanners text[], engines text[], signaturess text[],
    firsts integer[], amounts integer[], o_places integer[], numbers integer[], codes integer[], told text[])
RETURNS TABLE (place integer, status integer, removed boolean) LANGUAGE plpgsql AS $f$
DECLARE
    at_now timestamptz;
    done integer[];
    gone text[];
    one record;
BEGIN
    PERFORM FROM spool_message m WHERE m.id = ANY (ids) ORDER BY m.id FOR UPDATE;
    PERFORM FROM unnest(ids, destinations) AS r(id, destination) JOIN spool_queue q ON q.id = r.id AND q.destination = r.destination
        ORDER BY q.id, q.destination FOR UPDATE OF q;
    at_now := clock_timestamp();
    SELECT array_agg(r.place), array_agg(r.id) INTO done, gone
        FROM unnest(ids, destinations, tokens, cleans, firsts, amounts) WITH ORDINALITY AS r(id, destination, token, clean, first, amount, place)
        JOIN spool_queue q ON q.id = r.id AND q.destination = r.destination AND q.token = r.token AND q.leased AND q.due_at > at_now AND NOT q.bounce
        JOIN spool_message m ON m.id = r.id AND m.recipients = r.amount AND (m.scanned OR NOT r.clean)
        WHERE r.place = array_position(ids, r.id) AND r.amount = (SELECT count(*) FROM spool_recipient p
            WHERE p.id = r.id AND p.number = ANY (numbers[r.first:r.first + r.amount - 1]) AND p.destination = r.destination AND p.state = 'queued');
    IF done <> '{}' THEN
        INSERT INTO spool_event (id, destination, token, who, what, recipients, reply)
            SELECT ids[o.place], destinations[o.place], tokens[o.place], whos[o.place], 'delivered', count(*), o.said
            FROM unnest(o_places, told) AS o(place, said) WHERE o.place = ANY (done) GROUP BY o.place, o.said;
        INSERT INTO audit AS a (id, recipient_index, time, node, worker, listener, client, helo, tls, sender, recipient, message_id, size,
            disposition, reply_code, reply, verdict, signature, scanner, engine, signatures, next_hop, next_hop_reply, duration_ms)
            SELECT m.id, p.number, clock_timestamp(), CASE WHEN m.node <> '' THEN m.node ELSE whos[o.place] END, 0, m.listener, m.client, m.helo, m.tls, m.sender, p.address, m.message_id,
                m.size, 'delivered', o.code, o.said, m.verdict, '', m.scanner, m.engine, m.signatures, left(destinations[o.place], 512),
                o.said, (extract(epoch FROM clock_timestamp() - m.arrived_at) * 1000)::bigint
            FROM unnest(o_places, numbers, codes, told) AS o(place, number, code, said)
            JOIN spool_message m ON m.id = ids[o.place] JOIN spool_recipient p ON p.id = m.id AND p.number = o.number
            WHERE o.place = ANY (done) ORDER BY m.id, p.number
            ON CONFLICT (id, recipient_index) DO UPDATE SET time = EXCLUDED.time, disposition = EXCLUDED.disposition,
                reply_code = EXCLUDED.reply_code, reply = EXCLUDED.reply, verdict = EXCLUDED.verdict, scanner = EXCLUDED.scanner,
                engine = EXCLUDED.engine, signatures = EXCLUDED.signatures, next_hop = EXCLUDED.next_hop,
                next_hop_reply = EXCLUDED.next_hop_reply, duration_ms = EXCLUDED.duration_ms;
        PERFORM spool_count(0, 0, 0, count(*), 0, 0, 0) FROM unnest(o_places) AS o(place) WHERE o.place = ANY (done);
        PERFORM spool_forget(gone);
        DELETE FROM spool_destination d WHERE d.destination = ANY (SELECT destinations[n] FROM unnest(done) AS n);
        INSERT INTO spool_wake SELECT l.destination, l.scanned, at_now FROM spool_lane l
            WHERE l.destination = ANY (SELECT destinations[n] FROM unnest(done) AS n);
        RETURN QUERY SELECT n, 0, true FROM unnest(done) AS n;
    END IF;
    FOR one IN SELECT r.place, r.first, r.first + r.amount - 1 AS last FROM unnest(ids, firsts, amounts) WITH ORDINALITY AS r(id, first, amount, place)
        WHERE r.place <> ALL (coalesce(done, '{}')) ORDER BY r.id
    LOOP
        RETURN QUERY SELECT one.place::integer, s.status, s.removed FROM spool_result(retry_first, retry_most, warning, life, ids[one.place],
            destinations[one.place], tokens[one.place], whos[one.place], false, '0', false, cleans[one.place], verdicts[one.place],
            scanners[one.place], engines[one.place], signaturess[one.place], numbers[one.first:one.last],
            array_fill(1, ARRAY[amounts[one.place]]), codes[one.first:one.last], told[one.first:one.last]) AS s;
    END LOOP;
END $f$;

-- As before, in fewer statements: each costs what some messages do.
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
            INSERT INTO spool_queue (id, destination, arrived_at, scanned, due_at, attend_at)
                SELECT DISTINCT m.id, a.destination, m.arrived_at, m.scanned, m.stored_at, spool_attend(m.arrived_at, m.dsn, warning, life)
                FROM added a JOIN spool_message m ON m.id = a.id WHERE m.stored_at IS NOT NULL
                RETURNING destination, scanned, due_at
        )
        INSERT INTO spool_wake SELECT q.destination, q.scanned, min(q.due_at) FROM queued q GROUP BY q.destination, q.scanned;
        PERFORM spool_count(count(*), sum(octet_length(n.body)),
            (SELECT count(*) FROM unnest(r_ids) AS r(id) WHERE r.id = ANY (fresh)), 0, 0, 0, 0)
            FROM unnest(ids, bodies) AS n(id, body) WHERE n.id = ANY (fresh);
    END IF;
    IF cardinality(fresh) = cardinality(ids) THEN
        RETURN QUERY SELECT n.id, 1, octet_length(n.body)::bigint, n.last FROM unnest(ids, bodies, lasts) WITH ORDINALITY AS n(id, body, last, place)
            ORDER BY n.place;
        RETURN;
    END IF;
    RETURN QUERY SELECT n.id, CASE WHEN m.id IS NOT NULL OR e.id IS NOT NULL THEN 1 ELSE 3 END,
            coalesce(m.size, octet_length(n.body)), m.stored_at IS NOT NULL OR e.id IS NOT NULL
        FROM unnest(ids, bodies) WITH ORDINALITY AS n(id, body, place) LEFT JOIN spool_message m ON m.id = n.id
        LEFT JOIN LATERAL (SELECT v.id FROM spool_event v WHERE m.id IS NULL AND v.id = n.id LIMIT 1) AS e ON true ORDER BY n.place;
END $f$;
