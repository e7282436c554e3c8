-- functions/spool_lease.sql - who delivers what: claims and renewals

-- The pause before the next try, or of a destination's back-off: doubling, with jitter so that what failed together does not come together.
CREATE OR REPLACE FUNCTION spool_pause(tries integer, first interval, most interval) RETURNS interval LANGUAGE sql VOLATILE AS $f$
    SELECT least(first * power(2, least(greatest(tries, 1) - 1, 30)), most) * (0.9 + 0.2 * random())
$f$;

-- What others made due since the last claim. A destination in trouble stays asleep. Of the sources of what is there a lane knows two.
CREATE OR REPLACE FUNCTION spool_take_wakes() RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    WITH taken AS (
        DELETE FROM spool_wake WHERE ctid = ANY (ARRAY(SELECT ctid FROM spool_wake LIMIT 5000 FOR UPDATE SKIP LOCKED))
            RETURNING destination, scanned, at, nullif(slot, -1) AS slot
    )
    INSERT INTO spool_lane AS l (destination, scanned, turn_at, slot, slot_other)
        SELECT t.destination, t.scanned, greatest(min(t.at), max(d.down_until)), coalesce(min(t.slot), -1), coalesce(max(t.slot), -1)
        FROM taken t LEFT JOIN spool_destination d USING (destination)
        GROUP BY t.destination, t.scanned ORDER BY t.destination, t.scanned
        ON CONFLICT (destination, scanned) DO UPDATE SET turn_at = least(l.turn_at, EXCLUDED.turn_at),
                slot_other = CASE WHEN l.slot_other <> l.slot OR EXCLUDED.slot = -1 THEN l.slot_other WHEN EXCLUDED.slot <> l.slot THEN EXCLUDED.slot ELSE EXCLUDED.slot_other END
            WHERE l.turn_at > EXCLUDED.turn_at OR l.slot_other = l.slot AND EXCLUDED.slot <> -1 AND (EXCLUDED.slot <> l.slot OR EXCLUDED.slot_other <> l.slot);
END $f$;

-- Lanes whose turn has come, locked, up to so many. Where there are more (crowded), half of them are those that wait for longest, so that no lane waits for ever, and in
-- the others sources take turns, so that who writes to thousands of destinations delays himself; a lane that several write to comes with the first of the two that
-- it knows. others: as in spool_claim().
-- A range in the index's own order, not slot = s.slot ORDER BY turn_at: where statistics know one slot alone, a plan would look for each of the others in all lanes by
-- their turn. Of both columns, so that it ends at the first whose turn has not come.
-- count(*), as EXISTS might be hashed, with all leases of the cluster read for it. OFFSET 0: so that each is found by its key.
CREATE OR REPLACE FUNCTION spool_due_lanes(who text, most integer, scanners boolean, others boolean, crowded boolean, at_now timestamptz)
RETURNS TABLE (destination text, scanned boolean) LANGUAGE plpgsql AS $f$
BEGIN
    IF others OR NOT crowded THEN
        RETURN QUERY SELECT l.destination, l.scanned FROM spool_lane l WHERE (l.scanned OR scanners) AND l.turn_at <= at_now
            AND (NOT others OR 0 = (SELECT count(*) FROM spool_queue q
                WHERE q.destination = l.destination AND q.leased AND q.due_at > at_now AND q.holder = who))
            ORDER BY l.turn_at LIMIT most FOR UPDATE SKIP LOCKED;
        RETURN;
    END IF;
    RETURN QUERY SELECT l.destination, l.scanned
        FROM (SELECT b.destination, b.scanned FROM (
                SELECT c.destination, c.scanned, row_number() OVER (ORDER BY min(c.turn), min(c.turn_at)) AS place FROM (
                    SELECT h.destination, h.scanned, h.turn_at, row_number() OVER (PARTITION BY s.slot ORDER BY h.turn_at) AS turn
                    FROM (SELECT g::smallint FROM generate_series(0, 63) AS g) AS s(slot) CROSS JOIN LATERAL (
                        (SELECT n.destination, n.scanned, n.turn_at FROM spool_lane n WHERE (n.slot, n.turn_at) >= (s.slot, '-infinity')
                            AND (n.slot, n.turn_at) <= (s.slot, at_now) AND (n.scanned OR scanners) ORDER BY n.slot, n.turn_at LIMIT most)
                        UNION ALL
                        (SELECT n.destination, n.scanned, n.turn_at FROM spool_lane n WHERE n.slot_other <> n.slot AND (n.slot_other, n.turn_at) >= (s.slot, '-infinity')
                            AND (n.slot_other, n.turn_at) <= (s.slot, at_now) AND (n.scanned OR scanners) ORDER BY n.slot_other, n.turn_at LIMIT most)) AS h) AS c
                GROUP BY c.destination, c.scanned
                UNION ALL
                SELECT o.destination, o.scanned, row_number() OVER (ORDER BY o.turn_at) AS place FROM (SELECT n.destination, n.scanned, n.turn_at FROM spool_lane n
                    WHERE n.turn_at <= at_now AND (n.scanned OR scanners) ORDER BY n.turn_at LIMIT 4 * most) AS o) AS b
            GROUP BY b.destination, b.scanned ORDER BY min(b.place), random() LIMIT 4 * most) AS w
        CROSS JOIN LATERAL (SELECT d.destination, d.scanned FROM spool_lane d WHERE d.destination = w.destination AND d.scanned = w.scanned AND d.turn_at <= at_now
            OFFSET 0 FOR UPDATE SKIP LOCKED) AS l LIMIT most;
