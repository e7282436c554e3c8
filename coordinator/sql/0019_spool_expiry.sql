-- 0019_spool_expiry.sql - leases that end without a word again and again, and results that say nothing of their destination

-- Leases in a row that ended without a word: their edge died, or what it had to say could not be written down. Each counts as an attempt. After
-- the first the mail is leased again at once, as edges do die; after each further one it waits, as it may be what they die of.
ALTER TABLE spool_queue ADD COLUMN expiries integer NOT NULL DEFAULT 0;
CREATE INDEX spool_queue_expiries ON spool_queue (expiries) WHERE expiries > 1;

DROP FUNCTION spool_claim, spool_result, spool_sums;

-- Leases these entries, which are due and which the caller has locked; one that has to wait for its expiries does so instead, and is not returned.
-- A token more in either case, so that nothing of an earlier lease counts.
CREATE FUNCTION spool_lease(ids text[], destinations text[], who text, at_now timestamptz, lease interval, retry_first interval,
    retry_most interval) RETURNS TABLE (id text, destination text) LANGUAGE plpgsql AS $f$
BEGIN
    RETURN QUERY
    WITH wanted AS (
        SELECT g.id, g.destination, g.place, q.leased AS expired, q.leased AND q.expiries > 0 AS waits,
            CASE WHEN q.leased AND q.expiries > 0 THEN at_now + spool_pause(q.expiries, retry_first, retry_most) ELSE at_now + lease END AS due
            FROM unnest(ids, destinations) WITH ORDINALITY AS g(id, destination, place)
            JOIN spool_queue q ON q.id = g.id AND q.destination = g.destination
    ), changed AS (
        UPDATE spool_queue q SET leased = NOT w.waits, token = q.token + 1, due_at = w.due, holder = who,
            attempts = q.attempts + w.expired::integer, expiries = q.expiries + w.expired::integer,
            maybe_duplicate = q.maybe_duplicate OR w.expired,
            attend_at = CASE WHEN w.waits THEN greatest(q.attend_at, w.due) ELSE q.attend_at END
            FROM wanted w WHERE q.id = w.id AND q.destination = w.destination
            RETURNING q.id, q.destination, w.place, q.leased
    )
    SELECT c.id, c.destination FROM changed c WHERE c.leased ORDER BY c.place;
END $f$;

-- Leases up to room rows, unscanned ones only where a scanner can be had. One row for each recipient to deliver, the lease's own columns in
-- the first of each lease (first).
CREATE FUNCTION spool_claim(who text, room integer, scanners boolean, per_destination integer, lease interval, retry_first interval,
    retry_most interval)
RETURNS TABLE (first boolean, id text, destination text, token bigint, envelope bytea, attempts integer, expiries integer, age_ms bigint,
    maybe_duplicate boolean, delay_warned boolean, bounce boolean, dsn boolean, scanned boolean, verdict text, scanner text, engine text,
    signatures text, size bigint, tries integer, packed bytea) LANGUAGE plpgsql AS $f$
DECLARE
    at_now timestamptz := clock_timestamp();
    lane record;
    kind boolean;
    got_ids text[] := '{}';
    got_destinations text[] := '{}';
    picked text[];
    share integer;
    attend integer;
    free integer;
