-- functions/reputation_admin.sql - what operators ask and say of reputations

-- wanted: an address, a prefix, a registered host ("host:192.0.2.64/28") or a login, as it is a key. kind is NULL when it is none.
-- A login may well be a number: only four of them are an address.
CREATE OR REPLACE FUNCTION reputation_key(wanted text, OUT kind text, OUT key text, OUT problem text) LANGUAGE plpgsql IMMUTABLE AS $f$
DECLARE
    net inet;
BEGIN
    IF wanted LIKE 'host:%' THEN
        net := substr(wanted, 6)::inet;
        IF net <> network(net) THEN
            problem := format('%s has host bits: host:%s is the prefix', wanted, network(net));
        ELSE
            kind := 'host';
            key := host_key(substr(wanted, 6));
        END IF;
    ELSIF wanted ~ '^([0-9]{1,3}[.]){3}[0-9]{1,3}$' OR wanted ~ '^[0-9.]+/[0-9]+$' OR wanted ~ '^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/[0-9]+)?$' THEN
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
        'expires_at', s.expires_at, 'reason', s.reason, 'owner', s.owner, 'who', s.who, 'override', nullif(s.override, 0))
$f$;

-- What is known of one, or, of NULL, of the worst and all that operators said.
CREATE OR REPLACE FUNCTION admin_reputation_show(wanted text, most integer) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    k record;
    half_life CONSTANT double precision := reputation_setting('half_life', 86400);
BEGIN
    SELECT * INTO k FROM reputation_key(coalesce(wanted, '-'));
    IF k.problem IS NOT NULL THEN
        RETURN (65, k.problem, NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, json_build_object(
        'counts', coalesce((SELECT json_agg(reputation_json(n.now) ORDER BY reputation_score(n.now) DESC, (n.now).key) FROM (
            -- The worst by one expression, of as many rows as there are; what is left is for those that are shown.
            SELECT reputation_now(w.r, clock_timestamp()) AS now FROM (
                SELECT r FROM reputation AS r, LATERAL (SELECT power(0.5::double precision,
                        least(greatest(extract(epoch FROM now() - r.at)::double precision, 0) / half_life, 900)) AS part) AS f
                    WHERE wanted IS NULL OR (r.kind = k.kind AND r.key = k.key)
                    ORDER BY reputation_bad(r) * f.part / ((reputation_bad(r) + r.good) * f.part + reputation_proof(r.kind)) DESC, r.key LIMIT most) AS w) AS n), '[]'),
        'standings', coalesce((SELECT json_agg(standing_json(s) ORDER BY s.by_operator DESC, s.login, s.key) FROM (
            SELECT * FROM standing AS t WHERE t.expires_at > clock_timestamp() AND (t.by_operator OR t.action <> 'allow')
                AND (wanted IS NULL OR (t.login = (k.kind = 'account') AND t.key = k.key)) ORDER BY t.by_operator DESC, t.at DESC LIMIT most) AS s), '[]')))::admin_answer;
END $f$;

-- The standings that an edge looks at for one, those that count first.
CREATE OR REPLACE FUNCTION standings_of(kind text, key text) RETURNS SETOF standing LANGUAGE sql STABLE AS $f$
    SELECT s.* FROM standing AS s WHERE s.expires_at > clock_timestamp() AND (s.by_operator OR s.action <> 'allow')
        AND CASE WHEN kind IN ('account', 'host') THEN s.login = (kind = 'account') AND s.key = standings_of.key
            WHEN NOT s.login AND s.key NOT LIKE 'host:%' THEN s.key::inet >>= standings_of.key::inet ELSE false END
    ORDER BY s.by_operator DESC, CASE WHEN s.by_operator AND standing_kind(s.login, s.key) IN ('address', 'prefix') THEN -masklen(s.key::inet) END, s.action = 'reject' DESC
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

