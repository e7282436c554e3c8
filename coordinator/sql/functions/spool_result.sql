-- functions/spool_result.sql - what became of leases

-- Final dispositions, as rows of the audit. They win over what the edge reported when it took the message, but the row keeps that edge, whose listener
-- and client it names; who delivered is in spool_event. hop: who said it; '': no next hop did. a_verdict: one that the message does not have yet.
CREATE OR REPLACE FUNCTION spool_audit(wanted text, numbers integer[], who text, what text, code integer, said text, hop text,
    a_verdict text DEFAULT '', found_what text DEFAULT '', by_scanner text DEFAULT '', by_engine text DEFAULT '', with_signatures text DEFAULT '') RETURNS void
LANGUAGE plpgsql AS $f$
DECLARE
    known sent_row[];
BEGIN
    WITH written AS (
        INSERT INTO audit AS a (id, recipient_index, time, node, worker, listener, client, helo, tls, sender, recipient, message_id, size,
            disposition, reply_code, reply, verdict, signature, scanner, engine, signatures, next_hop, next_hop_reply, duration_ms, override)
            SELECT m.id, r.number, clock_timestamp(), CASE WHEN m.node <> '' THEN m.node ELSE who END, 0, m.listener, m.client, m.helo, m.tls, m.sender,
                r.address, m.message_id, m.size, what, code, said, CASE WHEN a_verdict <> '' THEN a_verdict ELSE m.verdict END, found_what,
                CASE WHEN a_verdict <> '' THEN by_scanner ELSE m.scanner END, CASE WHEN a_verdict <> '' THEN by_engine ELSE m.engine END,
                CASE WHEN a_verdict <> '' THEN with_signatures ELSE m.signatures END, left(hop, 512),
                CASE WHEN hop <> '' THEN said ELSE '' END, (extract(epoch FROM clock_timestamp() - m.arrived_at) * 1000)::bigint, m.override
            FROM spool_message m JOIN spool_recipient r ON r.id = m.id WHERE m.id = wanted AND r.number = ANY (numbers) ORDER BY r.number
            ON CONFLICT (id, recipient_index) DO UPDATE SET time = EXCLUDED.time, disposition = EXCLUDED.disposition,
                reply_code = EXCLUDED.reply_code, reply = EXCLUDED.reply, verdict = EXCLUDED.verdict, signature = EXCLUDED.signature,
                scanner = EXCLUDED.scanner, engine = EXCLUDED.engine, signatures = EXCLUDED.signatures, next_hop = EXCLUDED.next_hop,
                next_hop_reply = EXCLUDED.next_hop_reply, duration_ms = EXCLUDED.duration_ms,
                override = CASE WHEN EXCLUDED.override <> 0 THEN EXCLUDED.override ELSE a.override END
        RETURNING a.id, a.time, a.listener, a.client, a.helo, a.tls, a.size, a.disposition, a.login, a.origin, a.first)
    SELECT array_agg((w.id, w.time, w.listener, w.client, w.helo, w.tls, w.size, w.disposition, w.login, w.origin, w.first)::sent_row) INTO known
        FROM written w WHERE w.origin >= 2;
    IF sent_is_bad(what) OR sent_is_virus(what) THEN -- what its edge has told of already; else the edge's row is counted with this
        PERFORM outbound_late(known, (SELECT m.arrived_at FROM spool_message m WHERE m.id = wanted));
    END IF;
END $f$;

-- A destination that could not be reached (down), which puts off all its mail, or that was, which ends that. first, most: its back-off, as spool_pause().
CREATE OR REPLACE FUNCTION spool_reached(wanted text, down boolean, said text, first interval, most interval) RETURNS void LANGUAGE plpgsql AS $f$
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
END $f$;

-- Recipients that are settled for good. The message goes with its last one: true. Their state must be set.
CREATE OR REPLACE FUNCTION spool_settle(wanted text, settled integer) RETURNS boolean LANGUAGE plpgsql AS $f$
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
END $f$;

