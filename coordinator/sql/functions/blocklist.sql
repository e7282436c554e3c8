-- functions/blocklist.sql - the leader's rounds through the lists of the DNS, for the site's own addresses

-- The addresses in question: those of the configuration, else what edges told; each once, IPv4 first.
CREATE OR REPLACE FUNCTION blocklist_addresses(silence interval, own text[]) RETURNS text[] LANGUAGE sql STABLE AS $f$
    SELECT coalesce(array_agg(host(a) ORDER BY a), '{}') FROM (
        SELECT DISTINCT t::inet AS a FROM unnest(CASE WHEN own <> '{}' THEN own
            ELSE ARRAY(SELECT unnest(e.addresses) FROM dns_edges(silence) AS e) END) AS t) AS each_once
$f$;

-- Addresses that nobody has alone, so that no list of the world's can speak of them.
CREATE OR REPLACE FUNCTION address_is_private(address inet) RETURNS boolean LANGUAGE sql IMMUTABLE AS $f$
    SELECT address <<= ANY ('{0.0.0.0/8,10.0.0.0/8,100.64.0.0/10,127.0.0.0/8,169.254.0.0/16,172.16.0.0/12,192.168.0.0/16,::/127,fc00::/7,fe80::/10}'::inet[])
$f$;

-- Why no address is looked up, where none is.
CREATE OR REPLACE FUNCTION blocklist_nothing(b blocklist) RETURNS text LANGUAGE sql IMMUTABLE AS $f$
    SELECT format('no own address is known%s: name those that mail leaves from in own_addresses of [coordinator], or where the world reaches each edge in its public_addresses',
        CASE WHEN b.private > 0 THEN format(', but %s private, which only lists of your own have (blocklist_private)', b.private) END) WHERE b.known = 0
$f$;

-- The next round, at most one row; it is `who`'s until blocklist_result(), or until who is lost or has had it for `lease`. One is due when `an_interval` is over, an operator
-- asked for it, or an address or a zone is new. What is no more in question is forgotten.
CREATE OR REPLACE FUNCTION blocklist_claim(who text, silence interval, an_interval interval, lease interval, own text[], the_zones text[], most bigint, private_too boolean DEFAULT true)
RETURNS TABLE (round bigint, asked bigint, addresses json) LANGUAGE plpgsql AS $f$
DECLARE
    b record;
    told text[] := blocklist_addresses(silence, own);
    everyone text[] := ARRAY(SELECT t FROM unnest(told) WITH ORDINALITY AS u(t, place) WHERE private_too OR NOT address_is_private(t::inet) ORDER BY place);
    wanted text[] := everyone[1:most];
BEGIN
    SELECT * INTO b FROM blocklist FOR UPDATE;
    UPDATE blocklist AS l SET zones = the_zones, every = an_interval, left_out = cardinality(everyone) - cardinality(wanted), known = cardinality(wanted),
            private = cardinality(told) - cardinality(everyone)
        WHERE (l.zones, l.every, l.left_out, l.known, l.private) IS DISTINCT FROM (the_zones, an_interval, cardinality(everyone)::bigint - cardinality(wanted),
            cardinality(wanted)::bigint, cardinality(told)::bigint - cardinality(everyone));
    DELETE FROM own_address o WHERE o.zone <> ALL (the_zones) OR o.address <> ALL (wanted);
    IF wanted = '{}' OR the_zones = '{}' THEN
        UPDATE blocklist AS l SET done = l.asked WHERE l.done < l.asked;
        RETURN;
    END IF;
    -- Who asks has none under way: one of its name was of its predecessor.
    IF b.claimed_by <> who AND b.claimed_at > clock_timestamp() - lease AND EXISTS (SELECT FROM node n WHERE n.name = b.claimed_by AND NOT n.lost) THEN
        RETURN;
    END IF;
    IF b.asked > b.done OR b.checked_at IS NULL OR b.checked_at + an_interval <= clock_timestamp() OR EXISTS (
        SELECT FROM unnest(wanted) AS a, unnest(the_zones) AS z WHERE NOT EXISTS (SELECT FROM own_address o WHERE (o.address, o.zone) = (a, z))) THEN
        RETURN QUERY UPDATE blocklist AS l SET claim = l.claim + 1, claimed_by = who, claimed_at = clock_timestamp() RETURNING l.claim, l.asked, to_json(wanted);
    END IF;
END $f$;

