-- functions/outbreak.sql - attachments that many suddenly send: counted, held, scanned again, released
--
-- k is the configuration, as outbreak_by() in coordinator/outbreak/outbreak.c writes it. Lock order: rows of outbreak_hash by hash, then messages as the quarantine has it.

CREATE OR REPLACE FUNCTION outbreak_network(client text) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $f$
BEGIN
    RETURN hashtextextended(host(network(set_masklen(client::inet, CASE WHEN family(client::inet) = 4 THEN 24 ELSE 48 END))), 0);
EXCEPTION WHEN data_exception THEN
    RETURN hashtextextended(client, 0);
END $f$;

-- Names that one sender makes of his own, for each message another, are one: what stands behind + or =, and long numbers.
CREATE OR REPLACE FUNCTION outbreak_sender(sender text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $f$
    SELECT hashtextextended(regexp_replace(regexp_replace(regexp_replace(lower(sender), '^prvs=[^=@]*=', ''), '[+=][^@]*', ''), '[0-9]{4,}(?=[^@]*@)', '', 'g'), 0)
$f$;

-- Who logged in is who he says; any other name may be made up, but not the network it comes from: the low 20 bits, which are 0 for an account.
CREATE OR REPLACE FUNCTION outbreak_name(sender text, network bigint, login text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $f$
    SELECT CASE WHEN login <> '' THEN hashtextextended(lower(login), 1) >> 20 << 20 ELSE outbreak_sender(sender) >> 20 << 20 | 1 + (network & 1048575) % 1048575 END
$f$;

-- Senders and networks that are to be remembered of an attachment; no more than are needed. Returns whether these are enough. Of names that may be made up as many
-- count from one network as each of the networks has to bring: else one host makes up all but a few. The caller has locked the attachment.
CREATE OR REPLACE FUNCTION outbreak_sighted(k jsonb, a_hash bytea, senders text[], clients text[], logins text[]) RETURNS boolean LANGUAGE plpgsql AS $f$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    want_names CONSTANT integer := k->>'senders';
    want_networks CONSTANT integer := k->>'prefixes';
    share CONSTANT integer := (want_names + want_networks - 1) / want_networks;
    names bigint[];
    networks bigint[];
    -- of those what is seen again, or is new
    names_now bigint[] := '{}';
    networks_now bigint[] := '{}';
    name bigint;
    network bigint;
    known bigint;
    same bigint;
    beside integer;
BEGIN
    SELECT coalesce(array_agg(s.who) FILTER (WHERE NOT s.network), '{}'), coalesce(array_agg(s.who) FILTER (WHERE s.network), '{}') INTO names, networks
        FROM outbreak_sight s WHERE s.hash = a_hash AND s.at > moment - (k->>'window')::interval;
    FOR i IN 1 .. cardinality(senders) LOOP
        network := outbreak_network(clients[i]);
        name := outbreak_name(senders[i], network, logins[i]);
        same := NULL;
        beside := 0;
        FOREACH known IN ARRAY names LOOP
            IF known >> 20 = name >> 20 THEN
                same := known;
            ELSIF known & 1048575 = name & 1048575 THEN
                beside := beside + 1;
            END IF;
        END LOOP;
        IF same IS NOT NULL THEN
            names_now := names_now || same;
        ELSIF cardinality(names) < want_names AND (name & 1048575 = 0 OR beside < share) THEN
            names := names || name;
            names_now := names_now || name;
        END IF;
        IF network = ANY (networks) THEN
            networks_now := networks_now || network;
        ELSIF cardinality(networks) < want_networks THEN
            networks := networks || network;
            networks_now := networks_now || network;
        END IF;
        EXIT WHEN cardinality(names) >= want_names AND cardinality(networks) >= want_networks;
    END LOOP;
    INSERT INTO outbreak_sight AS s (hash, network, who, at)
        SELECT DISTINCT a_hash, false, n, moment FROM unnest(names_now) AS n UNION ALL SELECT DISTINCT a_hash, true, n, moment FROM unnest(networks_now) AS n
        ON CONFLICT ON CONSTRAINT outbreak_sight_pkey DO UPDATE SET at = EXCLUDED.at;
    RETURN cardinality(names) >= want_names AND cardinality(networks) >= want_networks;
END $f$;

-- They have one parameter more, or another.
DROP FUNCTION IF EXISTS outbreak_name(text, text, text);
DROP FUNCTION IF EXISTS outbreak_share(jsonb);
DROP FUNCTION IF EXISTS outbreak_seen(jsonb, bytea, timestamptz);
DROP FUNCTION IF EXISTS outbreak_sighted(jsonb, bytea, text[], text[]);
DROP FUNCTION IF EXISTS outbreak_count(jsonb, bytea, integer, bigint, text[], text[]);

-- What becomes of messages with this attachment, which these senders sent just now: pass, hold or block.
CREATE OR REPLACE FUNCTION outbreak_count(k jsonb, a_hash bytea, a_kind integer, a_size bigint, senders text[], clients text[], logins text[]) RETURNS text LANGUAGE plpgsql AS $f$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    holds CONSTANT text := CASE WHEN k->>'mode' = 'hold' THEN 'hold' ELSE 'pass' END;
    h outbreak_hash;
BEGIN
    SELECT * INTO h FROM outbreak_hash o WHERE o.hash = a_hash;
    IF FOUND AND h.state = 'counted' AND h.blocked_until IS NULL AND h.first_at < moment - (k->>'known')::interval AND h.last_at > moment - (k->>'memory')::interval THEN
        UPDATE outbreak_hash o SET last_at = moment WHERE o.hash = a_hash AND o.last_at < moment - interval '1 hour';
        RETURN 'pass';
    END IF;
    INSERT INTO outbreak_hash (hash, kind, size, first_at, last_at) VALUES (a_hash, a_kind, a_size, moment, moment) ON CONFLICT (hash) DO NOTHING;
    SELECT * INTO h FROM outbreak_hash o WHERE o.hash = a_hash FOR UPDATE;
    IF h.state = 'counted' AND h.last_at < moment - (k->>'memory')::interval THEN
        h.first_at := moment;
    END IF;
    UPDATE outbreak_hash o SET messages = o.messages + cardinality(senders), first_at = h.first_at,
        last_at = CASE WHEN o.last_at < moment - interval '1 hour' OR h.first_at = moment THEN moment ELSE o.last_at END WHERE o.hash = a_hash;
    IF h.blocked_until > moment THEN
        RETURN 'block';
    ELSIF h.state = 'suspect' AND h.since > moment - (k->>'hold')::interval THEN
        RETURN holds;
    ELSIF h.state <> 'counted' OR h.first_at < moment - (k->>'known')::interval OR NOT outbreak_sighted(k, a_hash, senders, clients, logins) THEN
        RETURN 'pass';
    END IF;
    UPDATE outbreak_hash o SET state = 'suspect', since = moment, who = CASE holds WHEN 'hold' THEN 'outbreak' ELSE 'outbreak (watch)' END,
        why = format('%s senders from %s networks within %s', k->>'senders', k->>'prefixes', k->>'window') WHERE o.hash = a_hash;
    DELETE FROM outbreak_sight o WHERE o.hash = a_hash;
    INSERT INTO audit_action (who, action, target, detail) VALUES ('outbreak', 'outbreak suspect', encode(a_hash, 'hex'),
        jsonb_build_object('kind', h.kind, 'size', h.size, 'first_at', h.first_at, 'messages', h.messages + cardinality(senders), 'mode', k->>'mode'));
    RETURN holds;
END $f$;

-- One row for each attachment of a question (with an empty hash where it has none), each question with a number of its own. Answers each once, in their order.
CREATE OR REPLACE FUNCTION outbreak_ask(k jsonb, numbers integer[], ids text[], senders text[], clients text[], hashes text[], kinds integer[], sizes bigint[],
    counteds boolean[], sets text[], helds boolean[], records boolean[], logins text[]) RETURNS TABLE (action text, hash text) LANGUAGE plpgsql AS $f$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    one record;
    word text;
    held text[] := '{}';
    blocked text[] := '{}';
BEGIN
    INSERT INTO attachment_seen (hash, id, at, kind) SELECT decode(u.h, 'hex'), u.i, moment, u.kind FROM unnest(ids, hashes, kinds, records) AS u(i, h, kind, record)
        WHERE u.record AND u.h <> '' AND (k->>'hunt')::boolean ORDER BY 1, 2 ON CONFLICT DO NOTHING;
    -- What comes from where it was held is counted no more.
    FOR one IN SELECT u.h, min(u.kind) AS kind, min(u.size) AS size, array_agg(u.sender) FILTER (WHERE NOT u.was_held) AS senders,
            array_agg(u.client) FILTER (WHERE NOT u.was_held) AS clients, array_agg(u.login) FILTER (WHERE NOT u.was_held) AS logins
        FROM unnest(hashes, kinds, sizes, senders, clients, logins, counteds, helds) AS u(h, kind, size, sender, client, login, counted, was_held)
        WHERE u.counted AND u.h <> '' AND k->>'mode' <> 'off' GROUP BY u.h ORDER BY u.h COLLATE "C"
    LOOP
        IF one.senders IS NULL THEN
            word := (SELECT 'block' FROM outbreak_hash o WHERE o.hash = decode(one.h, 'hex') AND o.blocked_until > moment);
        ELSE
            word := outbreak_count(k, decode(one.h, 'hex'), one.kind, one.size, one.senders, one.clients, one.logins);
        END IF;
        held := CASE WHEN word = 'hold' THEN held || one.h ELSE held END;
        blocked := CASE WHEN word = 'block' THEN blocked || one.h ELSE blocked END;
    END LOOP;
    INSERT INTO outbreak_message (id, hash, held_at, until, signatures)
        SELECT DISTINCT ON (u.i, u.h) u.i, decode(u.h, 'hex'), moment, moment + (k->>'hold')::interval, u.set FROM unnest(ids, hashes, helds, sets) AS u(i, h, was_held, set)
        WHERE NOT u.was_held AND u.h = ANY (held) ORDER BY u.i, u.h ON CONFLICT DO NOTHING;
    UPDATE outbreak_message AS m SET signatures = u.set FROM unnest(ids, sets, helds) AS u(i, set, was_held) WHERE m.id = u.i AND u.was_held AND u.set <> '' AND m.signatures <> u.set;
    RETURN QUERY SELECT CASE WHEN q.bad IS NOT NULL THEN 'block' WHEN q.waits IS NOT NULL OR q.spreads IS NOT NULL THEN 'hold' ELSE 'pass' END,
            coalesce(q.bad, q.spreads, q.waits, '')
        FROM (SELECT min(u.place) AS place, min(u.h) FILTER (WHERE u.h = ANY (blocked)) AS bad, min(u.h) FILTER (WHERE u.h = ANY (held) AND NOT u.was_held) AS spreads,
                min(encode(m.hash, 'hex')) FILTER (WHERE u.was_held AND m.until > moment AND k->>'mode' = 'hold' AND o.state IS DISTINCT FROM 'good'
                    AND NOT (m.looks > 0 AND (k->>'release_on_clean')::boolean)) AS waits
            FROM unnest(numbers, ids, hashes, helds) WITH ORDINALITY AS u(number, i, h, was_held, place) LEFT JOIN outbreak_message m ON m.id = u.i LEFT JOIN outbreak_hash o ON o.hash = m.hash
            GROUP BY u.number) AS q ORDER BY q.place;
END $f$;

-- What scanners that work have now, as they tell. common: what at least half of them have.
CREATE OR REPLACE FUNCTION outbreak_sets(OUT sets text[], OUT common text[]) LANGUAGE sql STABLE AS $f$
    SELECT coalesce(array_agg(n.signatures ORDER BY n.signatures), '{}'), coalesce(array_agg(n.signatures ORDER BY n.signatures) FILTER (WHERE 2 * n.amount >= n.total), '{}')
    FROM (SELECT p.signatures, count(*) AS amount, sum(count(*)) OVER () AS total FROM node n JOIN node_process p ON p.node = n.name
        WHERE n.role = 'scanner' AND NOT n.lost AND p.state = 'active' AND p.seen_at > clock_timestamp() - interval '10 seconds' AND p.signatures <> '' GROUP BY p.signatures) AS n
$f$;

-- One turn of the leader, for so many messages at most: those whose time is over are released, to be scanned again and delivered; those that were not seen with
-- signatures that half of the scanners have are scanned again; those that an operator dropped are deleted. As copies leave the quarantine once, each is done once.
CREATE OR REPLACE FUNCTION outbreak_turn(k jsonb, most integer, OUT released bigint, OUT looked bigint, OUT dropped bigint, OUT active bigint, OUT more boolean) LANGUAGE plpgsql AS $f$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    now_have CONSTANT record := outbreak_sets();
    -- One scanner that stays behind keeps nothing from being looked at with what the others have.
    news CONSTANT text[] := CASE WHEN now_have.common <> '{}' THEN now_have.common ELSE now_have.sets END;
    all_news CONSTANT text := array_to_string(news, E'\n');
    one record;
    amount integer := 0;
BEGIN
    released := 0;
    looked := 0;
    dropped := 0;
    FOR one IN SELECT c.id, c.numbers, CASE WHEN m.dropped THEN 'drop' WHEN m.good OR k->>'mode' <> 'hold'
                OR coalesce(m.until, c.kept_at + (k->>'hold')::interval) <= moment THEN 'release' ELSE 'look' END AS what, m.who, m.why
        FROM (SELECT w.id, array_agg(w.number ORDER BY w.number) AS numbers, min(w.kept_at) AS kept_at FROM quarantine_copy w
            WHERE w.reason = 'outbreak' AND w.state = 'waiting' GROUP BY w.id) AS c
        -- It waits while any of its attachments does, and goes with any that is dropped.
        CROSS JOIN LATERAL (SELECT bool_or(o.held_at <= h.dropped_at) AS dropped, bool_and(h.state IS NOT DISTINCT FROM 'good') AS good,
                max(o.until) FILTER (WHERE h.state IS DISTINCT FROM 'good') AS until, min(o.signatures) AS signatures, min(o.looked) AS looked,
                (array_agg(h.who) FILTER (WHERE o.held_at <= h.dropped_at))[1] AS who, (array_agg(h.why) FILTER (WHERE o.held_at <= h.dropped_at))[1] AS why
            FROM outbreak_message o LEFT JOIN outbreak_hash h ON h.hash = o.hash WHERE o.id = c.id) AS m
        WHERE m.dropped OR m.good OR k->>'mode' <> 'hold' OR coalesce(m.until, c.kept_at + (k->>'hold')::interval) <= moment
            OR news <> '{}' AND m.looked <> all_news
                AND CASE WHEN now_have.common <> '{}' THEN m.signatures <> ANY (news) ELSE m.signatures <> ALL (news) END
        ORDER BY c.id LIMIT most
    LOOP
        amount := amount + 1;
        IF one.what = 'drop' THEN
            dropped := dropped + quarantine_end(one.id, one.numbers, 'deleted', one.who, one.why);
        ELSIF one.what = 'release' THEN
            released := released + quarantine_release(one.id, one.numbers, 'outbreak', 'outbreak: its time is over', false);
        ELSE
            UPDATE outbreak_message m SET looked = all_news, looks = m.looks + 1 WHERE m.id = one.id;
            looked := looked + quarantine_release(one.id, one.numbers, 'outbreak', 'outbreak: scanned with new signatures', false);
        END IF;
    END LOOP;
    more := amount >= most;
    SELECT count(*) INTO active FROM outbreak_hash o WHERE o.state = 'suspect' AND o.since > moment - (k->>'hold')::interval;
END $f$;

-- What is not needed any more, so many rows of each at most. more: there may be more.
CREATE OR REPLACE FUNCTION outbreak_tidy(k jsonb, most integer, OUT forgotten bigint, OUT known bigint, OUT more boolean) LANGUAGE plpgsql AS $f$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    gone bigint;
BEGIN
    DELETE FROM outbreak_sight WHERE ctid = ANY (ARRAY(SELECT s.ctid FROM outbreak_sight s WHERE s.at < moment - (k->>'window')::interval LIMIT most FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    more := gone >= most;
    SELECT count(*) INTO known FROM outbreak_hash;
    DELETE FROM outbreak_hash WHERE ctid = ANY (ARRAY(SELECT o.ctid FROM outbreak_hash o WHERE o.state = 'counted' AND o.last_at < moment - (k->>'memory')::interval
            AND coalesce(o.blocked_until, '-infinity') < moment ORDER BY o.last_at LIMIT most FOR UPDATE SKIP LOCKED)
        || ARRAY(SELECT o.ctid FROM outbreak_hash o WHERE o.state = 'counted' AND coalesce(o.blocked_until, '-infinity') < moment ORDER BY o.last_at
            LIMIT least(most, greatest(0, known - (k->>'entries')::bigint)) FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    known := known - forgotten;
    more := more OR forgotten >= most;
    -- An operator's word, and an outbreak that is over, are remembered as long as anything: then it is as new.
    UPDATE outbreak_hash o SET state = 'counted', blocked_until = NULL, dropped_at = NULL, who = '', why = '' WHERE (o.state <> 'counted' OR o.blocked_until IS NOT NULL)
        AND o.last_at < moment - (k->>'memory')::interval AND coalesce(o.blocked_until, '-infinity') < moment
        AND coalesce(o.since, '-infinity') < moment - (k->>'memory')::interval;
    DELETE FROM outbreak_message WHERE ctid = ANY (ARRAY(SELECT m.ctid FROM outbreak_message m WHERE m.until < moment - interval '1 day'
        AND NOT EXISTS (SELECT FROM quarantine_copy c WHERE c.id = m.id AND c.state = 'waiting' AND c.reason = 'outbreak') ORDER BY m.until LIMIT most FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    more := more OR gone >= most;
    DELETE FROM attachment_seen WHERE ctid = ANY (ARRAY(SELECT a.ctid FROM attachment_seen a WHERE a.at < moment - (k->>'hunt_time')::interval ORDER BY a.at LIMIT most FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    more := more OR gone >= most;
END $f$;

-- Of what edges report: the attachments of messages, 33 bytes in hex each, for weirctl hunt.
CREATE OR REPLACE FUNCTION attachment_take(ids text[], times_ms bigint[], packed text[]) RETURNS void LANGUAGE sql AS $f$
    INSERT INTO attachment_seen (hash, id, at, kind)
        SELECT decode(substr(u.p, n * 66 + 1, 64), 'hex'), u.i, to_timestamp(u.ms / 1000::float8), ('x0' || substr(u.p, n * 66 + 65, 2))::bit(12)::integer::smallint
        FROM unnest(ids, times_ms, packed) AS u(i, ms, p), generate_series(0, length(u.p) / 66 - 1) AS n ORDER BY 1, 2
        ON CONFLICT DO NOTHING
$f$;
