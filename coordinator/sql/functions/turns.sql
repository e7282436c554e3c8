-- functions/turns.sql - one scanner after the other makes a new generation
--
-- Whoever wants scanners to have one asks with turn_ask(); the leader calls turns_look() every few seconds, which begins and ends turns. A turn grows node.gc,
-- so the scanner makes a new generation, and is over when it has (or is lost, or takes too long). A new set of signatures does not ask here, as its canary and
-- its way back are a course of their own (functions/signatures.sql): scanners that load one count as in change here, and those that have a turn there.

-- Scanners as far as turns are about them. changing: it has a turn, or an operator asked it directly and it has not done so yet (but not for ever: one that
-- cannot goes on with its old generation, and must not keep all others from theirs). carries: it takes mail, and may be counted on while others change.
-- Of one that tells nothing of its workers only what it scans is known.
CREATE OR REPLACE FUNCTION turn_scanners(silence interval, most interval)
RETURNS TABLE (name text, state text, lost boolean, drain boolean, gc bigint, gc_done bigint, fresh boolean, changing boolean, carries boolean,
    small_workers bigint, large_workers bigint, small_busy bigint, large_busy bigint, memory bigint, memory_loaded bigint, scanned bigint,
    serving_ms bigint, generation bigint) LANGUAGE sql STABLE AS $f$
    SELECT s.name, s.state, s.lost, s.drain, s.gc, s.gc_done, s.fresh, s.changing, s.fresh AND NOT s.lost AND NOT s.drain AND NOT s.changing AND s.state = 'active',
        coalesce((s.use->>'small_workers')::bigint, 0), coalesce((s.use->>'large_workers')::bigint, 0),
        coalesce((s.use->>'small_busy')::bigint, s.in_flight * 100), coalesce((s.use->>'large_busy')::bigint, 0),
        coalesce((s.use->>'memory')::bigint, 0), coalesce((s.use->>'memory_loaded')::bigint, 0), coalesce((s.use->>'scanned')::bigint, 0),
        coalesce((s.use->>'serving_ms')::bigint, 0), s.generation
    FROM (SELECT k.name, k.state, k.lost, k.drain, k.gc, coalesce(w.gc_done, 0) AS gc_done, w.node IS NOT NULL AS fresh, coalesce(w.in_flight, 0) AS in_flight,
            coalesce(w.generation, 0) AS generation, coalesce(w.scanner_use, '{}') AS use,
            EXISTS (SELECT FROM turn t WHERE t.node = k.name AND t.state = 'running')
                OR (w.gc_done < k.gc AND k.gc_at > clock_timestamp() - most) IS TRUE AS changing
        FROM node_known k LEFT JOIN node_worker w ON w.node = k.name AND w.worker = 0 AND w.seen_at > clock_timestamp() - silence
        WHERE k.role = 'scanner') AS s
$f$;

-- Asks that a scanner has its turn; returns the request's number: it was fulfilled when the row's `given` is that or more and its state is not 'running'
-- (then `result` says how). Asked for again while it waits, it is the same request; while its turn runs, it is for another one after it. Locks the row: not
-- to be called with rows of node locked.
CREATE OR REPLACE FUNCTION turn_ask(a_node text, a_reason text, a_cause text) RETURNS bigint LANGUAGE sql AS $f$
    INSERT INTO turn AS t (node, reason, cause) VALUES (a_node, a_reason, a_cause)
    ON CONFLICT (node, reason) DO UPDATE SET
        state = CASE t.state WHEN 'idle' THEN 'waiting' ELSE t.state END,
        asked = t.asked + CASE WHEN t.asked > t.given THEN 0 ELSE 1 END,
        asked_at = CASE t.state WHEN 'waiting' THEN t.asked_at ELSE now() END,
        held = CASE t.state WHEN 'waiting' THEN t.held ELSE '' END,
        cause = EXCLUDED.cause
    RETURNING asked
$f$;

-- Takes back what waits, of one scanner or (NULL) all; what runs goes on. Returns how many.
CREATE OR REPLACE FUNCTION turn_cancel(a_node text, a_reason text) RETURNS bigint LANGUAGE plpgsql AS $f$
DECLARE
    taken bigint;
BEGIN
    UPDATE turn SET state = CASE state WHEN 'waiting' THEN 'idle' ELSE state END, given = asked, held = '',
            result = CASE state WHEN 'waiting' THEN 'cancelled' ELSE result END, ended_at = CASE state WHEN 'waiting' THEN clock_timestamp() ELSE ended_at END
        WHERE reason = a_reason AND (a_node IS NULL OR node = a_node) AND asked > given;
    GET DIAGNOSTICS taken = ROW_COUNT;
    RETURN taken;
END $f$;