BEGIN
    PERFORM spool_take_wakes();
    -- What needs attention whether its destination can be reached or not: at most half, of an odd room now the lesser and now the greater, so that
    -- the end of much old mail delays no new mail. Where no lane has its turn there is none to delay.
    attend := CASE WHEN EXISTS (SELECT FROM spool_lane l WHERE (l.scanned OR scanners) AND l.turn_at <= at_now) THEN floor(room * 0.5 + random())
                   ELSE (room + 1) / 2 END;
    FOREACH kind IN ARRAY CASE WHEN scanners THEN '{t,f}'::boolean[] ELSE '{t}' END LOOP
        FOR lane IN
            SELECT q.id, q.destination FROM spool_queue q WHERE NOT q.held AND q.scanned = kind AND q.attend_at <= at_now
                AND NOT (q.leased AND q.due_at > at_now)
                ORDER BY q.attend_at LIMIT greatest(0, attend - cardinality(got_ids)) FOR UPDATE SKIP LOCKED
        LOOP
            got_ids := got_ids || lane.id;
            got_destinations := got_destinations || lane.destination;
        END LOOP;
    END LOOP;
    SELECT coalesce(array_agg(l.id), '{}'), coalesce(array_agg(l.destination), '{}') INTO got_ids, got_destinations
        FROM spool_lease(got_ids, got_destinations, who, at_now, lease, retry_first, retry_most) AS l;
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
            picked := ARRAY(SELECT l.id FROM spool_lease(picked, array_fill(lane.destination, ARRAY[cardinality(picked)]), who, at_now, lease,
                retry_first, retry_most) AS l);
            got_ids := got_ids || picked;
            got_destinations := got_destinations || array_fill(lane.destination, ARRAY[cardinality(picked)]);
        END IF;
        UPDATE spool_lane l SET turn_at = spool_next_turn(lane.destination, lane.scanned, free - cardinality(picked), at_now)
            WHERE l.destination = lane.destination AND l.scanned = lane.scanned;
    END LOOP;
    RETURN QUERY
        SELECT l.first, q.id, q.destination, q.token, CASE WHEN l.first THEN m.envelope END, q.attempts, q.expiries,
            greatest(0, (extract(epoch FROM at_now - m.arrived_at) * 1000)::bigint), q.maybe_duplicate, q.delay_warned, q.bounce, m.dsn, m.scanned,
            m.verdict, m.scanner, m.engine, m.signatures, m.size, l.attempts, l.packed
        FROM (SELECT g.place, g.id, g.destination, r.number, r.attempts, r.packed, row_number() OVER (PARTITION BY g.place ORDER BY r.number) = 1 AS first
            FROM unnest(got_ids, got_destinations) WITH ORDINALITY AS g(id, destination, place)
            JOIN spool_recipient r ON r.id = g.id AND r.destination = g.destination AND r.state = 'queued') AS l
        JOIN spool_queue q ON q.id = l.id AND q.destination = l.destination
        JOIN spool_message m ON m.id = l.id
        ORDER BY l.place, l.number;
END $f$;

-- The result of one lease. dispositions as SpoolDisposition; told: what each recipient's reply was. status: 0 taken now, 1 taken before,
-- 4 the lease is not (or no longer) the asker's. removed: nothing of the message is left. down: no host of the destination could be reached;
-- reached: one answered (whoever was delivered was). With neither the edge had a reason of its own, which says nothing of the destination.
CREATE FUNCTION spool_result(retry_first interval, retry_most interval, warning interval, life interval, wanted text, to_destination text,
    with_token bigint, who text, down boolean, not_before interval, warned boolean, found_clean boolean, a_verdict text,
    a_scanner text, an_engine text, a_signatures text, numbers integer[], dispositions integer[], codes integer[], told text[],
    reached boolean DEFAULT true, OUT status integer, OUT removed boolean) LANGUAGE plpgsql AS $f$
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
            expiries = CASE WHEN tried THEN 0 ELSE q.expiries END, delay_warned = q.delay_warned OR warned,
            -- What is to come back does so to its last recipient; otherwise one that is still here after its time is tried at its pace.
            attend_at = CASE WHEN q.bounce THEN due
                             ELSE greatest(spool_attend(m.arrived_at, m.dsn OR q.delay_warned OR warned, warning, life), at_now + retry_first) END
            WHERE id = wanted AND destination = to_destination;
    END IF;
    IF settled > 0 THEN
        removed := spool_settle(wanted, settled);
    END IF;
    IF down OR reached OR 1 = ANY (dispositions) THEN
        PERFORM spool_reached(to_destination, down, coalesce(told[1], ''), retry_first, retry_most);
    END IF;
    -- There is room in the destination again.
    INSERT INTO spool_wake SELECT l.destination, l.scanned, at_now FROM spool_lane l WHERE l.destination = to_destination;
    status := 0;
END $f$;

-- difference: recipients that were stored and are neither settled nor here. suspects: entries that wait because leases of them ended without a word.
CREATE FUNCTION spool_sums() RETURNS TABLE (messages numeric, bytes numeric, difference numeric, down bigint, suspects bigint) LANGUAGE sql STABLE
    SET enable_seqscan = on SET enable_hashjoin = on AS $f$
    SELECT coalesce(sum(messages), 0), coalesce(sum(bytes), 0), coalesce(sum(recipients - delivered - failed - discarded - abandoned), 0)
        - (SELECT count(*) FROM spool_recipient WHERE state = 'queued'),
        (SELECT count(*) FROM spool_destination), (SELECT count(*) FROM spool_queue WHERE expiries > 1) FROM spool_usage
$f$;
