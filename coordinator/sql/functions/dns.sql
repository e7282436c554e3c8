-- functions/dns.sql - which addresses the edges' name has, and how an edge that is drained leaves them first

-- Every edge with its addresses, and why these are not to be in the DNS; NULL: they are. Of edges that are over budget half at the most, or the others
-- would be next. The addresses are those that the newest of its processes told.
CREATE OR REPLACE FUNCTION dns_edges(silence interval) RETURNS TABLE (node text, addresses text[], why text) LANGUAGE sql STABLE AS $f$
    SELECT e.name, e.addresses, CASE WHEN NOT e.tight OR 2 * count(*) FILTER (WHERE e.tight) OVER () <= count(*) FILTER (WHERE e.why IS NULL OR e.tight) OVER ()
        THEN e.why END
    FROM (
        SELECT b.*, b.why IS NOT DISTINCT FROM 'it is over budget' AS tight FROM (
            SELECT k.name, coalesce(t.addresses, '{}') AS addresses,
                CASE WHEN k.lost THEN 'it is not heard' WHEN k.drain THEN 'it is drained' WHEN k.state <> 'active' THEN 'it is ' || k.state
                     WHEN coalesce(t.addresses, '{}') = '{}' THEN 'it told of no public address' WHEN w.over_budget THEN 'it is over budget' END AS why
            FROM node_known k
            LEFT JOIN LATERAL (SELECT ARRAY(SELECT jsonb_array_elements_text(p.addresses)) AS addresses FROM node_worker p WHERE p.node = k.name
                ORDER BY p.seen_at > clock_timestamp() - silence DESC, p.first_seen_at DESC LIMIT 1) AS t ON true
            LEFT JOIN LATERAL (SELECT bool_and(p.over_budget) AS over_budget FROM node_worker p WHERE p.node = k.name AND p.state = 'active'
                AND p.seen_at > clock_timestamp() - silence) AS w ON true
            WHERE k.role = 'edge') AS b) AS e
$f$;

-- What is to be in the DNS now: each address once, IPv4 first.
CREATE OR REPLACE FUNCTION dns_wanted(silence interval) RETURNS TABLE (addresses text[], nodes text[]) LANGUAGE sql STABLE AS $f$
    SELECT ARRAY(SELECT a FROM (SELECT DISTINCT unnest(d.addresses) AS a FROM dns_edges(silence) AS d WHERE d.why IS NULL) AS u ORDER BY a::inet),
        ARRAY(SELECT d.node FROM dns_edges(silence) AS d WHERE d.why IS NULL ORDER BY 1)
$f$;

-- Each address of two lists once; NULL: an empty one.
CREATE OR REPLACE FUNCTION dns_both(these text[], those text[]) RETURNS text[] LANGUAGE sql IMMUTABLE AS $f$
    SELECT ARRAY(SELECT DISTINCT a FROM unnest(coalesce(these, '{}') || coalesce(those, '{}')) AS a ORDER BY a)
$f$;

-- The leader's look: writes down what its configuration says, lets edges begin their drain that have been out of the DNS for `wait`, and says what is to be
-- pushed. Not while a push is under way: what that makes true is not known yet.
-- differs: the server has others; adds: only fewer. age_ms: of the last push; NULL: none is known.
CREATE OR REPLACE FUNCTION dns_look(silence interval, a_name text, a_zone text, a_server text, a_ttl bigint, wait interval)
RETURNS TABLE (addresses json, nodes json, differs boolean, adds boolean, age_ms bigint, asked bigint, done bigint) LANGUAGE plpgsql AS $f$
BEGIN
    a_name := lower(a_name); -- written another way it is the same name (rows of before have it as it was written)
    a_zone := lower(a_zone);
    -- A name that is given up keeps its addresses until who knows it from the DNS has forgotten it. One whose updates were turned off is left as it is.
    INSERT INTO dns_former AS f (name, zone, server, addresses) SELECT lower(d.name), d.zone, d.server, dns_both(d.pushed, d.tried) FROM dns AS d
        WHERE d.server <> '' AND a_server <> '' AND lower(d.name) <> a_name AND dns_both(d.pushed, d.tried) <> '{}'
        ON CONFLICT ON CONSTRAINT dns_former_pkey DO UPDATE SET zone = excluded.zone, server = excluded.server, left_at = clock_timestamp(), tried_at = NULL, error = '',
            addresses = dns_both(f.addresses, excluded.addresses);
    -- Where it is the name again its next push takes them away.
    DELETE FROM dns_former AS f WHERE lower(f.name) = a_name;
    UPDATE dns SET name = a_name, zone = a_zone, server = a_server, ttl = a_ttl,
            tried = CASE WHEN lower(dns.name) = a_name THEN dns_both(dns.pushed, dns.tried) ELSE '{}' END, pushed = NULL, pushed_at = NULL, failed_at = NULL, error = '', done = dns.asked
        WHERE (dns.name, dns.zone, dns.server, dns.ttl) IS DISTINCT FROM (a_name, a_zone, a_server, a_ttl);
    IF a_server = '' THEN
        UPDATE node SET drain_held = false, dns_in_at = NULL, dns_out_at = NULL WHERE drain_held OR dns_in_at IS NOT NULL OR dns_out_at IS NOT NULL;
    ELSE
        UPDATE node SET drain_held = false WHERE drain_held AND (NOT drain OR dns_out_at + wait <= clock_timestamp());
    END IF;
    RETURN QUERY SELECT to_json(w.addresses), to_json(w.nodes), d.pushed IS DISTINCT FROM w.addresses, coalesce(d.pushed <@ w.addresses, false),
        (extract(epoch FROM clock_timestamp() - d.pushed_at) * 1000)::bigint, d.asked, d.done
        FROM dns_wanted(silence) AS w, dns AS d;
