-- functions/limits.sql - token buckets, one for the whole cluster

CREATE OR REPLACE FUNCTION limit_clock() RETURNS bigint LANGUAGE sql VOLATILE AS $f$
    SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
$f$;

-- Holds these buckets until the commit; all take their locks in the same order. Of two integers, as names are peers' words: in the space of one
-- somebody could choose a name whose lock is the leader's.
CREATE OR REPLACE FUNCTION limit_lock(names text[]) RETURNS void LANGUAGE plpgsql SET jit = off AS $f$
BEGIN
    -- Not in a loop: for many buckets that takes twice as long.
    PERFORM pg_advisory_xact_lock(hashtext('weir limit'), k.key) FROM (SELECT DISTINCT hashtext(n) AS key FROM unnest(names) AS n ORDER BY 1) AS k;
END $f$;

-- Takes from buckets, as common/policy/bucket.c counts. Each place of the arrays is one cost; those with the same number of `request` (they stand together)
-- are taken all or none, but for dry ones: those are taken where they fit and stop nobody. debt: may take more than there is where there is anything; with a
-- cost of 0 it only asks. spare: so many more are welcome; given is what of them was taken, too, so that who asks often need not ask each time: at most an
-- eighth of what is left, so that nobody is short of what others keep, and what the bucket gets back in a second, for so long edges keep it: what they lose
-- is not missed.
-- place: where in `names`, which has each name once, a cost's bucket is.
-- One row with one element a cost, in their order: rows of their own, and parameters as text, cost about a tenth of the whole. wait: ms until it would fit, if nobody else takes anything.
-- However few rows a plan was made for, each bucket is found by its key, so one plan serves all; making one for each few costs takes as long as all the rest, and
-- compiling it (jit) longer.
CREATE OR REPLACE FUNCTION limit_decide(request integer[], place integer[], cost bigint[], amount bigint[], period bigint[], burst bigint[], spare bigint[],
    debt boolean[], dry boolean[], names text[], OUT took boolean[], OUT wait bigint[], OUT given bigint[]) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET jit = off SET lock_timeout = '5s' AS $f$
DECLARE
    total CONSTANT integer := cardinality(cost);
    most CONSTANT bigint := 9000000000000000000; -- that a bucket may miss: burst times period is less, of what is allowed
    moment bigint;
    rows_at tid[];
    was bigint[];
    since bigint[];
    full_at bigint[]; -- NULL: nothing was taken
    first integer := 1;
    behind integer;
    at integer;
    room bigint;
    fine boolean;
    written integer;