-- What came of a round: [{"address", "zone", "result", "answer"}]. Returns what is listed now and was not, or no more. What is not known changes nothing: a list that does not
-- answer has taken nobody off. false in `mine`, with nothing else: it was given to another meanwhile.
CREATE OR REPLACE FUNCTION blocklist_result(who text, a_round bigint, an_asked bigint, results json)
RETURNS TABLE (mine boolean, address text, zone text, listed boolean, answer text) LANGUAGE plpgsql AS $f$
BEGIN
    UPDATE blocklist AS l SET checked_at = clock_timestamp(), checked_by = who, claimed_by = NULL, claimed_at = NULL, done = greatest(l.done, an_asked)
        WHERE l.claim = a_round AND l.claimed_by = who;
    IF NOT FOUND THEN
        RETURN QUERY SELECT false, NULL::text, NULL::text, NULL::boolean, NULL::text;
        RETURN;
    END IF;
    -- One statement: `before` is what was there before it.
    RETURN QUERY WITH told AS (
        SELECT r.address, r.zone, r.result, r.answer, CASE r.result WHEN 'listed' THEN true WHEN 'clean' THEN false END AS listed
            FROM json_to_recordset(results) AS r(address text, zone text, result text, answer text)),
    before AS (SELECT o.address, o.zone, o.listed FROM own_address o),
    put AS (
        INSERT INTO own_address AS o (address, zone, listed, since, answer, result, checked_at)
            SELECT t.address, t.zone, t.listed, CASE WHEN t.listed IS NOT NULL THEN clock_timestamp() END, t.answer, t.result, clock_timestamp() FROM told t
            ON CONFLICT ON CONSTRAINT own_address_pkey DO UPDATE SET listed = coalesce(EXCLUDED.listed, o.listed), result = EXCLUDED.result, checked_at = EXCLUDED.checked_at,
                answer = CASE WHEN EXCLUDED.listed IS NULL THEN o.answer ELSE EXCLUDED.answer END,
                since = CASE WHEN EXCLUDED.listed IS NULL OR EXCLUDED.listed IS NOT DISTINCT FROM o.listed THEN o.since ELSE EXCLUDED.since END
            RETURNING o.address, o.zone, o.listed, o.answer)
    SELECT true, p.address, p.zone, p.listed, p.answer FROM put p LEFT JOIN before b ON (b.address, b.zone) = (p.address, p.zone)
        WHERE p.listed <> coalesce(b.listed, false) ORDER BY p.address, p.zone;
END $f$;

-- Series of the cluster as a whole: what http.c calls them, labels, value.
CREATE OR REPLACE FUNCTION blocklist_gauges() RETURNS TABLE (name text, labels text, value double precision) LANGUAGE sql STABLE AS $f$
    SELECT 'own_listed', format('address="%s",zone="%s"', o.address, o.zone), o.listed::integer::double precision FROM own_address o WHERE o.listed IS NOT NULL
    UNION ALL SELECT 'own_checked', '', CASE WHEN known = 0 THEN 0 ELSE extract(epoch FROM checked_at) END FROM blocklist
        WHERE (checked_at IS NOT NULL OR known = 0) AND zones <> '{}'
    UNION ALL SELECT 'own_left_out', '', left_out FROM blocklist WHERE zones <> '{}'
$f$;

-- What `status` shows of it; NULL: nothing is looked up.
CREATE OR REPLACE FUNCTION blocklist_summary() RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object('zones', cardinality(b.zones), 'checked_at', b.checked_at, 'addresses', (SELECT count(DISTINCT o.address) FROM own_address o),
        'nothing', blocklist_nothing(b), 'private', b.private, 'unknown', (SELECT count(*) FROM own_address o WHERE o.result NOT IN ('listed', 'clean')),
        'listed', coalesce((SELECT json_agg(json_build_object('address', o.address, 'zone', o.zone, 'since', o.since, 'answer', o.answer) ORDER BY o.since, o.address, o.zone)
            FROM own_address o WHERE o.listed), '[]'))
        FROM blocklist b WHERE b.zones <> '{}'
$f$;

CREATE OR REPLACE FUNCTION admin_blocklist_status() RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, (SELECT json_build_object('zones', b.zones, 'interval_seconds', extract(epoch FROM b.every), 'checked_at', b.checked_at, 'checked_by', b.checked_by,
        'checks_now', b.claimed_by, 'left_out', b.left_out, 'nothing', blocklist_nothing(b), 'private', b.private, 'asked', b.asked, 'done', b.done,
        'addresses', coalesce((SELECT json_agg(o ORDER BY o.listed IS TRUE DESC, o.address::inet, o.zone) FROM own_address o), '[]'))
        FROM blocklist b)
$f$;

-- The leader is to look them up now. Whoever waits looks whether done has reached asked.
CREATE OR REPLACE FUNCTION admin_blocklist_check(who text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    nothing text;
BEGIN
    PERFORM admin_begin();
    IF NOT EXISTS (SELECT FROM blocklist WHERE zones <> '{}') THEN
        RETURN (78, 'nothing is looked up: the leading coordinator''s configuration has no blocklist_zones in [coordinator]', NULL)::admin_answer;
    END IF;
    SELECT blocklist_nothing(b) INTO nothing FROM blocklist AS b;
    IF nothing IS NOT NULL THEN
        RETURN (78, 'nothing is looked up: ' || nothing, NULL)::admin_answer;
    END IF;
    UPDATE blocklist SET asked = asked + 1;
    INSERT INTO audit_action (who, action, target, detail) VALUES (admin_blocklist_check.who, 'blocklist check', '', '{}');
    RETURN admin_blocklist_status();
END $f$;
