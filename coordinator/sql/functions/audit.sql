-- functions/audit.sql - what operators may ask of the past

-- An IP address as edges write it; NULL: it is none.
CREATE OR REPLACE FUNCTION client_text(wanted text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $f$
BEGIN
    RETURN host(wanted::inet);
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $f$;

-- wanted: a queue id, a Message-ID with or without its angle brackets, an address, a login, or a client's IP address; an address in its spellings, one a
-- line. The newest rows, oldest of them first; the attempts of spooled mail at the first row of each message. Each ORDER BY is that of an index, so that
-- the newest rows of one address are found among any number; IS NOT DISTINCT FROM would use none. One plan for whatever is wanted: made for a client
-- that is in every third row, it would read all rows by time, also where that client's are all old.
CREATE OR REPLACE FUNCTION admin_trace(wanted text, most integer) RETURNS admin_answer LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $f$
DECLARE
    found json;
    typed text := address_typed(wanted);
    spelled text[] := address_spellings(wanted);
    ip text := client_text(typed);
BEGIN
    SELECT json_agg(r ORDER BY r.time, r.id, r.recipient_index) INTO found FROM (
        SELECT l.*, override_said(l.override) AS overridden, CASE WHEN row_number() OVER (PARTITION BY l.id ORDER BY l.time, l.recipient_index) = 1 THEN
                (SELECT json_agg(e ORDER BY e.at) FROM (SELECT v.at, v.destination, v.who, v.what, v.recipients, v.reply, v.own FROM spool_event v
                 WHERE v.id = l.id ORDER BY v.at DESC LIMIT 200) AS e) END AS attempts
        FROM (
            SELECT * FROM (
                SELECT * FROM audit WHERE id = upper(typed)
                UNION (SELECT * FROM audit WHERE message_id <> '' AND message_id IN (typed, '<' || typed || '>') ORDER BY time DESC LIMIT most)
                UNION (SELECT f.* FROM unnest(spelled) AS w, LATERAL
                    (SELECT * FROM audit WHERE sender <> '' AND lower(sender) = w ORDER BY lower(sender) DESC, time DESC LIMIT most) AS f)
                UNION (SELECT f.* FROM unnest(spelled) AS w, LATERAL
                    (SELECT * FROM audit WHERE lower(recipient) = w ORDER BY lower(recipient) DESC, time DESC LIMIT most) AS f)
                UNION (SELECT f.* FROM unnest(spelled) AS w, LATERAL
                    (SELECT * FROM audit WHERE given <> '' AND lower(given) = w ORDER BY lower(given) DESC, time DESC LIMIT most) AS f)
                UNION (SELECT * FROM audit WHERE client = ip ORDER BY client DESC, time DESC LIMIT most)
                UNION (SELECT * FROM audit WHERE login <> '' AND login = login_fold(typed) ORDER BY login DESC, time DESC LIMIT most)) AS a
            ORDER BY a.time DESC, a.id, a.recipient_index LIMIT most) AS l) AS r;
    IF found IS NULL THEN
        RETURN (65, format('nothing is known of "%s": give a queue id, a Message-ID, a mail address, a login or a client''s IP address; the oldest row is from %s',
                typed, coalesce((SELECT to_char(min(time), 'YYYY-MM-DD HH24:MI') FROM audit), 'never')), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, found)::admin_answer;
END $f$;

-- Clients that may not relay but try, and clients that sent viruses, the busiest first.
CREATE OR REPLACE FUNCTION admin_report(hours integer, most integer) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    WITH trouble AS MATERIALIZED (
        SELECT * FROM audit WHERE time > now() - make_interval(hours => hours)
            AND disposition IN ('refused:relay', 'refused:virus', 'discarded:virus', 'discarded')
    ), refused AS (
        SELECT client, count(*) AS recipients, min(time) AS first, max(time) AS last, (array_agg(DISTINCT listener))[1:5] AS listeners,
            (array_agg(helo ORDER BY time DESC))[1] AS helo, (array_agg(sender ORDER BY time DESC))[1] AS sender,
            (array_agg(recipient ORDER BY time DESC))[1] AS recipient
        FROM trouble WHERE disposition = 'refused:relay' GROUP BY client
    ), viruses AS (
        SELECT client, count(DISTINCT id) AS messages, min(time) AS first, max(time) AS last, (array_agg(DISTINCT listener))[1:5] AS listeners,
            (array_agg(DISTINCT CASE WHEN signature <> '' THEN signature ELSE reply END))[1:5] AS signatures,
            (array_agg(DISTINCT sender))[1:5] AS senders, (array_agg(id ORDER BY time DESC))[1] AS newest
        FROM trouble WHERE disposition IN ('refused:virus', 'discarded:virus') OR disposition = 'discarded' AND reply_code = 550 GROUP BY client
    )
    SELECT 0, NULL::text, json_build_object('hours', hours, 'refused_clients', (SELECT count(*) FROM refused),
        'refused', coalesce((SELECT json_agg(r) FROM (SELECT * FROM refused ORDER BY recipients DESC, client LIMIT most) AS r), '[]'),
        'virus_clients', (SELECT count(*) FROM viruses),
        'viruses', coalesce((SELECT json_agg(v) FROM (SELECT * FROM viruses ORDER BY messages DESC, client LIMIT most) AS v), '[]'))
$f$;

CREATE OR REPLACE FUNCTION admin_history(most integer) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(h ORDER BY h.number) FROM (
        SELECT * FROM audit_action ORDER BY number DESC LIMIT most) AS h), '[]')
$f$;