BEGIN
    took := array_fill(false, ARRAY[total]);
    wait := array_fill(0::bigint, ARRAY[total]);
    given := wait;
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM limit_lock(names);
    moment := limit_clock();
    -- OFFSET: else a plan that was made while the table was empty would read all of it at each call, until it is analyzed.
    SELECT array_agg(f.at), array_agg(f.missing), array_agg(f.at_ms), array_agg(NULL::bigint) INTO rows_at, was, since, full_at
        FROM (SELECT l.at, coalesce(l.missing, 0) AS missing, coalesce(l.at_ms, moment) AS at_ms FROM unnest(names) WITH ORDINALITY AS n(name, o)
            LEFT JOIN LATERAL (SELECT r.ctid AS at, r.missing, r.at_ms FROM limit_bucket AS r WHERE r.name = n.name OFFSET 0) AS l ON true
            ORDER BY n.o) AS f;

    WHILE first <= total LOOP
        fine := true;
        behind := first;
        WHILE behind <= total LOOP
            EXIT WHEN request[behind] <> request[first];
            at := place[behind];
            IF moment < since[at] - 1000 THEN -- the clock was set back: time goes on from there, and gives nothing for what it lost
                since[at] := moment;
            END IF;
            IF moment > since[at] THEN
                was[at] := CASE WHEN moment - since[at] > was[at] / amount[behind] THEN 0 ELSE was[at] - (moment - since[at]) * amount[behind] END;
                since[at] := moment;
            END IF;
            room := burst[behind] * period[behind] - was[at]
                - CASE WHEN debt[behind] THEN 1 ELSE least(cost[behind], burst[behind]) * period[behind] END;
            took[behind] := room >= 0 AND (debt[behind] OR cost[behind] <= burst[behind]);
            IF room < 0 THEN
                wait[behind] := (-room - 1) / amount[behind] + 1;
            END IF;
            fine := fine AND (took[behind] OR dry[behind]);
            IF took[behind] THEN -- at once, as the request may have it again
                was[at] := was[at] + CASE WHEN debt[behind] THEN least(cost[behind], most / period[behind] - burst[behind]) ELSE cost[behind] END * period[behind];
            END IF;
            behind := behind + 1;
        END LOOP;
        FOR i IN first .. behind - 1 LOOP
            CONTINUE WHEN NOT took[i] OR cost[i] = 0;
            at := place[i];
            IF NOT fine THEN
                was[at] := was[at] - CASE WHEN debt[i] THEN least(cost[i], most / period[i] - burst[i]) ELSE cost[i] END * period[i];
                CONTINUE;
            END IF;
            IF spare[i] > 0 THEN
                given[i] := greatest(least(spare[i], (burst[i] * period[i] - was[at]) / period[i] / 8, amount[i] * 1000 / period[i]), 0);
                was[at] := was[at] + given[i] * period[i];
            END IF;
            full_at[at] := since[at] + was[at] / amount[i] + 1;
        END LOOP;
        first := behind;
    END LOOP;

    -- Where they were found: nobody moves them while we hold their locks, and it costs half as much as by the key. What has no row, or none any more as it was tidied
    -- away meanwhile, gets one; all are absolute, so the others may be written again.
    UPDATE limit_bucket AS l SET missing = u.m, at_ms = u.a, full_ms = u.f FROM unnest(names, rows_at, was, since, full_at) AS u(n, c, m, a, f)
        WHERE l.ctid = u.c AND l.name = u.n AND u.f IS NOT NULL;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written < cardinality(array_remove(full_at, NULL)) THEN
        INSERT INTO limit_bucket AS l (name, missing, at_ms, full_ms)
            SELECT u.n, u.m, u.a, u.f FROM unnest(names, was, since, full_at) AS u(n, m, a, f) WHERE u.f IS NOT NULL
            ON CONFLICT (name) DO UPDATE SET missing = excluded.missing, at_ms = excluded.at_ms, full_ms = excluded.full_ms;
    END IF;
END $f$;

-- Takes out the buckets that are full, and of those over the limit the ones that are full first; at most so many of each.
CREATE OR REPLACE FUNCTION limit_tidy(entries bigint, most integer) RETURNS TABLE (filled bigint, over bigint) LANGUAGE plpgsql AS $f$
DECLARE
    there bigint;
    moment CONSTANT bigint := limit_clock(); -- once: as a condition it would be asked for each row
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    DELETE FROM limit_bucket WHERE ctid = ANY (ARRAY(SELECT ctid FROM limit_bucket WHERE full_ms <= moment LIMIT most FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS filled = ROW_COUNT;
    SELECT count(*) INTO there FROM (SELECT FROM limit_bucket LIMIT entries + most) AS l;
    DELETE FROM limit_bucket WHERE there > entries AND ctid = ANY (ARRAY(SELECT ctid FROM limit_bucket ORDER BY full_ms
        LIMIT greatest(least(there - entries, most), 0) FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS over = ROW_COUNT;
    RETURN NEXT;
END $f$;

-- The buckets of these subjects, as written down; weirctl knows the lines that they are of.
CREATE OR REPLACE FUNCTION admin_limit_show(subjects text[]) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, json_build_object('now_ms', limit_clock(), 'buckets',
        coalesce((SELECT json_agg(json_build_object('name', name, 'missing', missing, 'at_ms', at_ms) ORDER BY name) FROM limit_bucket
            WHERE split_part(name, ' ', 4) = ANY (subjects)), '[]'))
$f$;

-- Fills the buckets of these subjects. What edges took in advance stays theirs, and a refusal is remembered there for a second.
CREATE OR REPLACE FUNCTION admin_limit_reset(who text, subjects text[]) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    amount bigint;
    names text[] := ARRAY(SELECT l.name FROM limit_bucket AS l WHERE split_part(l.name, ' ', 4) = ANY (subjects));
BEGIN
    PERFORM limit_lock(names); -- who takes from one just now would write it down again
    DELETE FROM limit_bucket WHERE name = ANY (names);
    GET DIAGNOSTICS amount = ROW_COUNT;
    IF amount > 0 THEN
        INSERT INTO audit_action (who, action, target, detail)
            VALUES (who, 'limit reset', array_to_string(subjects, ' '), jsonb_build_object('buckets', amount));
    END IF;
    RETURN (0, NULL, json_build_object('buckets', amount))::admin_answer;
END $f$;