-- What an operator says lets more through than what is in force: something milder, or as strict but for a shorter time than an operator's word that it replaces. Of a
-- prefix also where the scores of addresses in it, which his word goes before, are stricter.
CREATE OR REPLACE FUNCTION reputation_is_milder(a_kind text, a_key text, said text, until timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $f$
    WITH first AS (SELECT s.action FROM standings_of(a_kind, a_key) AS s LIMIT 1)
    SELECT said = 'throttle' AND (EXISTS (SELECT FROM first AS s WHERE s.action = 'reject')
            OR EXISTS (SELECT FROM standing AS s WHERE NOT s.by_operator AND s.action = 'reject' AND s.expires_at > clock_timestamp()
                AND CASE WHEN a_kind = 'prefix' AND NOT s.login AND s.key NOT LIKE 'host:%' THEN s.key::inet << a_key::inet ELSE false END))
        OR EXISTS (SELECT FROM standing AS s WHERE s.by_operator AND s.login = (a_kind = 'account') AND s.key = a_key AND s.action <> 'allow'
            AND s.expires_at > greatest(until, clock_timestamp()))
$f$;

CREATE OR REPLACE FUNCTION admin_reputation_set(by text, wanted text, said text, why text, span interval, whom text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    k record;
    until timestamptz := clock_timestamp() + span;
    made override;
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
    IF said = 'allow' OR override_needs_two() AND reputation_is_milder(k.kind, k.key, said, until) THEN
        made := override_ask(by, 'reputation set', k.key, jsonb_build_object('action', said, 'login', k.kind = 'account'), why, coalesce(whom, ''), span);
        RETURN CASE WHEN made.state = 'pending' THEN override_pending_answer(made) ELSE override_do(made, by) END;
    END IF;
    PERFORM standing_set(ARRAY[k.kind = 'account'], ARRAY[k.key], true, ARRAY[said], ARRAY[until], why, coalesce(whom, ''), by);
    INSERT INTO audit_action (who, action, target, detail)
        VALUES (by, 'reputation set', k.key, jsonb_build_object('action', said, 'reason', why, 'owner', coalesce(whom, ''), 'expires_at', until));
    RETURN (0, NULL, json_build_object('key', k.key, 'action', said, 'expires_at', until))::admin_answer;
END $f$;

-- What was counted of it, and what operators said of it. override_id: by which word it is done, where another operator had to agree.
CREATE OR REPLACE FUNCTION reputation_forget(by text, a_kind text, a_key text, override_id bigint, why text DEFAULT '') RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    counts bigint;
    lifted bigint := 0;
    operator boolean;
BEGIN
    DELETE FROM reputation AS r WHERE r.kind = a_kind AND r.key = a_key;
    GET DIAGNOSTICS counts = ROW_COUNT;
    FOREACH operator IN ARRAY ARRAY[false, true] LOOP
        IF EXISTS (SELECT FROM standing AS s WHERE s.login = (a_kind = 'account') AND s.key = a_key AND s.by_operator = operator AND s.expires_at > clock_timestamp()) THEN
            PERFORM standing_set(ARRAY[a_kind = 'account'], ARRAY[a_key], operator, ARRAY['allow'], ARRAY[clock_timestamp()], NULL, NULL, NULL);
            lifted := lifted + 1;
        END IF;
    END LOOP;
    IF counts + lifted > 0 THEN
        INSERT INTO audit_action (who, action, target, detail) VALUES (by, 'reputation forget', a_key,
            jsonb_strip_nulls(jsonb_build_object('counted', counts > 0, 'lifted', lifted, 'override', override_id, 'reason', nullif(why, ''))));
    END IF;
    RETURN (0, NULL, json_build_object('key', a_key, 'counted', counts > 0, 'lifted', lifted))::admin_answer;
END $f$;

CREATE OR REPLACE FUNCTION admin_reputation_forget(by text, wanted text, why text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    k record;
BEGIN
    SELECT * INTO k FROM reputation_key(wanted);
    IF k.problem IS NOT NULL THEN
        RETURN (65, k.problem, NULL)::admin_answer;
    ELSIF override_needs_two() AND EXISTS (SELECT FROM standing AS s WHERE s.login = (k.kind = 'account') AND s.key = k.key AND s.action <> 'allow'
            AND s.expires_at > clock_timestamp()) THEN
        RETURN override_pending_answer(override_ask(by, 'reputation forget', k.key, jsonb_build_object('action', 'forget', 'kind', k.kind), why, '', interval '0'));
    END IF;
    RETURN reputation_forget(by, k.kind, k.key, NULL, why);
END $f$;

CREATE OR REPLACE FUNCTION admin_reputation_forget(by text, wanted text) RETURNS admin_answer LANGUAGE sql AS $f$
    SELECT * FROM admin_reputation_forget(by, wanted, '')
$f$;

-- The override by which all is being forgotten: one of the last hour, of the same age, that this operator asked for or agreed to; NULL: there is none.
CREATE OR REPLACE FUNCTION reputation_forgetting(by text, age interval) RETURNS bigint LANGUAGE sql STABLE AS $f$
    SELECT max(v.id) FROM override AS v WHERE v.kind = 'reputation forget-all' AND v.state = 'done' AND by IN (v.requested_by, v.decided_by)
        AND (v.detail->>'within')::interval IS NOT DISTINCT FROM age AND v.decided_at > clock_timestamp() - interval '1 hour'
$f$;

-- What was counted of everybody, or, with a span, of those of whom something was counted within it, is forgotten, and edges let them in: for when it was the site's own
-- mistake. What operators said stays. One part of it, of `most` at most, from behind `after` ("kind key", "~": the end; NULL: the first): so nobody's report waits for long. next: where
-- the next part is to go on; NULL: that was all. Where another operator has to agree, his approval does the first part; either of the two goes on. Locks are taken in the order of kind and key; what is counted behind it meanwhile stays.
CREATE OR REPLACE FUNCTION admin_reputation_forget_all(by text, span interval, after text DEFAULT NULL, most integer DEFAULT 20000) RETURNS admin_answer
LANGUAGE plpgsql SET enable_seqscan = off SET enable_sort = off AS $f$
DECLARE
    moment timestamptz := clock_timestamp();
    since timestamptz := CASE WHEN span IS NULL THEN '-infinity' ELSE moment - span END;
    after_kind text := coalesce(split_part(after, ' ', 1), '');
    after_key text := CASE WHEN after IS NULL THEN '' ELSE substr(after, length(after_kind) + 2) END;
    kinds text[];
    counted text[];
    logins boolean[];
    keys text[];
    lifted bigint;
    next text;
    agreed bigint := CASE WHEN after IS NOT NULL THEN reputation_forgetting(by, span) END;
BEGIN
    IF agreed IS NULL AND override_needs_two() THEN
        RETURN override_pending_answer(override_ask(by, 'reputation forget-all', 'everybody', jsonb_build_object('action', 'forget', 'within', span), '', '', interval '0'));
    END IF;
    SELECT array_agg(p.kind ORDER BY p.kind, p.key), array_agg(p.key ORDER BY p.kind, p.key) INTO kinds, counted FROM (
        SELECT r.kind, r.key FROM reputation AS r WHERE after IS DISTINCT FROM '~' AND (r.kind, r.key) > (after_kind, after_key) AND r.at >= since ORDER BY r.kind, r.key LIMIT most FOR UPDATE) AS p;
    SELECT array_agg(s.login), array_agg(s.key) INTO logins, keys FROM unnest(kinds, counted) AS u(kind, key)
        JOIN standing AS s ON s.login = (u.kind = 'account') AND s.key = u.key AND NOT s.by_operator
        WHERE s.action <> 'allow' AND s.expires_at > moment AND standing_kind(s.login, s.key) = u.kind;
    DELETE FROM reputation AS r USING unnest(kinds, counted) AS u(kind, key) WHERE r.kind = u.kind AND r.key = u.key;
    IF cardinality(kinds) >= most THEN
        next := kinds[most] || ' ' || counted[most];
    ELSE -- at the end those of whom nothing is counted any more; of whom something is, it was counted behind this
        SELECT logins || array_agg(l.login), keys || array_agg(l.key), CASE WHEN count(*) >= most THEN '~' END INTO logins, keys, next FROM (
            SELECT s.login, s.key FROM standing AS s WHERE NOT s.by_operator AND s.action <> 'allow' AND s.expires_at > moment AND s.at >= since
                AND NOT EXISTS (SELECT FROM reputation AS r WHERE r.kind = standing_kind(s.login, s.key) AND r.key = s.key AND r.at >= since)
                AND NOT EXISTS (SELECT FROM unnest(logins, keys) AS d(login, key) WHERE d.login = s.login AND d.key = s.key)
            LIMIT most) AS l;
    END IF;
    lifted := coalesce(cardinality(keys), 0);
    IF lifted > 0 THEN
        PERFORM standing_set(logins, keys, false, array_fill('allow'::text, ARRAY[lifted::integer]), array_fill(clock_timestamp(), ARRAY[lifted::integer]), NULL, NULL, NULL);
    END IF;
    INSERT INTO audit_action (who, action, target, detail)
        VALUES (by, 'reputation forget', 'all', jsonb_build_object('within', span, 'counted', coalesce(cardinality(kinds), 0), 'lifted', lifted)
            || jsonb_strip_nulls(jsonb_build_object('override', agreed)));
    RETURN (0, NULL, json_build_object('counted', coalesce(cardinality(kinds), 0), 'lifted', lifted, 'within', span, 'next', next))::admin_answer;
END $f$;
