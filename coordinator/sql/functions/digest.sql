-- functions/digest.sql - what recipients are told of their quarantine: who, when, and once
--
-- A slot is a time of the site's own clock on a day. PostgreSQL says which moment that is: one that a clock which is put forward leaves out is an hour later by
-- the new time, and of one that comes twice it is the second. So each happens once on each day.

-- The newest slot that has begun.
CREATE OR REPLACE FUNCTION digest_slot(moment timestamptz, times text[], zone text) RETURNS TABLE (slot text, at timestamptz) LANGUAGE sql STABLE AS $f$
    SELECT s.slot, s.at FROM (
        SELECT to_char(d.day, 'YYYY-MM-DD ') || t.time AS slot, (d.day::date + t.time::time) AT TIME ZONE zone AS at
        FROM generate_series((moment AT TIME ZONE zone)::date - 1, (moment AT TIME ZONE zone)::date, interval '1 day') AS d(day), unnest(times) AS t(time)) AS s
    WHERE s.at <= moment ORDER BY s.at DESC, s.slot DESC LIMIT 1
$f$;

-- What its recipient is not told of: who blocked its sender does not want to hear of it, and what is held for an outbreak comes or goes soon.
CREATE OR REPLACE FUNCTION digest_tells(a_reason text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $f$
    SELECT a_reason NOT IN ('blocklist', 'outbreak')
$f$;

-- This recipient's messages that wait, each once, the newest first; of a digest those that it has not been told of and that came before its slot (upto).
CREATE OR REPLACE FUNCTION digest_rows(who text, upto timestamptz, fresh boolean, zone text, life interval, most integer)
RETURNS TABLE (id text, kept text, ends text, sender text, subject text, reason text, score integer, releasable boolean, total bigint) LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_custom_plan AS $f$
BEGIN
    RETURN QUERY SELECT c.id, to_char(c.kept_at AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI'), to_char((c.kept_at + life) AT TIME ZONE zone, 'YYYY-MM-DD'),
            q.sender, encode(q.subject, 'hex'), c.reason, c.score, web_may_release(c.reason), c.total
        FROM (SELECT o.*, count(*) OVER () AS total FROM (
                SELECT DISTINCT ON (v.id) v.id, v.kept_at, v.reason, v.score FROM quarantine_copy v
                WHERE v.recipient = who AND v.state = 'waiting' AND v.kept_at <= upto AND (NOT fresh OR NOT v.digested AND digest_tells(v.reason))
                ORDER BY v.id, v.number) AS o ORDER BY o.kept_at DESC, o.id DESC LIMIT most) AS c
        JOIN quarantine_message q ON q.id = c.id ORDER BY c.kept_at DESC, c.id DESC;
END $f$;

-- The next recipients behind `after` to whom a digest is due, with where their mail goes; no row: nobody, for this slot. From one to the next by the index, in whose order they are: many have many copies. One plan
-- is made for that, and none but this, whatever was known of the tables' sizes then.
CREATE OR REPLACE FUNCTION digest_due(times text[], zone text, after text, most integer, moment timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (slot text, at timestamptz, recipient text, address text, destination text) LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET max_parallel_workers_per_gather = 0 SET jit = off AS $f$
DECLARE
    s record;
    who text := after;
    found_so_far integer := 0;
BEGIN
    SELECT d.slot, d.at INTO s FROM digest_slot(moment, times, zone) AS d;
    WHILE found_so_far < most LOOP
        SELECT c.recipient INTO who FROM quarantine_copy c
            WHERE c.state = 'waiting' AND NOT c.digested AND c.reason NOT IN ('blocklist', 'outbreak') -- as quarantine_copy_untold has it
                AND c.kept_at <= s.at AND c.recipient > who AND NOT EXISTS (SELECT FROM digest d WHERE d.recipient = c.recipient AND d.slot = s.slot)
            ORDER BY c.recipient, c.kept_at LIMIT 1;
        EXIT WHEN NOT FOUND;
        RETURN QUERY SELECT s.slot, s.at, who, v.address, v.destination FROM quarantine_copy v WHERE v.recipient = who AND v.state = 'waiting' ORDER BY v.kept_at DESC LIMIT 1;
        found_so_far := found_so_far + 1;
    END LOOP;
END $f$;

-- A message of our own goes into the spool, complete, to one recipient.
CREATE OR REPLACE FUNCTION own_mail(warning interval, life interval, an_id text, a_body bytea, an_envelope bytea, a_recipient bytea, a_sender text, an_address text,
    a_destination text, a_node text) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    IF (SELECT t.status IS DISTINCT FROM 1 FROM spool_take(9223372036854775807, 9223372036854775807, warning, life, ARRAY[an_id], ARRAY[a_body], ARRAY[an_envelope],
            '{t}', '{t}', '{t}', ARRAY[a_node], '{""}', '{""}', '{""}', '{""}', ARRAY[a_sender], ARRAY['<' || an_id || '@weir>'], '{none}', '{""}', '{""}', '{""}',
            ARRAY[an_id], '{0}', ARRAY[a_destination], ARRAY[an_address], ARRAY[a_recipient], ARRAY[octet_length(a_body)::bigint], '{1}', ARRAY[an_id],
            ARRAY[a_destination], '{t}', '{t}', '{}', '{}') AS t) THEN
        RAISE 'the spool did not take %', an_id;
    END IF;
    PERFORM pg_notify('weir_spool', '');
END $f$;

DROP FUNCTION IF EXISTS web_tokens(text, text[], text[], interval);
CREATE OR REPLACE FUNCTION web_tokens(who text, hashes text[], ids text[], life interval, mails text[] DEFAULT NULL) RETURNS void LANGUAGE sql AS $f$
    INSERT INTO web_token (hash, recipient, id, mail_hash, expires_at)
        SELECT decode(h.hash, 'hex'), who, h.id, decode(h.mail, 'hex'), coalesce((SELECT max(c.kept_at) FROM quarantine_copy c WHERE c.id = h.id AND c.recipient = who), clock_timestamp()) + life
        FROM unnest(hashes, ids, mails) AS h(hash, id, mail)
$f$;
REVOKE EXECUTE ON FUNCTION web_tokens FROM PUBLIC; -- who could make one could be anybody

-- What comes before a digest's message: false, and nothing happened, where this recipient has one of this slot, or has nothing left to be told of. The message
-- names `shown` of `total`, and of what it only counts those that were kept first are told: a copy may come after it was made with a time before that, and
-- waits for the next. total NULL: all.
CREATE OR REPLACE FUNCTION digest_begin(who text, a_slot text, upto timestamptz, an_id text, most integer, shown text[] DEFAULT '{}', total bigint DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql AS $f$
DECLARE
    amount integer;
BEGIN
    INSERT INTO digest (recipient, slot, id, told) VALUES (who, a_slot, an_id, 0) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    WITH mine AS MATERIALIZED (
        SELECT c.id, c.number, c.kept_at FROM quarantine_copy c
            WHERE c.recipient = who AND c.state = 'waiting' AND NOT c.digested AND c.kept_at <= upto AND digest_tells(c.reason)
            ORDER BY c.id, c.number FOR UPDATE
    ), counted AS (
        SELECT m.id FROM mine m WHERE m.id <> ALL (shown) GROUP BY m.id ORDER BY min(m.kept_at), m.id LIMIT total - cardinality(shown)
    )
    UPDATE quarantine_copy c SET digested = true FROM mine m
        WHERE c.id = m.id AND c.number = m.number AND (m.id = ANY (shown) OR m.id IN (SELECT n.id FROM counted n));
    GET DIAGNOSTICS amount = ROW_COUNT;
    IF amount = 0 THEN
        DELETE FROM digest d WHERE d.recipient = who AND d.slot = a_slot;
        RETURN false;
    END IF;
    UPDATE digest d SET told = least(amount, most) WHERE d.recipient = who AND d.slot = a_slot;
    RETURN true;
END $f$;

-- The digest is sent, and its recipient told: once. keep: how long the quarantine keeps, and its links open. ids, hashes: the messages that it names, with their
-- links, and '', the link of all; mails: what addresses of commands have for these. total: of how many messages it tells.
DROP FUNCTION IF EXISTS digest_store(interval, interval, text, text, timestamptz, integer, interval, text[], text[], bigint, text, bytea, bytea, bytea, text, text, text, text);
CREATE OR REPLACE FUNCTION digest_store(warning interval, life interval, who text, a_slot text, upto timestamptz, most integer, keep interval, hashes text[], ids text[],
    total bigint, an_id text, a_body bytea, an_envelope bytea, a_recipient bytea, a_sender text, an_address text, a_destination text, a_node text, mails text[] DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql AS $f$
BEGIN
    IF NOT digest_begin(who, a_slot, upto, an_id, most, array_remove(ids, ''), total) THEN
        RETURN false;
    END IF;
    PERFORM web_tokens(who, hashes, ids, keep, mails);
    PERFORM own_mail(warning, life, an_id, a_body, an_envelope, a_recipient, a_sender, an_address, a_destination, a_node);
    RETURN true;
END $f$;

-- Commands that came by mail and are not answered yet, the oldest first.
CREATE OR REPLACE FUNCTION answer_due(most integer) RETURNS TABLE (number bigint, recipient text, address text, destination text, command text, id text, outcome text)
LANGUAGE sql STABLE AS $f$
    SELECT a.number, a.recipient, coalesce(l.address, a.recipient), coalesce(l.destination, ''), a.command, a.id, a.outcome FROM web_answer a
    LEFT JOIN LATERAL (SELECT c.address, c.destination FROM quarantine_copy c WHERE c.id = a.id AND c.recipient = a.recipient ORDER BY c.number LIMIT 1) AS l ON true
    ORDER BY a.number LIMIT most
$f$;

DROP FUNCTION IF EXISTS answer_store(interval, interval, bigint, interval, text[], text[], text, bytea, bytea, bytea, text, text, text, text);
CREATE OR REPLACE FUNCTION answer_store(warning interval, life interval, a_number bigint, keep interval, hashes text[], ids text[],
    an_id text, a_body bytea, an_envelope bytea, a_recipient bytea, a_sender text, an_address text, a_destination text, a_node text, mails text[] DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql AS $f$
DECLARE
    whose text;
BEGIN
    DELETE FROM web_answer a WHERE a.number = a_number RETURNING a.recipient INTO whose;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM web_tokens(whose, hashes, ids, keep, mails);
    PERFORM own_mail(warning, life, an_id, a_body, an_envelope, a_recipient, a_sender, an_address, a_destination, a_node);
    RETURN true;
END $f$;

-- What is over: links, answers that no limit counts any more, and digests of slots that no clock comes back to.
CREATE OR REPLACE FUNCTION digest_tidy(memory interval, most integer) RETURNS void LANGUAGE sql AS $f$
    DELETE FROM web_token WHERE hash = ANY (ARRAY(SELECT t.hash FROM web_token t WHERE t.expires_at < clock_timestamp() ORDER BY t.expires_at LIMIT most));
    DELETE FROM web_answered WHERE ctid = ANY (ARRAY(SELECT a.ctid FROM web_answered a WHERE a.at < clock_timestamp() - interval '1 hour' ORDER BY a.at LIMIT most));
    DELETE FROM digest WHERE ctid = ANY (ARRAY(SELECT d.ctid FROM digest d WHERE d.made_at < clock_timestamp() - greatest(memory, interval '7 days') ORDER BY d.made_at LIMIT most))
$f$;
