-- functions/reputation_admin.sql - what operators ask and say of reputations

-- wanted: an address, a prefix or a login, as it is a key. kind is NULL when it is none.
CREATE OR REPLACE FUNCTION reputation_key(wanted text, OUT kind text, OUT key text, OUT problem text) LANGUAGE plpgsql IMMUTABLE AS $f$
DECLARE
    net inet;
BEGIN
    IF wanted ~ '^[0-9.]+(/[0-9]+)?$' OR wanted ~ '^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/[0-9]+)?$' THEN
        net := wanted::inet;
        IF net <> network(net) THEN
            problem := format('%s has host bits: %s is the prefix', wanted, network(net));
        ELSE
            kind := CASE WHEN masklen(net) = CASE family(net) WHEN 4 THEN 32 ELSE 128 END THEN 'address' ELSE 'prefix' END;
            key := CASE kind WHEN 'address' THEN host(net) ELSE text(net) END;
        END IF;
    ELSIF wanted = '' OR wanted ~ '[/[:space:][:cntrl:]]' OR length(wanted) > 255 THEN
        problem := format('"%s" is no address, prefix or account', left(wanted, 80));
    ELSE
        kind := 'account';
        key := login_fold(wanted);
    END IF;
EXCEPTION WHEN data_exception THEN
    problem := format('"%s" is no address or prefix', left(wanted, 80));
END $f$;

CREATE OR REPLACE FUNCTION reputation_json(r reputation) RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object('kind', r.kind, 'key', r.key, 'good', round(r.good::numeric, 1), 'virus', round(r.virus::numeric, 1), 'spam', round(r.spam::numeric, 1),
        'unknown', round(r.unknown::numeric, 1), 'auth', round(r.auth::numeric, 1), 'abuse', round(r.abuse::numeric, 1), 'bad', round(reputation_bad(r)::numeric, 1),
        'proof', reputation_proof(r.kind), 'score', round(reputation_score(r)::numeric, 1), 'action', (reputation_verdict(r)).action)
$f$;

CREATE OR REPLACE FUNCTION standing_json(s standing) RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object('key', s.key, 'account', s.login, 'by', CASE WHEN s.by_operator THEN 'operator' ELSE 'score' END, 'action', s.action, 'at', s.at,
        'expires_at', s.expires_at, 'reason', s.reason, 'owner', s.owner, 'who', s.who)
$f$;

-- What is known of one, or, of NULL, of the worst and all that operators said.
CREATE OR REPLACE FUNCTION admin_reputation_show(wanted text, most integer) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    k record;
BEGIN
    SELECT * INTO k FROM reputation_key(coalesce(wanted, '-'));
    IF k.problem IS NOT NULL THEN
        RETURN (65, k.problem, NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, json_build_object(
        'counts', coalesce((SELECT json_agg(reputation_json(n.now) ORDER BY reputation_score(n.now) DESC, (n.now).key) FROM (
            SELECT o.now FROM (SELECT reputation_now(r, clock_timestamp()) AS now FROM reputation AS r WHERE wanted IS NULL OR (r.kind = k.kind AND r.key = k.key)) AS o
            ORDER BY reputation_score(o.now) DESC, (o.now).key LIMIT most) AS n), '[]'),
        'standings', coalesce((SELECT json_agg(standing_json(s) ORDER BY s.by_operator DESC, s.login, s.key) FROM (
            SELECT * FROM standing AS t WHERE t.expires_at > clock_timestamp() AND (t.by_operator OR t.action <> 'allow')
                AND (wanted IS NULL OR (t.login = (k.kind = 'account') AND t.key = k.key)) ORDER BY t.by_operator DESC, t.at DESC LIMIT most) AS s), '[]')))::admin_answer;
END $f$;

-- The standings that an edge looks at for one, those that count first.
CREATE OR REPLACE FUNCTION standings_of(kind text, key text) RETURNS SETOF standing LANGUAGE sql STABLE AS $f$
    SELECT s.* FROM standing AS s WHERE s.expires_at > clock_timestamp() AND (s.by_operator OR s.action <> 'allow')
        AND CASE WHEN kind = 'account' THEN s.login AND s.key = standings_of.key
            WHEN NOT s.login THEN s.key::inet >>= standings_of.key::inet ELSE false END
    ORDER BY s.by_operator DESC, CASE WHEN s.by_operator AND NOT s.login THEN -masklen(s.key::inet) END, s.action = 'reject' DESC
$f$;

CREATE OR REPLACE FUNCTION admin_reputation_explain(wanted text) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    k record;
    counts json;
    found standing[];
BEGIN
    SELECT * INTO k FROM reputation_key(wanted);
    IF k.problem IS NOT NULL THEN
        RETURN (65, k.problem, NULL)::admin_answer;
    END IF;
    SELECT coalesce(json_agg(reputation_json(reputation_now(r, clock_timestamp())) ORDER BY r.kind), '[]') INTO counts FROM reputation AS r
        WHERE (r.kind, r.key) IN (VALUES (k.kind, k.key), ('prefix', CASE WHEN k.kind = 'address' THEN reputation_prefix(k.key) END));
    SELECT array_agg(s) INTO found FROM standings_of(k.kind, k.key) AS s;
    RETURN (0, NULL, json_build_object('kind', k.kind, 'key', k.key, 'counts', counts,
        'standings', coalesce((SELECT json_agg(standing_json(s)) FROM unnest(found) AS s), '[]'),
        'action', coalesce(found[1].action, 'allow'), 'by', CASE WHEN found IS NULL THEN NULL WHEN found[1].by_operator THEN 'operator' ELSE 'score' END,
        'half_life', reputation_setting('half_life', 86400), 'throttle', reputation_setting('throttle', 0), 'reject', reputation_setting('reject', 0)))::admin_answer;