-- Recipients of one entry, which are still to be delivered, go on in another entry of their message: to another destination (epoch: of the policy that says so), or back. It is due now; one that is
-- there already takes them, and what was known of either counts. Message and entry must be locked. The tokens of a new entry are above all that one
-- of this name had before, so that no late result of that one counts.
CREATE OR REPLACE FUNCTION spool_move(wanted text, from_destination text, numbers integer[], to_destination text, back boolean,
    epoch bigint DEFAULT 0) RETURNS void
LANGUAGE plpgsql AS $f$
BEGIN
    UPDATE spool_recipient r SET destination = to_destination WHERE r.id = wanted AND r.number = ANY (numbers);
    INSERT INTO spool_queue (id, destination, arrived_at, scanned, due_at, attend_at, held, bounce, token, attempts, maybe_duplicate, delay_warned,
            routed_epoch, routed_newest, slot)
        SELECT q.id, to_destination, q.arrived_at, q.scanned, clock_timestamp(), CASE WHEN back THEN clock_timestamp() ELSE q.attend_at END,
            q.held AND NOT back, back, nextval('spool_token'), 0, q.maybe_duplicate, q.delay_warned, epoch, epoch, q.slot
        FROM spool_queue q WHERE q.id = wanted AND q.destination = from_destination
        ON CONFLICT (id, destination) DO NOTHING;
    -- Of an entry's recipients the oldest policy counts, so that a newer one looks at all of them, and the newest, so that none older than that does. A
    -- warning twice is better than none.
    UPDATE spool_queue t SET routed_epoch = CASE WHEN epoch > 0 THEN least(t.routed_epoch, epoch) ELSE t.routed_epoch END,
            routed_newest = greatest(t.routed_newest, epoch),
            held = t.held OR q.held AND NOT back, maybe_duplicate = t.maybe_duplicate OR q.maybe_duplicate,
            delay_warned = t.delay_warned AND q.delay_warned
        FROM spool_queue q WHERE t.id = wanted AND t.destination = to_destination AND q.id = wanted AND q.destination = from_destination
            AND (t.routed_epoch > epoch AND epoch > 0 OR t.routed_newest < epoch OR q.held AND NOT back AND NOT t.held OR q.maybe_duplicate AND NOT t.maybe_duplicate
                 OR t.delay_warned AND NOT q.delay_warned);
    DELETE FROM spool_queue q WHERE q.id = wanted AND q.destination = from_destination AND NOT EXISTS (
        SELECT FROM spool_recipient r WHERE r.id = q.id AND r.destination = q.destination AND r.state = 'queued');
    INSERT INTO spool_wake SELECT q.destination, q.scanned, clock_timestamp() FROM spool_queue q
        WHERE q.id = wanted AND q.destination = to_destination AND NOT q.held;
END $f$;

-- The result of one lease. dispositions as SpoolDisposition; told: what each recipient's reply was. status: 0 taken now, 1 taken before,
-- 4 the lease is not (or no longer) the asker's. removed: nothing of the message is left. down: no host of the destination could be reached;
-- reached: one answered (whoever was delivered was). With neither the edge had a reason of its own, which says nothing of the destination.
-- owns: what was told are the edge's words; reasons: in a word, '' where the next hop's say it. Whom the policy of moves_epoch routes
-- elsewhere (disposition 6) is told where to.
CREATE OR REPLACE FUNCTION spool_result(retry_first interval, retry_most interval, warning interval, life interval, wanted text, to_destination text,
    with_token bigint, who text, down boolean, not_before interval, warned boolean, found_clean boolean, a_verdict text,
    a_scanner text, an_engine text, a_signatures text, numbers integer[], dispositions integer[], codes integer[], told text[],
    reached boolean DEFAULT true, owns boolean[] DEFAULT NULL, reasons text[] DEFAULT NULL, a_signature text DEFAULT '', moves_epoch bigint DEFAULT 0,
    a_score integer DEFAULT NULL, a_symbols text DEFAULT '', OUT status integer, OUT removed boolean) LANGUAGE plpgsql AS $f$