-- Ends what is over, and returns it: the scanner has done it, is lost (a scanner that comes back has made a new generation), or takes longer than `most`. One
-- that is lost while it waits needs no turn, either: none has failed, so that is cancelled, and not returned.
CREATE OR REPLACE FUNCTION turns_end(silence interval, most interval) RETURNS TABLE (node text, reason text, cause text, became text, seconds double precision)
LANGUAGE plpgsql AS $f$
BEGIN
    RETURN QUERY WITH ended AS (UPDATE turn t SET result = o.became, ended_at = clock_timestamp(), held = '', given = CASE t.state WHEN 'waiting' THEN t.asked ELSE t.given END,
        state = CASE WHEN t.state = 'running' AND t.asked > t.given THEN 'waiting' ELSE 'idle' END
    FROM (SELECT r.node, r.reason, CASE WHEN r.state = 'running' AND s.fresh AND s.gc_done >= r.gc THEN 'done'
            WHEN s.lost THEN CASE r.state WHEN 'waiting' THEN 'cancelled' ELSE 'lost' END
            WHEN r.state = 'running' AND r.began_at < clock_timestamp() - most THEN 'timeout' END AS became
        FROM turn r JOIN turn_scanners(silence, most) s ON s.name = r.node WHERE r.state IN ('running', 'waiting')) AS o
    WHERE (t.node, t.reason) = (o.node, o.reason) AND o.became IS NOT NULL
    RETURNING t.node, t.reason, t.cause, t.result, coalesce(extract(epoch FROM clock_timestamp() - t.began_at), 0)::double precision)
    SELECT * FROM ended e WHERE e.result <> 'cancelled';
END $f$;

-- Why each waiting scanner does not get its turn now; '' for those that can. In the order in which they are to have it. max_unavailable counts all that
-- change, also those that load signatures; a set that waits for a turn to end has the next one. The others' workers, less margin per cent, must do what all
-- do together (in each lane). The only scanner of a cluster that is there would wait for ever, and its old generation serves until the new one does.
CREATE OR REPLACE FUNCTION turns_waiting(silence interval, most interval, max_unavailable bigint, margin bigint) RETURNS TABLE (node text, held text)
LANGUAGE sql STABLE AS $f$
    WITH s AS MATERIALIZED (SELECT t.name, t.lost, t.drain, t.small_workers, t.large_workers, t.small_busy, t.large_busy, t.changing OR l.node IS NOT NULL AS changing,
            t.carries AND l.node IS NULL AS carries
        FROM turn_scanners(silence, most) t LEFT JOIN signature_changing(silence, most) l ON l.node = t.name),
    farm AS (SELECT count(*) FILTER (WHERE NOT lost AND NOT drain) AS scanners, count(*) FILTER (WHERE changing) AS changing,
        coalesce(sum(small_busy), 0) AS small_busy, coalesce(sum(large_busy), 0) AS large_busy,
        coalesce(sum(small_workers) FILTER (WHERE carries), 0) AS small, coalesce(sum(large_workers) FILTER (WHERE carries), 0) AS large FROM s)
    SELECT w.node, CASE WHEN f.changing >= max_unavailable OR c.changing
            OR (SELECT turn_wanted_at > clock_timestamp() - interval '10 s' FROM signature_control) THEN 'turn'
        WHEN f.scanners > 1 AND ((f.small - CASE WHEN c.carries THEN c.small_workers ELSE 0 END) * (100 - margin) < f.small_busy
          OR (f.large - CASE WHEN c.carries THEN c.large_workers ELSE 0 END) * (100 - margin) < f.large_busy) THEN 'load' ELSE '' END
    FROM (SELECT t.node, min(t.asked_at) AS asked_at FROM turn t WHERE t.state = 'waiting' GROUP BY t.node) AS w JOIN s c ON c.name = w.node, farm f
    ORDER BY w.asked_at, length(w.node), w.node
$f$;

-- Asks for those that need it by themselves. due_ms: a generation that is older was to be replaced meanwhile; growth: bytes; messages: scanned. 0: not for
-- that. Whose last turn failed has another one after `most` at the earliest.
CREATE OR REPLACE FUNCTION turns_need(silence interval, most interval, due_ms bigint, growth bigint, messages bigint) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    PERFORM turn_ask(n.name, 'gc', n.cause) FROM (
        SELECT s.name, CASE WHEN due_ms > 0 AND s.serving_ms > due_ms THEN 'schedule'
            WHEN growth > 0 AND s.memory - s.memory_loaded >= growth THEN 'memory'
            WHEN messages > 0 AND s.scanned >= messages THEN 'messages' END AS cause
        FROM turn_scanners(silence, most) s
        WHERE s.carries AND s.serving_ms > 0 AND NOT EXISTS (SELECT FROM turn t WHERE t.node = s.name AND (t.state <> 'idle'
            OR (t.reason = 'gc' AND t.result IN ('lost', 'timeout') AND t.ended_at > clock_timestamp() - most)))) AS n
    WHERE n.cause IS NOT NULL ORDER BY n.name;
END $f$;

-- The leader's look. At most one scanner begins in each, so that rows of node are locked one at a time. Returns what happened: became is began, done, lost or timeout.
CREATE OR REPLACE FUNCTION turns_look(silence interval, most interval, max_unavailable bigint, margin bigint, due_ms bigint, growth bigint, messages bigint)
RETURNS TABLE (node text, reason text, cause text, became text, seconds double precision) LANGUAGE plpgsql AS $f$
DECLARE
    chosen text;
    number bigint;
