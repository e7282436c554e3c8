-- functions/outbreak_admin.sql - what operators see of outbreaks and do about them, and who got what

CREATE OR REPLACE FUNCTION attachment_kind_name(kind integer) RETURNS text LANGUAGE sql IMMUTABLE AS $f$
    SELECT (ARRAY['other', 'executable', 'script', 'shortcut', 'macro', 'archive_program', 'archive_encrypted', 'disk', 'archive', 'html', 'pdf'])[kind]
$f$;

-- What is wrong with a hash that an operator names; NULL: nothing.
CREATE OR REPLACE FUNCTION attachment_hash_check(wanted text) RETURNS text LANGUAGE sql IMMUTABLE AS $f$
    SELECT CASE WHEN wanted !~ '^([0-9A-Fa-f]{2}){4,32}$' THEN format('"%s" is no SHA-256 of an attachment: 64 hexadecimal digits, or its first eight or more, an even number', left(wanted, 80)) END
$f$;

-- The one attachment that counts and whose hash begins so; else what is wrong.
CREATE OR REPLACE FUNCTION outbreak_find(wanted text, OUT whole bytea, OUT problem text) LANGUAGE plpgsql STABLE AS $f$
DECLARE
    begins bytea;
    amount integer;
BEGIN
    problem := attachment_hash_check(wanted);
    IF problem IS NOT NULL THEN
        RETURN;
    END IF;
    begins := decode(lower(wanted), 'hex');
    SELECT count(*), (array_agg(o.hash))[1] INTO amount, whole FROM (SELECT h.hash FROM outbreak_hash h WHERE h.hash >= begins
        AND h.hash <= begins || decode(repeat('ff', 32 - octet_length(begins)), 'hex') ORDER BY h.hash LIMIT 2) AS o;
    IF amount = 1 THEN
        RETURN;
    END IF;
    problem := CASE amount WHEN 0 THEN format('no attachment that may be an outbreak has a hash %s...; weirctl hunt finds others', left(wanted, 16))
        ELSE format('several attachments have a hash that begins with %s: more digits tell them apart', left(wanted, 64)) END;
    whole := NULL;
END $f$;

CREATE OR REPLACE FUNCTION outbreak_json(o outbreak_hash) RETURNS jsonb LANGUAGE sql STABLE AS $f$
    SELECT jsonb_build_object('hash', encode(o.hash, 'hex'), 'kind', attachment_kind_name(o.kind), 'size', o.size, 'first_at', o.first_at, 'last_at', o.last_at,
        'messages', o.messages, 'state', CASE WHEN o.blocked_until > clock_timestamp() THEN 'blocked' WHEN o.state = 'good' THEN 'released'
            WHEN o.state = 'counted' THEN 'counted' WHEN EXISTS (SELECT FROM outbreak_message m WHERE m.hash = o.hash AND m.until > clock_timestamp()) THEN 'suspect'
            WHEN o.who = 'outbreak (watch)' THEN 'watched' ELSE 'over' END,
        'since', o.since, 'blocked_until', o.blocked_until, 'who', o.who, 'why', o.why,
        'held', (SELECT count(*) FROM outbreak_message m JOIN quarantine_copy c ON c.id = m.id WHERE m.hash = o.hash AND c.state = 'waiting' AND c.reason = 'outbreak'),
        'until', (SELECT max(m.until) FROM outbreak_message m WHERE m.hash = o.hash AND m.until > clock_timestamp()))
$f$;

CREATE OR REPLACE FUNCTION admin_outbreak_list() RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(outbreak_json(l) ORDER BY l.since DESC NULLS LAST) FROM (SELECT o.* FROM outbreak_hash o
        WHERE o.state <> 'counted' OR o.blocked_until IS NOT NULL ORDER BY o.since DESC NULLS LAST LIMIT 1000) AS l), '[]')
$f$;

CREATE OR REPLACE FUNCTION admin_outbreak_show(wanted text) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    named CONSTANT record := outbreak_find(wanted);
BEGIN
    IF named.problem IS NOT NULL THEN
        RETURN (65, named.problem, NULL)::admin_answer;
    END IF;
    RETURN (SELECT (0, NULL, (outbreak_json(o) || jsonb_build_object('copies', coalesce((SELECT jsonb_agg(to_jsonb(n) ORDER BY n.held_at) FROM (
            SELECT m.id, m.held_at, m.until, m.looks, q.sender, q.client, c.address AS recipient, c.state FROM outbreak_message m JOIN quarantine_copy c ON c.id = m.id
                AND c.reason = 'outbreak' JOIN quarantine_message q ON q.id = m.id WHERE m.hash = o.hash ORDER BY m.held_at DESC LIMIT 100) AS n), '[]')))::json)::admin_answer
        FROM outbreak_hash o WHERE o.hash = named.whole);