DECLARE
    q record;
    m record;
    one record;
    settled integer;
    remaining integer;
    heard boolean := false;
    tried boolean := false;     -- and somebody is to be tried again later
    fails boolean;              -- that is an attempt of the entry
    all_warned boolean;
    at_now timestamptz;
    due timestamptz;
    attend timestamptz;
BEGIN
    SELECT arrived_at, scanned, dsn INTO m FROM spool_message WHERE id = wanted FOR UPDATE;
    SELECT token, leased, due_at, attempts, expiries, delay_warned, bounce INTO q FROM spool_queue
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
            o.code, o.said, o.own, coalesce(o.reason, '') AS reason, array_agg(r.number ORDER BY r.number) AS numbers
        FROM unnest(numbers, dispositions, codes, told, owns, reasons) AS o(number, disposition, code, said, own, reason)
        JOIN spool_recipient r ON r.id = wanted AND r.number = o.number AND r.destination = to_destination AND r.state = 'queued'
        WHERE o.disposition IN (1, 2, 3, 4) GROUP BY o.disposition, o.code, o.said, o.own, coalesce(o.reason, '')
    LOOP
        heard := true;
        tried := tried OR one.disposition = 3;
        UPDATE spool_recipient r SET state = CASE WHEN one.disposition = 3 THEN 'queued' ELSE one.what END, attempts = r.attempts + 1,
            tried_at = at_now, reply = one.said, delay_warned = r.delay_warned OR warned AND one.disposition = 3 WHERE r.id = wanted AND r.number = ANY (one.numbers);
        INSERT INTO spool_event (id, destination, token, who, what, recipients, reply, own)
            VALUES (wanted, to_destination, with_token, who, one.what, cardinality(one.numbers), one.said, one.own);
        IF one.disposition <> 3 THEN
            PERFORM spool_audit(wanted, one.numbers, who, CASE one.disposition WHEN 2 THEN 'bounced' ELSE one.what END ||
                CASE WHEN one.reason <> '' THEN ':' || one.reason ELSE '' END, one.code, one.said, CASE WHEN one.own THEN '' ELSE to_destination END,
                a_verdict, a_signature, a_scanner, an_engine, a_signatures);
            PERFORM spool_count(0, 0, 0, CASE one.disposition WHEN 1 THEN cardinality(one.numbers) ELSE 0 END,
                CASE one.disposition WHEN 2 THEN cardinality(one.numbers) ELSE 0 END,
                CASE one.disposition WHEN 4 THEN cardinality(one.numbers) ELSE 0 END, 0);
        END IF;
    END LOOP;
    FOR one IN
        SELECT o.destination, array_agg(r.number ORDER BY r.number) AS numbers
        FROM unnest(numbers, dispositions, told) AS o(number, disposition, destination)
        JOIN spool_recipient r ON r.id = wanted AND r.number = o.number AND r.destination = to_destination AND r.state = 'queued'
        WHERE o.disposition = 6 AND o.destination NOT IN ('', to_destination) GROUP BY o.destination ORDER BY o.destination
    LOOP
        heard := true;
        INSERT INTO spool_event (id, destination, token, who, what, recipients, reply, own)
            VALUES (wanted, to_destination, with_token, who, 'rerouted', cardinality(one.numbers), format('to %s by policy %s', one.destination, moves_epoch), true);
        PERFORM spool_move(wanted, to_destination, one.numbers, one.destination, false, moves_epoch);
    END LOOP;
    FOR one IN
        SELECT coalesce(nullif(o.reason, ''), 'policy') AS reason, array_agg(o.number) AS numbers FROM unnest(numbers, dispositions, reasons) AS o(number, disposition, reason)
        JOIN spool_recipient r ON r.id = wanted AND r.number = o.number AND r.destination = to_destination AND r.state = 'queued'
        WHERE o.disposition = 7 GROUP BY 1
    LOOP
        heard := true;
        -- What this scan found; the message keeps it.
        UPDATE spool_message SET verdict = a_verdict, scanner = a_scanner, engine = an_engine, signatures = a_signatures WHERE id = wanted AND a_verdict <> '';
        INSERT INTO spool_event (id, destination, token, who, what, recipients, reply, own)
            VALUES (wanted, to_destination, with_token, who, 'quarantined', cardinality(one.numbers), trim(one.reason || ' ' || a_signature), true);
        PERFORM quarantine_mark(array_fill(wanted, ARRAY[cardinality(one.numbers)]), one.numbers, array_fill(one.reason, ARRAY[cardinality(one.numbers)]),
            array_fill(a_score, ARRAY[cardinality(one.numbers)]), array_fill(a_symbols, ARRAY[cardinality(one.numbers)]),
            array_fill(a_signature, ARRAY[cardinality(one.numbers)]), true);
    END LOOP;
    PERFORM quarantine_arrive(wanted, who, false) WHERE 7 = ANY (dispositions);
    removed := removed OR NOT EXISTS (SELECT FROM spool_message WHERE id = wanted);
    SELECT count(*) FILTER (WHERE state <> 'queued' AND number = ANY (numbers) AND tried_at = at_now), count(*) FILTER (WHERE state = 'queued')
        INTO settled, remaining FROM spool_recipient WHERE id = wanted AND destination = to_destination;
    IF remaining > 0 THEN
        due := CASE WHEN NOT tried THEN at_now WHEN not_before > '0' THEN at_now + not_before
                    ELSE at_now + spool_pause(q.attempts + 1, retry_first, retry_most) END;
        -- Where some are settled and the others come soon, as those of a list that takes several transactions, there was no failure. Of recipients with
        -- several senders, who come with a lease of each, all were tried once with the last of these: that one counts.
        fails := tried AND NOT (not_before > '0' AND (settled > 0 OR EXISTS (SELECT FROM spool_recipient r
            WHERE r.id = wanted AND r.destination = to_destination AND r.state = 'queued' AND r.attempts < (SELECT min(t.attempts) FROM spool_recipient t
                WHERE t.id = wanted AND t.destination = to_destination AND t.tried_at = at_now))));
        -- A lease has warned one sender.
        all_warned := q.delay_warned OR warned AND NOT EXISTS (SELECT FROM spool_recipient r
            WHERE r.id = wanted AND r.destination = to_destination AND r.state = 'queued' AND NOT r.delay_warned);
        attend := spool_attend(m.arrived_at, m.dsn OR all_warned, warning, life);
        UPDATE spool_queue SET leased = false, due_at = due, attempts = q.attempts + fails::integer,
            expiries = CASE WHEN heard THEN 0 ELSE q.expiries END, delay_warned = all_warned,
            -- What is to come back does so to its last recipient; otherwise one that is still here after its time is tried at its pace.
            attend_at = CASE WHEN q.bounce THEN due ELSE greatest(attend, at_now + retry_first, CASE WHEN attend <= at_now THEN due END) END
            WHERE id = wanted AND destination = to_destination;
    END IF;
    IF settled > 0 THEN
        removed := spool_settle(wanted, settled);
    END IF;
    IF down OR reached OR 1 = ANY (dispositions) THEN
        -- Its words are what who waits for it was told; where nobody does, who failed. Others were told something else.
        PERFORM spool_reached(to_destination, down, coalesce(told[array_position(dispositions, 3)], told[array_position(dispositions, 2)], ''),
            retry_first, retry_most);
    END IF;
    -- There is room in the destination again.
    INSERT INTO spool_wake SELECT l.destination, l.scanned, at_now FROM spool_lane l WHERE l.destination = to_destination;
    status := 0;