END $f$;

-- The place behind `last`, up to `till`, of sources that have anything in a lane, and when its first is due: one step in the index, however much it has.
CREATE OR REPLACE FUNCTION spool_next_slot(lane_destination text, lane_scanned boolean, last integer, till integer, OUT slot smallint, OUT due_at timestamptz)
LANGUAGE plpgsql AS $f$
BEGIN
    SELECT q.slot, q.due_at INTO slot, due_at FROM spool_queue q WHERE q.destination = lane_destination AND q.scanned = lane_scanned AND NOT q.held
        AND q.slot > last AND q.slot <= till ORDER BY q.slot, q.due_at LIMIT 1;
END $f$;

-- Places where something is due, at most so many, from anywhere on and around.
CREATE OR REPLACE FUNCTION spool_slots(lane_destination text, lane_scanned boolean, most integer, at_now timestamptz) RETURNS smallint[] LANGUAGE plpgsql AS $f$
DECLARE
    start CONSTANT integer := floor(random() * 64);
    till integer := 32767;
    last integer := start - 1;
    found_slot smallint;
    found_due timestamptz;
    slots smallint[] := '{}';
BEGIN
    LOOP
        SELECT n.slot, n.due_at INTO found_slot, found_due FROM spool_next_slot(lane_destination, lane_scanned, last, till) AS n;
        IF found_slot IS NULL THEN
            EXIT WHEN till < 32767 OR start = 0;
            last := -1;
            till := start - 1;
            CONTINUE;
        END IF;
        IF found_due <= at_now THEN
            slots := slots || found_slot;
            EXIT WHEN cardinality(slots) >= most;
        END IF;
        last := found_slot;
    END LOOP;
    RETURN slots;
END $f$;

-- When something of a lane is due: now, or the earliest; NULL: there is nothing.
CREATE OR REPLACE FUNCTION spool_lane_due(lane_destination text, lane_scanned boolean, at_now timestamptz) RETURNS timestamptz LANGUAGE plpgsql AS $f$
DECLARE
    last integer := -1;
    found_slot smallint;
    found_due timestamptz;
    earliest timestamptz;
BEGIN
    LOOP
        SELECT n.slot, n.due_at INTO found_slot, found_due FROM spool_next_slot(lane_destination, lane_scanned, last, 32767) AS n;
        EXIT WHEN found_slot IS NULL;
        earliest := least(earliest, found_due);
        EXIT WHEN earliest <= at_now;
        last := found_slot;
    END LOOP;
    RETURN earliest;
END $f$;

-- Ids of one lane to be leased now: three quarters the oldest, the rest the newest, so that a backlog does not starve new mail. Of several sources each gives
-- its first before any gives its second, so that who filled the lane delays himself; whose are left out is chance, as by age it would always be those who came last.
-- For what others have locked just now something else is looked for, once.
CREATE OR REPLACE FUNCTION spool_pick(lane_destination text, lane_scanned boolean, most integer, at_now timestamptz) RETURNS SETOF text
LANGUAGE plpgsql AS $f$
DECLARE
    newest integer;
    slots smallint[] := spool_slots(lane_destination, lane_scanned, greatest(4, 2 * most), at_now); -- a choice is enough
    depth integer;
    oldest text[];
    others text[];
    tried text[] := '{}';
    wanted integer := most;
    got integer;