BEGIN
    -- A leader of before may still be at it.
    IF NOT pg_try_advisory_xact_lock(hashtextextended('weir turns', 0)) THEN
        RETURN;
    END IF;
    DELETE FROM turn t WHERE NOT EXISTS (SELECT FROM node_known k WHERE k.name = t.node AND k.role = 'scanner');
    RETURN QUERY SELECT * FROM turns_end(silence, most);
    PERFORM turns_need(silence, most, due_ms, growth, messages);
    SELECT w.node INTO chosen FROM turns_waiting(silence, most, max_unavailable, margin) AS w WHERE w.held = '' LIMIT 1;
    IF FOUND THEN
        UPDATE node n SET gc = n.gc + 1, gc_by = 'turn', gc_at = clock_timestamp() WHERE n.name = chosen RETURNING n.gc INTO number;
        RETURN QUERY UPDATE turn t SET state = 'running', given = t.asked, gc = number, began_at = clock_timestamp(), held = ''
            WHERE t.node = chosen AND t.state = 'waiting'
            RETURNING t.node, t.reason, t.cause, 'began', extract(epoch FROM clock_timestamp() - t.asked_at)::double precision;
    END IF;
    UPDATE turn t SET held = w.held FROM turns_waiting(silence, most, max_unavailable, margin) AS w
        WHERE t.node = w.node AND t.state = 'waiting' AND t.held <> w.held;
END $f$;

-- For the leader's metrics. failed: scanners whose last turn took too long, or that were lost in it and are not back.
CREATE OR REPLACE FUNCTION turns_sums() RETURNS TABLE (waiting bigint, held_by_load bigint, running bigint, failed bigint, oldest double precision)
LANGUAGE sql STABLE AS $f$
    SELECT count(*) FILTER (WHERE state = 'waiting'), count(*) FILTER (WHERE state = 'waiting' AND held = 'load'), count(*) FILTER (WHERE state = 'running'),
        count(*) FILTER (WHERE state <> 'running' AND (result = 'timeout'
            OR (result = 'lost' AND EXISTS (SELECT FROM node_known k WHERE k.name = turn.node AND k.lost)))),
        coalesce(max(extract(epoch FROM clock_timestamp() - asked_at)) FILTER (WHERE state = 'waiting'), 0)::double precision
    FROM turn
$f$;

CREATE OR REPLACE FUNCTION turns_json(silence interval) RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object(
        'scanners', coalesce((SELECT json_agg(s ORDER BY length(s.name), s.name) FROM turn_scanners(silence, interval '0') AS s), '[]'),
        'turns', coalesce((SELECT json_agg(t ORDER BY t.asked_at, length(t.node), t.node) FROM turn AS t), '[]'))
$f$;

CREATE OR REPLACE FUNCTION admin_turns_status(silence interval) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, turns_json(silence)
$f$;

-- target: a scanner, or '' for all that are there.
CREATE OR REPLACE FUNCTION admin_turns_ask(requester text, target text, silence interval) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    n record;
    asked json;
BEGIN
    PERFORM admin_begin();
    IF target <> '' THEN
        SELECT * INTO n FROM node_known WHERE name = target;
        IF NOT FOUND THEN
            RETURN (65, format('no node is called "%s"', target), NULL)::admin_answer;
        ELSIF n.role <> 'scanner' THEN
            RETURN (65, format('%s is %s %s: only scanners have generations to collect', target,
                    CASE n.role WHEN 'edge' THEN 'an' ELSE 'a' END, n.role), NULL)::admin_answer;
        END IF;
    END IF;
    SELECT json_agg(json_build_object('node', k.name, 'asked', turn_ask(k.name, 'gc', 'operator')) ORDER BY length(k.name), k.name) INTO asked
        FROM node_known k WHERE k.role = 'scanner' AND NOT k.lost AND (target = '' OR k.name = target);
    IF asked IS NULL THEN
        RETURN (75, CASE target WHEN '' THEN 'no scanner is there' ELSE format('%s is lost; it makes a new generation when it starts', target) END, NULL)::admin_answer;
    END IF;
    INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'gc', CASE target WHEN '' THEN 'all' ELSE target END,
        jsonb_build_object('rolling', true));
    RETURN (0, NULL, (turns_json(silence)::jsonb || jsonb_build_object('asked', asked))::json)::admin_answer;
END $f$;

CREATE OR REPLACE FUNCTION admin_turns_cancel(requester text, silence interval) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    taken bigint;
BEGIN
    PERFORM admin_begin();
    taken := turn_cancel(NULL, 'gc');
    IF taken > 0 THEN
        INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'gc cancel', 'all', jsonb_build_object('turns', taken));
    END IF;
    RETURN (0, NULL, (turns_json(silence)::jsonb || jsonb_build_object('cancelled', taken))::json)::admin_answer;
END $f$;
