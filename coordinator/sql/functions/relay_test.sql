-- functions/relay_test.sql - the leader's tests whether edges are open relays

-- Listeners that can be asked now: of edges that are heard, serve, and are to go on serving.
CREATE OR REPLACE FUNCTION relay_listeners(silence interval) RETURNS TABLE (node text, listener text, endpoint text, outbound boolean)
LANGUAGE sql STABLE AS $f$
    SELECT DISTINCT ON (w.node, l->>'name', l->>'endpoint') w.node, l->>'name', l->>'endpoint', coalesce((l->>'outbound')::boolean, false)
    FROM node_worker w JOIN node_known k ON k.name = w.node, jsonb_array_elements(w.listeners) AS l
    WHERE k.role = 'edge' AND NOT k.drain AND w.state = 'active' AND w.seen_at > clock_timestamp() - silence
$f$;

-- The next listener to be tested, at most one row; it is `who`'s until relay_test_result(), or until who is lost or has had it for `lease`. The rows of
-- relay_test follow what edges tell: a new one is there from the next call on, and waits for a part of an hour or of `every`/24; what a silent or drained
-- edge told last stays, with the time of its last test. every: 0 tests nothing, and forgets.
CREATE OR REPLACE FUNCTION relay_test_claim(who text, silence interval, every interval, lease interval)
RETURNS TABLE (node text, listener text, endpoint text, outbound boolean, claim bigint) LANGUAGE plpgsql AS $f$
BEGIN
    IF every = interval '0' THEN
        DELETE FROM relay_test;
        RETURN;
    END IF;
    -- One statement: what edges tell is gathered from all their processes.
    RETURN QUERY WITH told AS MATERIALIZED (SELECT * FROM relay_listeners(silence)),
    gone AS (
        DELETE FROM relay_test t WHERE NOT EXISTS (SELECT FROM node_known k WHERE k.name = t.node AND k.role = 'edge')
            OR (t.node IN (SELECT l.node FROM told l) AND (t.node, t.listener, t.endpoint) NOT IN (SELECT l.node, l.listener, l.endpoint FROM told l))),
    made AS (
        INSERT INTO relay_test AS t (node, listener, endpoint) SELECT l.node, l.listener, l.endpoint FROM told l
            WHERE (l.node, l.listener, l.endpoint) NOT IN (SELECT o.node, o.listener, o.endpoint FROM relay_test o) ON CONFLICT DO NOTHING),
    due AS (
        SELECT t.node, t.listener, t.endpoint, l.outbound
        FROM relay_test t JOIN told l ON (l.node, l.listener, l.endpoint) = (t.node, t.listener, t.endpoint)
        WHERE clock_timestamp() >= coalesce(t.tested_at + every, t.made_at) + least(every / 24, interval '1 hour') * t.jitter
            -- who asks has none under way: one of its name was of its predecessor
            AND (t.claimed_by IS NULL OR t.claimed_by = who OR t.claimed_at < clock_timestamp() - lease
                OR NOT EXISTS (SELECT FROM node n WHERE n.name = t.claimed_by AND NOT n.lost))
        ORDER BY coalesce(t.tested_at, t.made_at) LIMIT 1 FOR UPDATE OF t SKIP LOCKED)
    UPDATE relay_test t SET claim = t.claim + 1, claimed_by = who, claimed_at = clock_timestamp()
    FROM due d WHERE (t.node, t.listener, t.endpoint) = (d.node, d.listener, d.endpoint)
    RETURNING t.node, t.listener, t.endpoint, d.outbound, t.claim;
END $f$;

-- Said before the first connection: so what is refused to it is known for a test's, whoever else says the test's HELO.
CREATE OR REPLACE FUNCTION relay_test_from(a_node text, a_listener text, an_endpoint text, a_claim bigint, addresses text[]) RETURNS void LANGUAGE sql AS $f$
    UPDATE relay_test SET asked_from = addresses WHERE (node, listener, endpoint, claim) = (a_node, a_listener, an_endpoint, a_claim)
$f$;

CREATE OR REPLACE FUNCTION relay_test_is_from(address text) RETURNS boolean LANGUAGE sql STABLE AS $f$
    SELECT EXISTS (SELECT FROM relay_test WHERE address = ANY (asked_from))
$f$;

-- false: it was given to another meanwhile, or is there no more.
CREATE OR REPLACE FUNCTION relay_test_result(who text, a_node text, a_listener text, an_endpoint text, a_claim bigint, said text, words text) RETURNS boolean
LANGUAGE plpgsql AS $f$
BEGIN
    UPDATE relay_test SET tested_at = clock_timestamp(), tested_by = who, verdict = said, reason = words, claimed_by = NULL, claimed_at = NULL, jitter = random()
        WHERE (node, listener, endpoint, claim) = (a_node, a_listener, an_endpoint, a_claim);
    RETURN FOUND;
END $f$;

-- What weirctl is to ask itself.
CREATE OR REPLACE FUNCTION admin_relay_listeners(silence interval) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(l ORDER BY length(node), node, listener, endpoint) FROM relay_listeners(silence) AS l), '[]')
$f$;