END $f$;

-- It is good, as long as it is remembered. What waits goes at the leader's next turns, through a scan.
CREATE OR REPLACE FUNCTION outbreak_release(requester text, wanted bytea, a_why text, override_id bigint) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    body jsonb;
BEGIN
    SELECT outbreak_json(o) INTO body FROM outbreak_hash o WHERE o.hash = wanted;
    UPDATE outbreak_hash o SET state = 'good', since = clock_timestamp(), blocked_until = NULL, dropped_at = NULL, who = requester, why = a_why WHERE o.hash = wanted;
    DELETE FROM outbreak_sight s WHERE s.hash = wanted;
    -- Others wait for another attachment of theirs.
    body := body || jsonb_build_object('held', (SELECT count(*) FROM outbreak_message m JOIN quarantine_copy c ON c.id = m.id WHERE m.hash = wanted AND c.state = 'waiting'
        AND c.reason = 'outbreak' AND NOT EXISTS (SELECT FROM outbreak_message t LEFT JOIN outbreak_hash o ON o.hash = t.hash
            WHERE t.id = m.id AND t.until > clock_timestamp() AND o.state IS DISTINCT FROM 'good')));
    INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'outbreak release', encode(wanted, 'hex'),
        jsonb_build_object('override', override_id, 'reason', a_why, 'was', body->>'state', 'held', body->'held'));
    RETURN (0, NULL, (body || jsonb_build_object('was', body->>'state', 'state', 'released'))::json)::admin_answer;
END $f$;

CREATE OR REPLACE FUNCTION admin_outbreak_release(requester text, wanted text, a_why text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    named CONSTANT record := outbreak_find(wanted);
    made override;
BEGIN
    PERFORM admin_begin();
    IF named.problem IS NOT NULL THEN
        RETURN (65, named.problem, NULL)::admin_answer;
    ELSIF a_why = '' OR length(a_why) > 500 THEN
        RETURN (64, 'outbreak release: --reason says why, in at most 500 characters; it is asked for later', NULL)::admin_answer;
    END IF;
    made := override_ask(requester, 'outbreak release', encode(named.whole, 'hex'), '{}', a_why, '', interval '0');
    RETURN CASE WHEN made.state = 'pending' THEN override_pending_answer(made) ELSE override_do(made, requester) END;
END $f$;

-- What waits is deleted: the first 500 messages now, the others at the leader's next turns. block: what comes for so long is as a virus; NULL: as before.
CREATE OR REPLACE FUNCTION admin_outbreak_drop(requester text, wanted text, a_why text, block interval) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    named CONSTANT record := outbreak_find(wanted);
    body jsonb;
    gone bigint := 0;
    one record;
BEGIN
    PERFORM admin_begin();
    IF named.problem IS NOT NULL THEN
        RETURN (65, named.problem, NULL)::admin_answer;
    ELSIF a_why = '' OR length(a_why) > 500 THEN
        RETURN (64, 'outbreak drop: --reason says why, in at most 500 characters; it is asked for later', NULL)::admin_answer;
    ELSIF block <= interval '0' OR block > interval '365 days' THEN
        RETURN (64, 'outbreak drop: --block is a time of at most a year, as 7d', NULL)::admin_answer;
    END IF;
    SELECT outbreak_json(o) INTO body FROM outbreak_hash o WHERE o.hash = named.whole;
    UPDATE outbreak_hash o SET dropped_at = clock_timestamp(), blocked_until = coalesce(clock_timestamp() + block, o.blocked_until), who = requester, why = a_why,
        state = CASE WHEN o.state = 'good' THEN 'suspect' ELSE o.state END, since = coalesce(o.since, clock_timestamp()) WHERE o.hash = named.whole;
    FOR one IN SELECT c.id, array_agg(c.number ORDER BY c.number) AS numbers FROM outbreak_message m JOIN quarantine_copy c ON c.id = m.id AND c.reason = 'outbreak'
        AND c.state = 'waiting' WHERE m.hash = named.whole GROUP BY c.id ORDER BY c.id LIMIT 500
    LOOP
        gone := gone + quarantine_end(one.id, one.numbers, 'deleted', requester, a_why);
    END LOOP;
    INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'outbreak drop', encode(named.whole, 'hex'), jsonb_strip_nulls(jsonb_build_object(
        'reason', a_why, 'was', body->>'state', 'deleted', gone, 'left', (body->>'held')::bigint - gone, 'block', block::text)));
    RETURN (SELECT (0, NULL, (outbreak_json(o) || jsonb_build_object('was', body->>'state', 'deleted', gone))::json)::admin_answer FROM outbreak_hash o WHERE o.hash = named.whole);