BEGIN
    FOR pass IN 1 .. 2 LOOP
        newest := floor(wanted * 0.25 + random());
        depth := ceil(2.0 * wanted / greatest(2, cardinality(slots)));
        oldest := ARRAY(SELECT c.id FROM (SELECT h.id, h.due_at, row_number() OVER (PARTITION BY s.slot ORDER BY h.due_at) AS turn
                FROM unnest(slots) AS s(slot) CROSS JOIN LATERAL (SELECT q.id, q.due_at FROM spool_queue q WHERE q.destination = lane_destination
                    AND q.scanned = lane_scanned AND q.slot = s.slot AND NOT q.held AND q.due_at <= at_now AND q.id <> ALL (tried)
                    ORDER BY q.due_at LIMIT depth) AS h) AS c
            ORDER BY c.turn, random() LIMIT wanted - newest);
        others := '{}';
        IF newest > 0 THEN
            others := ARRAY(SELECT c.id FROM (SELECT h.id, h.due_at, row_number() OVER (PARTITION BY s.slot ORDER BY h.due_at DESC) AS turn
                    FROM unnest(slots) AS s(slot) CROSS JOIN LATERAL (SELECT q.id, q.due_at FROM spool_queue q WHERE q.destination = lane_destination
                        AND q.scanned = lane_scanned AND q.slot = s.slot AND NOT q.held AND q.due_at <= at_now AND q.id <> ALL (tried)
                        ORDER BY q.due_at DESC LIMIT depth) AS h) AS c
                WHERE c.id <> ALL (oldest) ORDER BY c.turn, c.due_at DESC LIMIT newest);
        END IF;
        -- Only now: a look must not keep others from what it does not take. OFFSET 0: so that each is found by its key; as a join, a plan may read the whole lane.
        RETURN QUERY SELECT l.id FROM unnest(oldest || others) WITH ORDINALITY AS w(id, place) CROSS JOIN LATERAL (SELECT q.id FROM spool_queue q
            WHERE q.id = w.id AND q.destination = lane_destination AND q.scanned = lane_scanned AND NOT q.held AND q.due_at <= at_now
            OFFSET 0 FOR UPDATE SKIP LOCKED) AS l ORDER BY w.place;
        GET DIAGNOSTICS got = ROW_COUNT;
        EXIT WHEN got = cardinality(oldest || others);
        wanted := wanted - got; -- somebody else holds the rest
        tried := tried || oldest || others;
    END LOOP;
END $f$;

-- When this lane's turn comes again. OFFSET 0: so that it is looked up once.
CREATE OR REPLACE FUNCTION spool_next_turn(lane_destination text, lane_scanned boolean, free integer, at_now timestamptz) RETURNS timestamptz
LANGUAGE plpgsql AS $f$
BEGIN
    RETURN (SELECT CASE WHEN d.down_until > at_now THEN d.down_until
                WHEN due.at <= at_now AND free <= 0 THEN coalesce((SELECT min(due_at) FROM spool_queue
                    WHERE destination = lane_destination AND leased AND due_at > at_now), at_now)
                WHEN due.at <= at_now THEN clock_timestamp()
                ELSE coalesce(due.at, 'infinity') END
    FROM (SELECT spool_lane_due(lane_destination, lane_scanned, at_now) AS at OFFSET 0) AS due LEFT JOIN spool_destination d ON d.destination = lane_destination);
END $f$;

