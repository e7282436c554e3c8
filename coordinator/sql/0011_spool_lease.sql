-- 0011_spool_lease.sql - who delivers what: claims, renewals, results

-- The pause before the next try, or of a destination's back-off: doubling, with jitter so that what failed together does not come together.
CREATE FUNCTION spool_pause(tries integer, first interval, most interval) RETURNS interval LANGUAGE sql VOLATILE AS $f$
    SELECT least(first * power(2, least(greatest(tries, 1) - 1, 30)), most) * (0.9 + 0.2 * random())
$f$;

-- What others made due since the last claim. A destination in trouble stays asleep.
CREATE FUNCTION spool_take_wakes() RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    WITH taken AS (
        DELETE FROM spool_wake WHERE ctid = ANY (ARRAY(SELECT ctid FROM spool_wake LIMIT 5000 FOR UPDATE SKIP LOCKED))
            RETURNING destination, scanned, at
    )
    INSERT INTO spool_lane AS l (destination, scanned, turn_at)
        SELECT t.destination, t.scanned, greatest(min(t.at), max(d.down_until)) FROM taken t LEFT JOIN spool_destination d USING (destination)
        GROUP BY t.destination, t.scanned ORDER BY t.destination, t.scanned
        ON CONFLICT (destination, scanned) DO UPDATE SET turn_at = EXCLUDED.turn_at WHERE l.turn_at > EXCLUDED.turn_at;
END $f$;

-- Ids of one lane to be leased now: three quarters the oldest, the rest the newest, so that a backlog does not starve new mail.
CREATE FUNCTION spool_pick(lane_destination text, lane_scanned boolean, most integer, at_now timestamptz) RETURNS SETOF text
LANGUAGE plpgsql AS $f$
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
END $f$;

-- When this lane's turn comes again.
CREATE FUNCTION spool_next_turn(lane_destination text, lane_scanned boolean, free integer, at_now timestamptz) RETURNS timestamptz
LANGUAGE plpgsql AS $f$
BEGIN
    RETURN (SELECT CASE WHEN d.down_until > at_now THEN d.down_until
                WHEN due.at <= at_now AND free <= 0 THEN coalesce((SELECT min(due_at) FROM spool_queue
                    WHERE destination = lane_destination AND leased AND due_at > at_now), at_now)
                WHEN due.at <= at_now THEN clock_timestamp()
                ELSE coalesce(due.at, 'infinity') END
    FROM (SELECT (SELECT q.due_at FROM spool_queue q WHERE q.destination = lane_destination AND q.scanned = lane_scanned AND NOT q.held
                  ORDER BY q.due_at LIMIT 1) AS at) AS due LEFT JOIN spool_destination d ON d.destination = lane_destination);
END $f$;

-- Leases up to room rows, unscanned ones only where a scanner can be had. One row for each recipient to deliver, the lease's own columns in
-- the first of each lease (first).
CREATE FUNCTION spool_claim(who text, room integer, scanners boolean, per_destination integer, lease interval)
RETURNS TABLE (first boolean, id text, destination text, token bigint, envelope bytea, attempts integer, age_ms bigint, maybe_duplicate boolean,
    delay_warned boolean, bounce boolean, dsn boolean, scanned boolean, verdict text, scanner text, engine text, signatures text, size bigint, tries integer,
    packed bytea) LANGUAGE plpgsql AS $f$
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
END $f$;

-- Milliseconds until something is due for such a claim; 0: now; NULL: nothing is.
CREATE FUNCTION spool_due_in(scanners boolean) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $f$
BEGIN
    RETURN (SELECT CASE WHEN next.at < 'infinity' THEN greatest(0, ceil(extract(epoch FROM next.at - clock_timestamp()) * 1000))::bigint END
    FROM (SELECT least(
        (SELECT min(turn_at) FROM spool_lane WHERE scanned OR scanners),
        (SELECT min(at) FROM spool_wake WHERE scanned OR scanners),
        (SELECT min(attend_at) FROM spool_queue WHERE NOT held AND scanned AND attend_at > now()),
        (SELECT min(attend_at) FROM spool_queue WHERE NOT held AND NOT scanned AND scanners AND attend_at > now())) AS at) AS next);
END $f$;

-- The leases that are still alive and whose tokens are the newest, with a new end.
CREATE FUNCTION spool_renew(ids text[], destinations text[], tokens bigint[], lease interval)
RETURNS TABLE (id text, destination text, token bigint) LANGUAGE plpgsql AS $f$
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
END $f$;

-- Leases that cannot reach who asked for them, as if never given.
CREATE FUNCTION spool_give_back(ids text[], destinations text[], tokens bigint[]) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    WITH back AS (
        UPDATE spool_queue q SET leased = false, due_at = clock_timestamp() FROM unnest(ids, destinations, tokens) AS h(id, destination, token)
            WHERE q.id = h.id AND q.destination = h.destination AND q.token = h.token AND q.leased RETURNING q.destination, q.scanned, q.due_at
    )
    INSERT INTO spool_wake SELECT destination, scanned, min(due_at) FROM back GROUP BY destination, scanned;
END $f$;

-- Final dispositions, as rows of the audit. They win over what the edge reported when it took the message.
CREATE FUNCTION spool_audit(wanted text, numbers integer[], who text, what text, code integer, said text, hop text) RETURNS void
LANGUAGE plpgsql AS $f$
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
END $f$;

-- A destination that could not be reached, or was.
CREATE FUNCTION spool_reached(wanted text, down boolean, said text, first interval, most interval) RETURNS void LANGUAGE plpgsql AS $f$
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
CREATE FUNCTION spool_settle(wanted text, settled integer) RETURNS boolean LANGUAGE plpgsql AS $f$
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

-- The result of one lease. dispositions as SpoolDisposition; told: what each recipient's reply was. status: 0 taken now, 1 taken before,
-- 4 the lease is not (or no longer) the asker's. removed: nothing of the message is left.
CREATE FUNCTION spool_result(retry_first interval, retry_most interval, warning interval, life interval, wanted text, to_destination text,
    with_token bigint, who text, down boolean, not_before interval, warned boolean, found_clean boolean, a_verdict text, a_scanner text,
    an_engine text, a_signatures text, numbers integer[], dispositions integer[], codes integer[], told text[],
    OUT status integer, OUT removed boolean) LANGUAGE plpgsql AS $f$
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
END $f$;
