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