END $f$;

CREATE OR REPLACE FUNCTION admin_reputation_set(by text, wanted text, said text, why text, span interval, whom text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    k record;
    until timestamptz := clock_timestamp() + span;
BEGIN
    SELECT * INTO k FROM reputation_key(wanted);
    IF k.problem IS NOT NULL THEN
        RETURN (65, k.problem, NULL)::admin_answer;
    ELSIF said NOT IN ('allow', 'throttle', 'reject') THEN
        RETURN (64, format('"%s": allow, throttle or reject is needed', said), NULL)::admin_answer;
    ELSIF coalesce(why, '') = '' OR length(why) > 500 OR length(whom) > 200 THEN
        RETURN (64, 'a reason is needed, of at most 500 characters; the owner has at most 200', NULL)::admin_answer;
    ELSIF span <= interval '0' OR span > interval '3660 days' THEN
        RETURN (64, 'it must expire, within ten years', NULL)::admin_answer;
    ELSIF k.kind = 'prefix' AND masklen(k.key::inet) < (CASE family(k.key::inet) WHEN 4 THEN 8 ELSE 16 END) THEN
        RETURN (65, format('%s is too much of the internet', k.key), NULL)::admin_answer;
    END IF;
    PERFORM standing_set(ARRAY[k.kind = 'account'], ARRAY[k.key], true, ARRAY[said], ARRAY[until], why, coalesce(whom, ''), by);
    INSERT INTO audit_action (who, action, target, detail)
        VALUES (by, 'reputation set', k.key, jsonb_build_object('action', said, 'reason', why, 'owner', coalesce(whom, ''), 'expires_at', until));
    RETURN (0, NULL, json_build_object('key', k.key, 'action', said, 'expires_at', until))::admin_answer;
END $f$;

-- What was counted of it, and what operators said of it.
CREATE OR REPLACE FUNCTION admin_reputation_forget(by text, wanted text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    k record;
    counts bigint;
    lifted bigint := 0;
    operator boolean;
BEGIN
    SELECT * INTO k FROM reputation_key(wanted);
    IF k.problem IS NOT NULL THEN
        RETURN (65, k.problem, NULL)::admin_answer;
    END IF;
    DELETE FROM reputation AS r WHERE r.kind = k.kind AND r.key = k.key;
    GET DIAGNOSTICS counts = ROW_COUNT;
    FOREACH operator IN ARRAY ARRAY[false, true] LOOP
        IF EXISTS (SELECT FROM standing AS s WHERE s.login = (k.kind = 'account') AND s.key = k.key AND s.by_operator = operator AND s.expires_at > clock_timestamp()) THEN
            PERFORM standing_set(ARRAY[k.kind = 'account'], ARRAY[k.key], operator, ARRAY['allow'], ARRAY[clock_timestamp()], NULL, NULL, NULL);
            lifted := lifted + 1;
        END IF;
    END LOOP;
    IF counts + lifted > 0 THEN
        INSERT INTO audit_action (who, action, target, detail) VALUES (by, 'reputation forget', k.key, jsonb_build_object('counted', counts > 0, 'lifted', lifted));
    END IF;
    RETURN (0, NULL, json_build_object('key', k.key, 'counted', counts > 0, 'lifted', lifted))::admin_answer;
END $f$;

-- What was counted of everybody, or, with a span, of those of whom something was counted within it, is forgotten, and edges let them in: for when it was the site's own
-- mistake. What operators said stays.
CREATE OR REPLACE FUNCTION admin_reputation_forget_all(by text, span interval) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    moment timestamptz := clock_timestamp();
    since timestamptz := CASE WHEN span IS NULL THEN '-infinity' ELSE moment - span END;
    logins boolean[];
    keys text[];
    counts bigint;
    lifted bigint;
BEGIN
    LOCK TABLE reputation IN EXCLUSIVE MODE; -- so many rows cannot be locked in the order that others lock theirs in
    SELECT array_agg(s.login), array_agg(s.key) INTO logins, keys FROM standing AS s WHERE NOT s.by_operator AND s.action <> 'allow' AND s.expires_at > moment
        AND (s.at >= since OR EXISTS (SELECT FROM reputation AS r WHERE r.kind = standing_kind(s.login, s.key) AND r.key = s.key AND r.at >= since));
    DELETE FROM reputation WHERE at >= since;
    GET DIAGNOSTICS counts = ROW_COUNT;
    lifted := coalesce(cardinality(keys), 0);
    IF lifted > 0 THEN
        PERFORM standing_set(logins, keys, false, array_fill('allow'::text, ARRAY[lifted::integer]), array_fill(clock_timestamp(), ARRAY[lifted::integer]), NULL, NULL, NULL);
    END IF;
    INSERT INTO audit_action (who, action, target, detail)
        VALUES (by, 'reputation forget', 'all', jsonb_build_object('within', span, 'counted', counts, 'lifted', lifted));
    RETURN (0, NULL, json_build_object('counted', counts, 'lifted', lifted))::admin_answer;
END $f$;