END $f$;

-- ---- hunts ----

-- Everybody for whom mail with these attachments, or of these ids, came since then: the newest, oldest of them first.
CREATE OR REPLACE FUNCTION hunt_rows(hashes bytea[], ids text[], since timestamptz, most integer) RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT coalesce(json_agg(r ORDER BY r.time, r.id, r.recipient_index), '[]') FROM (
        SELECT a.time, a.id, a.recipient_index, a.sender, a.recipient, a.client, a.disposition, a.signature, a.message_id, a.disposition IN ('delivered', 'released') AS received,
            encode(f.hash, 'hex') AS hash, attachment_kind_name(f.kind) AS kind
        FROM (SELECT DISTINCT ON (m.id) m.id, m.hash, m.kind FROM (
                SELECT s.id, s.hash, s.kind FROM attachment_seen s WHERE s.hash = ANY (hashes) AND s.at > since
                UNION ALL SELECT u.i, NULL, NULL FROM unnest(ids) AS u(i)) AS m ORDER BY m.id, m.hash NULLS LAST) AS f
        JOIN audit a ON a.id = f.id WHERE a.time > since ORDER BY a.time DESC LIMIT most) AS r
$f$;

CREATE OR REPLACE FUNCTION admin_hunt(wanted text, a_signature text, a_since text, most integer) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    since timestamptz;
    begins bytea;
    hashes bytea[] := '{}';
    ids text[] := '{}';
    rows json;
BEGIN
    IF (wanted = '') = (a_signature = '') THEN
        RETURN (64, 'hunt: a hash, or --signature NAME', NULL)::admin_answer;
    ELSIF wanted <> '' AND attachment_hash_check(wanted) IS NOT NULL THEN
        RETURN (64, attachment_hash_check(wanted), NULL)::admin_answer;
    ELSIF queue_check_age(a_since) IS NOT NULL THEN
        RETURN (64, queue_check_age(a_since), NULL)::admin_answer;
    END IF;
    since := clock_timestamp() - coalesce(nullif(a_since, ''), '14 days')::interval;
    IF wanted <> '' THEN
        begins := decode(lower(wanted), 'hex');
        hashes := ARRAY(SELECT DISTINCT s.hash FROM attachment_seen s WHERE s.hash >= begins AND s.hash <= begins || decode(repeat('ff', 32 - octet_length(begins)), 'hex') LIMIT 100);
    ELSE
        ids := ARRAY(SELECT DISTINCT a.id FROM audit a WHERE a.signature <> '' AND a.signature IN (a_signature, a_signature || '.UNOFFICIAL') AND a.time > since LIMIT 10000);
        -- What these brought, others may have brought before anybody knew its name. What is no kind of danger (a logo) only where they brought nothing else.
        hashes := ARRAY(SELECT DISTINCT s.hash FROM attachment_seen s WHERE s.id = ANY (ids) AND (s.kind > 1 OR NOT EXISTS (SELECT FROM attachment_seen t
            WHERE t.id = s.id AND t.kind > 1)) LIMIT 1000);
    END IF;
    rows := hunt_rows(hashes, ids, since, most);
    IF json_array_length(rows) = 0 THEN
        RETURN (65, format('since %s no mail is known with %s', to_char(since, 'YYYY-MM-DD HH24:MI'), CASE WHEN wanted <> '' THEN 'an attachment ' || left(wanted, 64)
            ELSE format('"%s" in it', left(a_signature, 200)) END), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, json_build_object('since', since, 'hashes', (SELECT json_agg(encode(h, 'hex')) FROM unnest(hashes) AS u(h)), 'rows', rows,
        'more', json_array_length(rows) >= most))::admin_answer;
END $f$;