END $f$;

-- A name of before whose addresses are to be taken away now; only while the one of now has its own. wait: for so long it keeps them; pause: between two tries.
CREATE OR REPLACE FUNCTION dns_former_due(wait interval, pause interval) RETURNS TABLE (name text, zone text, server text, addresses json)
LANGUAGE sql STABLE AS $f$
    SELECT f.name, f.zone, f.server, to_json(f.addresses) FROM dns_former AS f WHERE f.left_at + wait <= clock_timestamp() AND coalesce(f.tried_at + pause <= clock_timestamp(), true)
        AND EXISTS (SELECT FROM dns WHERE pushed IS NOT NULL) ORDER BY f.left_at, f.name LIMIT 1
$f$;

CREATE OR REPLACE FUNCTION dns_former_result(a_name text, failure text) RETURNS void LANGUAGE sql AS $f$
    DELETE FROM dns_former WHERE name = a_name AND failure IS NULL;
    UPDATE dns_former SET tried_at = clock_timestamp(), error = failure WHERE name = a_name
$f$;

-- Series of the cluster as a whole: what http.c calls them, labels, value.
CREATE OR REPLACE FUNCTION dns_gauges() RETURNS TABLE (name text, labels text, value double precision) LANGUAGE sql STABLE AS $f$
    SELECT 'dns_drains', '', count(*)::double precision FROM node WHERE drain AND drain_held AND dns_out_at IS NULL
    UNION ALL SELECT 'dns_former', '', count(*)::double precision FROM dns_former
$f$;

-- What came of a push. failure: NULL: the server has these addresses now, of these edges and no others.
CREATE OR REPLACE FUNCTION dns_result(who text, an_asked bigint, a_server text, the_addresses json, the_nodes json, failure text) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    named text[] := ARRAY(SELECT json_array_elements_text(the_nodes));
    told text[] := ARRAY(SELECT json_array_elements_text(the_addresses));
BEGIN
    UPDATE dns SET done = greatest(done, an_asked);
    IF failure IS NOT NULL THEN
        -- The server may have taken it, and its answer was lost: so these may be in the DNS, and are, until a push without them is known to be done.
        UPDATE dns SET failed_at = clock_timestamp(), error = failure, tried = dns_both(tried, told);
        UPDATE node SET dns_in_at = clock_timestamp(), dns_out_at = NULL WHERE name = ANY (named) AND dns_in_at IS NULL;
        RETURN;
    END IF;
    UPDATE dns SET pushed = told, tried = '{}', pushed_at = clock_timestamp(), pushed_by = who, failed_at = NULL, error = ''
        WHERE server = a_server;
    UPDATE node SET dns_in_at = clock_timestamp(), dns_out_at = NULL WHERE name = ANY (named) AND dns_in_at IS NULL;
    UPDATE node SET dns_in_at = NULL, dns_out_at = clock_timestamp() WHERE role = 'edge' AND name <> ALL (named) AND dns_out_at IS NULL;
END $f$;

CREATE OR REPLACE FUNCTION admin_dns(silence interval) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, (SELECT json_build_object('name', d.name, 'zone', d.zone, 'server', d.server, 'ttl', d.ttl, 'addresses', w.addresses,
        'kept', d.server <> '' AND w.addresses = '{}', 'pushed', d.pushed, 'pushed_at', d.pushed_at, 'pushed_by', d.pushed_by, 'failed_at', d.failed_at,
        'error', d.error, 'asked', d.asked, 'done', d.done,
        'former', coalesce((SELECT json_agg(f ORDER BY f.left_at, f.name) FROM dns_former AS f), '[]'),
        'edges', coalesce((SELECT json_agg(json_build_object('node', e.node, 'addresses', e.addresses, 'healthy', e.why IS NULL, 'why', e.why,
            'dns_in_at', n.dns_in_at, 'dns_out_at', n.dns_out_at) ORDER BY length(e.node), e.node)
            FROM dns_edges(silence) AS e JOIN node n ON n.name = e.node), '[]'))
        FROM dns AS d, dns_wanted(silence) AS w)
$f$;

-- The leader is to push now, whether or not anything changed. Whoever waits looks whether done has reached asked.
CREATE OR REPLACE FUNCTION admin_dns_push(who text, silence interval) RETURNS admin_answer LANGUAGE plpgsql AS $f$
BEGIN
    PERFORM admin_begin();
    IF NOT EXISTS (SELECT FROM dns WHERE server <> '') THEN
        RETURN (78, 'nothing is pushed: the leading coordinator''s configuration has no dns_server in [dns]', NULL)::admin_answer;
    END IF;
    UPDATE dns SET asked = asked + 1;
    INSERT INTO audit_action (who, action, target, detail) SELECT admin_dns_push.who, 'dns push', name, '{}' FROM dns;
    RETURN admin_dns(silence);
END $f$;