-- Leases these entries, which are due and which the caller has locked; one that has to wait for its expiries does so instead, and is not returned.
-- A token more in either case, so that nothing of an earlier lease counts.
CREATE OR REPLACE FUNCTION spool_lease(ids text[], destinations text[], who text, at_now timestamptz, lease interval, retry_first interval,
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

-- Leases up to room rows, unscanned ones only where a scanner can be had; others: only for destinations of which who holds none, one for each, so
-- that what hangs cannot have all places. One row for each recipient to deliver, the lease's own columns in the first of each lease (first).
CREATE OR REPLACE FUNCTION spool_claim(who text, room integer, scanners boolean, per_destination integer, lease interval, retry_first interval,
    retry_most interval, others boolean DEFAULT false)
RETURNS TABLE (first boolean, id text, destination text, token bigint, envelope bytea, attempts integer, expiries integer, age_ms bigint,
    maybe_duplicate boolean, delay_warned boolean, bounce boolean, dsn boolean, scanned boolean, verdict text, scanner text, engine text,
    signatures text, size bigint, tries integer, packed bytea, routed_epoch bigint, routed_newest bigint) LANGUAGE plpgsql AS $f$
DECLARE
    at_now timestamptz := clock_timestamp();
    lane record;
    kind boolean;
    got_ids text[] := '{}';
    got_destinations text[] := '{}';
    picked text[];
    soonest timestamptz;
    lanes integer;      -- whose turn has come, up to room
    share integer;
    attend_scanned timestamptz;
    attend_unscanned timestamptz;
    attend integer;
    free integer;
    slots smallint[];
BEGIN
    PERFORM spool_take_wakes();
    SELECT (SELECT count(*) FROM (SELECT FROM spool_lane l WHERE (l.scanned OR scanners) AND l.turn_at <= at_now LIMIT room) AS c),
            (SELECT min(q.attend_at) FROM spool_queue q WHERE NOT q.held AND q.scanned),
            CASE WHEN scanners THEN (SELECT min(q.attend_at) FROM spool_queue q WHERE NOT q.held AND NOT q.scanned) END
        INTO lanes, attend_scanned, attend_unscanned;
    -- What needs attention whether its destination can be reached or not: at most half, of an odd room now the lesser and now the greater, so that
    -- the end of much old mail delays no new mail. Where no lane has its turn there is none to delay.
    attend := CASE WHEN others THEN 0 WHEN lanes > 0 THEN floor(room * 0.5 + random()) ELSE (room + 1) / 2 END;
    FOREACH kind IN ARRAY CASE WHEN attend_scanned <= at_now THEN '{t}'::boolean[] ELSE '{}' END ||
        CASE WHEN attend_unscanned <= at_now THEN '{f}'::boolean[] ELSE '{}' END
    LOOP
        FOR lane IN
            SELECT q.id, q.destination FROM spool_queue q WHERE NOT q.held AND q.scanned = kind AND q.attend_at <= at_now
                AND NOT (q.leased AND q.due_at > at_now)
                ORDER BY q.attend_at LIMIT greatest(0, attend - cardinality(got_ids)) FOR UPDATE SKIP LOCKED
        LOOP
            got_ids := got_ids || lane.id;
            got_destinations := got_destinations || lane.destination;
        END LOOP;
    END LOOP;
    IF got_ids <> '{}' THEN
        SELECT coalesce(array_agg(l.id), '{}'), coalesce(array_agg(l.destination), '{}') INTO got_ids, got_destinations
            FROM spool_lease(got_ids, got_destinations, who, at_now, lease, retry_first, retry_most) AS l;
    END IF;
    share := CASE WHEN others THEN 1 ELSE greatest(1, room / greatest(1, lanes)) END;
    FOR lane IN SELECT l.destination, l.scanned FROM spool_due_lanes(who, room, scanners, others, lanes >= room, at_now) AS l
    LOOP
        EXIT WHEN cardinality(got_ids) >= room;
        CONTINUE WHEN others AND lane.destination = ANY (got_destinations);
        -- The limit is of both lanes of a destination together, and of all coordinators.
        CONTINUE WHEN NOT pg_try_advisory_xact_lock(hashtextextended('weir lane ' || lane.destination, 0));
        SELECT CASE WHEN d.down_until > at_now THEN 0 WHEN d.failures > 0 THEN 1 ELSE per_destination END - (
            SELECT count(*) FROM spool_queue q WHERE q.destination = lane.destination AND q.leased AND q.due_at > at_now)
            INTO free FROM (SELECT) AS one LEFT JOIN spool_destination d ON d.destination = lane.destination;
        picked := '{}';
        soonest := at_now;
        IF free > 0 THEN
            picked := ARRAY(SELECT spool_pick(lane.destination, lane.scanned, least(free, share, room - cardinality(got_ids)), at_now));
            IF picked = '{}' THEN -- all that was looked at is locked: who claims next would see the same
                soonest := clock_timestamp() + interval '50 ms';
            END IF;
            picked := ARRAY(SELECT l.id FROM spool_lease(picked, array_fill(lane.destination, ARRAY[cardinality(picked)]), who, at_now, lease,
                retry_first, retry_most) AS l);
            got_ids := got_ids || picked;
            got_destinations := got_destinations || array_fill(lane.destination, ARRAY[cardinality(picked)]);
        END IF;
        -- Whose is what is left: by chance, where it counts; else whoever comes next is known beside one.
        slots := CASE WHEN lanes >= room THEN spool_slots(lane.destination, lane.scanned, 2, at_now) END;
        UPDATE spool_lane l SET turn_at = greatest(soonest, spool_next_turn(lane.destination, lane.scanned, free - cardinality(picked), at_now)),
            slot = coalesce(slots[1], l.slot), slot_other = coalesce(slots[2], slots[1], l.slot)
            WHERE l.destination = lane.destination AND l.scanned = lane.scanned;
    END LOOP;
    -- Nobody is told of what was only put in its turn again: lost with the database, it is done again.
    IF got_ids = '{}' THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    RETURN QUERY
        SELECT l.first, q.id, q.destination, q.token, CASE WHEN l.first THEN m.envelope END, q.attempts, q.expiries,
            greatest(0, (extract(epoch FROM at_now - m.arrived_at) * 1000)::bigint), q.maybe_duplicate, q.delay_warned OR l.warned, q.bounce, m.dsn, m.scanned,
            m.verdict, m.scanner, m.engine, m.signatures, m.size, l.attempts, l.packed, q.routed_epoch,
            q.routed_newest
        FROM (SELECT g.place, g.id, g.destination, r.number, r.attempts, r.packed, row_number() OVER (PARTITION BY g.place ORDER BY r.number) = 1 AS first,
                first_value(r.delay_warned) OVER (PARTITION BY g.place ORDER BY r.attempts, r.number) AS warned -- whose sender this lease is for
            FROM unnest(got_ids, got_destinations) WITH ORDINALITY AS g(id, destination, place)
            JOIN spool_recipient r ON r.id = g.id AND r.destination = g.destination AND r.state = 'queued') AS l
        JOIN spool_queue q ON q.id = l.id AND q.destination = l.destination
        JOIN spool_message m ON m.id = l.id
        ORDER BY l.place, l.number;
END $f$;

-- Milliseconds until something is due for a claim of scanned mail alone, and for one of any; 0: now; NULL: nothing is. OFFSET 0: so that each is
-- looked up once.
CREATE OR REPLACE FUNCTION spool_due(OUT due_scanned bigint, OUT due_any bigint) LANGUAGE plpgsql VOLATILE AS $f$
BEGIN
    SELECT CASE WHEN n.scanned_at < 'infinity' THEN greatest(0, ceil(extract(epoch FROM n.scanned_at - clock_timestamp()) * 1000)) END,
            CASE WHEN n.any_at < 'infinity' THEN greatest(0, ceil(extract(epoch FROM n.any_at - clock_timestamp()) * 1000)) END
        INTO due_scanned, due_any
    FROM (SELECT least(l.scanned_at, w.scanned_at, q.scanned_at) AS scanned_at, least(l.any_at, w.any_at, q.scanned_at, q.unscanned_at) AS any_at
        FROM (SELECT (SELECT min(turn_at) FROM spool_lane WHERE scanned) AS scanned_at, (SELECT min(turn_at) FROM spool_lane) AS any_at OFFSET 0) AS l,
            (SELECT min(at) FILTER (WHERE scanned) AS scanned_at, min(at) AS any_at FROM spool_wake) AS w,
            (SELECT (SELECT min(attend_at) FROM spool_queue WHERE NOT held AND scanned AND attend_at > now()) AS scanned_at,
                (SELECT min(attend_at) FROM spool_queue WHERE NOT held AND NOT scanned AND attend_at > now()) AS unscanned_at OFFSET 0) AS q
        OFFSET 0) AS n;
END $f$;

-- The leases that are still alive and whose tokens are the newest, with a new end.
CREATE OR REPLACE FUNCTION spool_renew(ids text[], destinations text[], tokens bigint[], lease interval)
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
CREATE OR REPLACE FUNCTION spool_give_back(ids text[], destinations text[], tokens bigint[]) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    WITH back AS (
        UPDATE spool_queue q SET leased = false, due_at = clock_timestamp() FROM unnest(ids, destinations, tokens) AS h(id, destination, token)
            WHERE q.id = h.id AND q.destination = h.destination AND q.token = h.token AND q.leased RETURNING q.destination, q.scanned, q.due_at
    )
    INSERT INTO spool_wake SELECT destination, scanned, min(due_at) FROM back GROUP BY destination, scanned;
END $f$;