END $f$;

-- Results of leases with which every recipient asked about was delivered. firsts, amounts: which outcomes are whose, o_places the other way. Where a
-- message is done with by that, as most are, they are taken together; the others one by one, as spool_result() does. Answers as of
-- spool_result(), in the order given.
CREATE OR REPLACE FUNCTION spool_delivered(retry_first interval, retry_most interval, warning interval, life interval, ids text[], destinations text[],
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
        FROM unnest(ids, destinations, tokens, verdicts, firsts, amounts) WITH ORDINALITY AS r(id, destination, token, verdict, first, amount, place)
        JOIN spool_queue q ON q.id = r.id AND q.destination = r.destination AND q.token = r.token AND q.leased AND q.due_at > at_now AND NOT q.bounce
        JOIN spool_message m ON m.id = r.id AND m.recipients = r.amount AND (m.scanned OR r.verdict = '')
        WHERE r.place = array_position(ids, r.id) AND r.amount = (SELECT count(*) FROM spool_recipient p
            WHERE p.id = r.id AND p.number = ANY (numbers[r.first:r.first + r.amount - 1]) AND p.destination = r.destination AND p.state = 'queued');
    IF done <> '{}' THEN
        INSERT INTO spool_event (id, destination, token, who, what, recipients, reply, own)
            SELECT ids[o.place], destinations[o.place], tokens[o.place], whos[o.place], 'delivered', count(*), o.said, false
            FROM unnest(o_places, told) AS o(place, said) WHERE o.place = ANY (done) GROUP BY o.place, o.said;
        INSERT INTO audit AS a (id, recipient_index, time, node, worker, listener, client, helo, tls, sender, recipient, message_id, size,
            disposition, reply_code, reply, verdict, signature, scanner, engine, signatures, next_hop, next_hop_reply, duration_ms, override)
            SELECT m.id, p.number, clock_timestamp(), CASE WHEN m.node <> '' THEN m.node ELSE whos[o.place] END, 0, m.listener, m.client, m.helo, m.tls, m.sender, p.address, m.message_id,
                m.size, 'delivered', o.code, o.said, m.verdict, '', m.scanner, m.engine, m.signatures, left(destinations[o.place], 512),
                o.said, (extract(epoch FROM clock_timestamp() - m.arrived_at) * 1000)::bigint, m.override
            FROM unnest(o_places, numbers, codes, told) AS o(place, number, code, said)
            JOIN spool_message m ON m.id = ids[o.place] JOIN spool_recipient p ON p.id = m.id AND p.number = o.number
            WHERE o.place = ANY (done) ORDER BY m.id, p.number
            ON CONFLICT (id, recipient_index) DO UPDATE SET time = EXCLUDED.time, disposition = EXCLUDED.disposition,
                reply_code = EXCLUDED.reply_code, reply = EXCLUDED.reply, verdict = EXCLUDED.verdict, scanner = EXCLUDED.scanner,
                engine = EXCLUDED.engine, signatures = EXCLUDED.signatures, next_hop = EXCLUDED.next_hop,
                next_hop_reply = EXCLUDED.next_hop_reply, duration_ms = EXCLUDED.duration_ms,
                override = CASE WHEN EXCLUDED.override <> 0 THEN EXCLUDED.override ELSE a.override END;
        PERFORM spool_count(0, 0, 0, count(*), 0, 0, 0) FROM unnest(o_places) AS o(place) WHERE o.place = ANY (done);
        PERFORM spool_forget(gone);
        DELETE FROM spool_destination d WHERE d.destination = ANY (SELECT destinations[n] FROM unnest(done) AS n);
        INSERT INTO spool_wake SELECT l.destination, l.scanned, at_now FROM spool_lane l
            WHERE l.destination = ANY (SELECT destinations[n] FROM unnest(done) AS n);
        RETURN QUERY SELECT n, 0, true FROM unnest(done) AS n;
    END IF;
    IF cardinality(done) = cardinality(ids) THEN
        RETURN;
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
