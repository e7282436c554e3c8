-- functions/outbound.sql - outbound protection: what accounts and inside hosts send, and who is stopped for it
--
-- Counts come as rows that nobody waits for (outbound_delta). One who leads takes them out and judges (outbound_judge), so that each decision is made once;
-- what nodes hear of it is part of the cluster state.

CREATE OR REPLACE FUNCTION outbound_subject(origin smallint, login text, client text) RETURNS text LANGUAGE sql IMMUTABLE AS $f$
    SELECT CASE WHEN origin = 4 THEN 'account ' || login WHEN origin IN (2, 3) THEN 'host ' || client END
$f$;

-- That a next hop did not want the recipient, in the session or at the end of its way through the spool. What operators return is nobody's fault.
CREATE OR REPLACE FUNCTION sent_is_bad(disposition text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $f$
    SELECT disposition IN ('refused:next-hop', 'refused:verify', 'refused:no-user') OR (disposition LIKE 'bounced%' AND disposition <> 'bounced:operator')
$f$;

-- Counts rows of the audit that were just written; `fresh`: the recipients count, too, else only what became of them.
CREATE OR REPLACE FUNCTION outbound_count(rows sent_row[], fresh boolean) RETURNS void LANGUAGE sql STRICT AS $f$
    INSERT INTO outbound_delta
        SELECT outbound_subject(r.origin, r.login, r.client), bool_or(r.origin = 3), CASE WHEN fresh THEN count(*) ELSE 0 END,
            count(DISTINCT r.id) FILTER (WHERE sent_is_virus(r.disposition) AND (r.first OR NOT fresh)), count(*) FILTER (WHERE sent_is_bad(r.disposition)),
            CASE WHEN fresh THEN 0 ELSE count(DISTINCT r.id) FILTER (WHERE sent_is_virus(r.disposition)) END
        FROM unnest(rows) AS r WHERE r.origin >= 2 GROUP BY 1
$f$;

-- How many of an hour: those of this one, and of the last one the part that the hour which ends now still has.
CREATE OR REPLACE FUNCTION outbound_recent(now_count bigint, last_count bigint, moment double precision) RETURNS bigint LANGUAGE sql IMMUTABLE AS $f$
    SELECT now_count + ceil(last_count * (1 - (moment / 3600 - floor(moment / 3600))))::bigint
$f$;

-- Brings senders to the present hour. Hours end into the average: each counts 1/72 less than the next, so that three days are what is usual.
CREATE OR REPLACE FUNCTION outbound_roll(subjects text[], now_hour bigint) RETURNS void LANGUAGE sql AS $f$
    UPDATE outbound_sender s SET hour = now_hour,
        usual_sum = (s.usual_sum * (71 / 72.0) + s.recipients / 72.0) * power(71 / 72.0, least(now_hour - s.hour - 1, 10000)),
        usual_weight = 1 - power(71 / 72.0, least(s.hours + now_hour - s.hour, 10000)), hours = s.hours + now_hour - s.hour,
        last_recipients = CASE WHEN s.hour = now_hour - 1 THEN s.recipients ELSE 0 END, recipients = 0,
        last_viruses = CASE WHEN s.hour = now_hour - 1 THEN s.viruses ELSE 0 END, viruses = 0,
        last_bad = CASE WHEN s.hour = now_hour - 1 THEN s.bad ELSE 0 END, bad = 0
    WHERE s.subject = ANY (subjects) AND s.hour < now_hour
$f$;

-- Takes counts out, judges those they are of and those that are slowed down, and tells what changed: subject, what it was ('' free) and is now, and why.
-- k: the keys outbound_* without that word. Held or refused is nobody for less than hold_factor times what slows down, and nobody is let go but by an operator;
-- who is slowed down is let go when the hour is quiet again. mode off: counts are dropped, and nobody is judged.
CREATE OR REPLACE FUNCTION outbound_judge(k jsonb, most integer) RETURNS TABLE (subject text, was text, state text, dry boolean, reason text)
LANGUAGE plpgsql AS $f$
DECLARE
    moment CONSTANT double precision := extract(epoch FROM clock_timestamp());
    now_hour CONSTANT bigint := floor(moment / 3600);
    is_dry CONSTANT boolean := k->>'mode' = 'dry_run';
    looked text[];
    counts record;
    one record;
    worst double precision;
    words text;
    next_state text;
    held_now bigint;
    today CONSTANT date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    WITH taken AS (DELETE FROM outbound_delta d WHERE d.ctid = ANY (ARRAY(SELECT o.ctid FROM outbound_delta o LIMIT most FOR UPDATE SKIP LOCKED)) RETURNING d.*),
    sums AS (SELECT t.subject, bool_or(t.registered) AS registered, sum(t.recipients)::bigint AS recipients, sum(t.viruses)::bigint AS viruses, sum(t.bad)::bigint AS bad,
        sum(t.late_viruses)::bigint AS late FROM taken t GROUP BY t.subject ORDER BY t.subject)
    SELECT array_agg(s.subject) AS subjects, array_agg(s.registered) AS registered, array_agg(s.recipients) AS recipients, array_agg(s.viruses) AS viruses,
        array_agg(s.bad) AS bad, array_agg(s.late) AS late INTO counts FROM sums s;
    INSERT INTO sending_host_day AS h (client, day, viruses) SELECT substr(u.who, 6), today, u.late FROM unnest(counts.subjects, counts.late) AS u(who, late)
        WHERE u.late > 0 AND u.who LIKE 'host %' ORDER BY 1 ON CONFLICT ON CONSTRAINT sending_host_day_pkey DO UPDATE SET viruses = h.viruses + EXCLUDED.viruses;
    IF k->>'mode' = 'off' THEN
        RETURN;
    END IF;
    PERFORM outbound_roll(counts.subjects, now_hour);
    PERFORM outbound_add(u.who, u.listed, u.r, u.v, u.b, now_hour)
        FROM unnest(counts.subjects, counts.registered, counts.recipients, counts.viruses, counts.bad) AS u(who, listed, r, v, b);
    looked := ARRAY(SELECT unnest(counts.subjects) UNION SELECT o.subject FROM outbound_stop o WHERE o.state = 'throttled' OR o.dry);
    PERFORM outbound_roll(looked, now_hour);
    FOR one IN SELECT s.subject, s.registered, s.hours, outbound_recent(s.recipients, s.last_recipients, moment) AS recipients,
            outbound_recent(s.viruses, s.last_viruses, moment) AS viruses, outbound_recent(s.bad, s.last_bad, moment) AS bad,
            round(s.usual_sum / nullif(s.usual_weight, 0)) AS usual, coalesce(o.state, '') AS stopped, o.dry AS stopped_dry,
            CASE WHEN s.subject LIKE 'account %' THEN (k->>'account_recipients')::bigint WHEN s.registered THEN (k->>'registered_recipients')::bigint
                ELSE (k->>'host_recipients')::bigint END AS limited
        FROM outbound_sender s LEFT JOIN outbound_stop o ON o.subject = s.subject WHERE s.subject = ANY (looked) ORDER BY s.subject
    LOOP
        SELECT c.ratio, c.words INTO worst, words FROM (VALUES
            (CASE WHEN one.limited > 0 THEN one.recipients / one.limited::double precision ELSE 0 END,
             format('%s recipients within an hour, of %s allowed', one.recipients, one.limited)),
            (CASE WHEN (k->>'rise')::bigint > 0 AND one.hours >= 24 AND one.recipients > (k->>'rise_least')::bigint
                THEN one.recipients / greatest((k->>'rise')::bigint * one.usual, (k->>'rise_least')::bigint)::double precision ELSE 0 END,
             format('%s recipients within an hour, of %s that are usual', one.recipients, one.usual)),
            (CASE WHEN (k->>'viruses')::bigint > 0 THEN one.viruses / (k->>'viruses')::double precision ELSE 0 END,
             format('%s viruses within an hour', one.viruses)),
            (CASE WHEN (k->>'bad_share')::bigint > 0 AND one.bad * 100 >= (k->>'bad_share')::bigint * one.recipients
                THEN one.bad / (k->>'bad_least')::double precision ELSE 0 END,
             format('%s of %s recipients within an hour were refused or bounced', one.bad, one.recipients))) AS c(ratio, words)
            ORDER BY c.ratio DESC LIMIT 1;
        next_state := CASE WHEN one.stopped IN ('held', 'refused') AND NOT one.stopped_dry THEN one.stopped
            WHEN worst >= (k->>'hold_factor')::bigint THEN CASE k->>'action' WHEN 'hold' THEN 'held' ELSE 'refused' END
            WHEN worst > 1 THEN 'throttled' ELSE '' END;
        CONTINUE WHEN next_state = one.stopped AND (next_state = '' OR one.stopped_dry = is_dry OR NOT one.stopped_dry);
        IF next_state = '' THEN
            DELETE FROM outbound_stop o WHERE o.subject = one.subject;
            words := 'the hour is quiet again';
        ELSE
            INSERT INTO outbound_stop AS o (subject, state, dry, reason, evidence) VALUES (one.subject, next_state, is_dry, words, jsonb_build_object(
                'recipients', one.recipients, 'viruses', one.viruses, 'bad', one.bad, 'usual', one.usual, 'hours', one.hours, 'limit', one.limited,
                'registered', one.registered))
            ON CONFLICT ON CONSTRAINT outbound_stop_pkey DO UPDATE SET state = EXCLUDED.state, dry = EXCLUDED.dry, since = clock_timestamp(), reason = EXCLUDED.reason,
                evidence = EXCLUDED.evidence;
        END IF;
        subject := one.subject;
        was := one.stopped;
        state := next_state;
        dry := is_dry;
        reason := words;
        RETURN NEXT;
    END LOOP;
    -- Whoever has too much held already is not taken from any more, until an operator makes room.
    FOR one IN SELECT o.subject, o.full_up FROM outbound_stop o WHERE o.state <> 'throttled' AND NOT o.dry LOOP
        SELECT count(*) INTO held_now FROM (SELECT FROM spool_message m WHERE m.held_for = one.subject LIMIT (k->>'held_messages')::bigint) AS m;
        IF (held_now >= (k->>'held_messages')::bigint) <> one.full_up THEN
            UPDATE outbound_stop o SET full_up = NOT one.full_up WHERE o.subject = one.subject;
        END IF;
    END LOOP;
    PERFORM outbound_let_go(m.held_for, '', most) FROM (SELECT DISTINCT h.held_for FROM spool_message h WHERE h.held_for <> ''
        AND NOT EXISTS (SELECT FROM outbound_stop o WHERE o.subject = h.held_for AND o.state IN ('held', 'refused') AND NOT o.dry)) AS m;
END $f$;

-- Adds counts to a sender that is of the present hour, or new. The subject.
CREATE OR REPLACE FUNCTION outbound_add(who text, listed boolean, r bigint, v bigint, b bigint, now_hour bigint) RETURNS text LANGUAGE sql AS $f$
    INSERT INTO outbound_sender AS s (subject, registered, hour, recipients, viruses, bad) VALUES (who, listed, now_hour, r, v, b)
    ON CONFLICT (subject) DO UPDATE SET registered = CASE WHEN r > 0 THEN listed ELSE s.registered END, recipients = s.recipients + r, viruses = s.viruses + v,
        bad = s.bad + b, last_seen = clock_timestamp()
    RETURNING s.subject
$f$;

-- Of messages that were just stored, in the same transaction: those of senders who are still held rest. What is leased already was stored before.
CREATE OR REPLACE FUNCTION outbound_hold(ids text[], subjects text[]) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    WITH held AS (
        UPDATE spool_message m SET held_for = w.subject FROM unnest(ids, subjects) AS w(id, subject)
            WHERE m.id = w.id AND EXISTS (SELECT FROM outbound_stop o WHERE o.subject = w.subject AND o.state IN ('held', 'refused') AND NOT o.dry)
            RETURNING m.id)
    UPDATE spool_queue q SET held = true FROM held h WHERE q.id = h.id AND NOT q.leased;
END $f$;

-- Mail that was held for a sender goes on, or (deleter) is deleted: at most so many messages. How many.
CREATE OR REPLACE FUNCTION outbound_let_go(who text, deleter text, most integer) RETURNS integer LANGUAGE plpgsql AS $f$
DECLARE
    one record;
    entry record;
    done integer := 0;
BEGIN
    FOR one IN SELECT m.id FROM spool_message m WHERE m.held_for = who ORDER BY m.id LIMIT most FOR UPDATE LOOP
        done := done + 1;
        UPDATE spool_message m SET held_for = '' WHERE m.id = one.id;
        FOR entry IN SELECT q.destination, q.scanned, q.leased AND q.due_at > clock_timestamp() AS leased FROM spool_queue q
            WHERE q.id = one.id AND q.held ORDER BY q.destination FOR UPDATE LOOP
            IF deleter <> '' AND NOT entry.leased THEN
                PERFORM queue_delete(deleter, one.id, entry.destination, ARRAY(SELECT r.number FROM spool_recipient r
                    WHERE r.id = one.id AND r.destination = entry.destination AND r.state = 'queued'));
            ELSE
                UPDATE spool_queue q SET held = false, due_at = CASE WHEN entry.leased THEN q.due_at ELSE clock_timestamp() END
                    WHERE q.id = one.id AND q.destination = entry.destination;
                INSERT INTO spool_wake VALUES (entry.destination, entry.scanned, clock_timestamp());
            END IF;
        END LOOP;
    END LOOP;
    IF done > 0 THEN
        PERFORM pg_notify('weir_spool', '');
    END IF;
    RETURN done;
END $f$;

CREATE OR REPLACE FUNCTION outbound_tidy(entries bigint, most integer) RETURNS bigint LANGUAGE plpgsql AS $f$
DECLARE
    there bigint;
    gone bigint;
BEGIN
    SELECT count(*) INTO there FROM (SELECT FROM outbound_sender LIMIT entries + most) AS l;
    DELETE FROM outbound_sender s WHERE s.subject = ANY (ARRAY(SELECT o.subject FROM outbound_sender o WHERE o.last_seen < now() - interval '30 days' LIMIT most))
        OR s.subject = ANY (ARRAY(SELECT o.subject FROM outbound_sender o ORDER BY o.last_seen LIMIT greatest(least(there - entries, most), 0)));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $f$;

CREATE OR REPLACE FUNCTION outbound_counts() RETURNS TABLE (throttled bigint, held bigint, dry bigint, messages bigint) LANGUAGE sql STABLE AS $f$
    SELECT count(*) FILTER (WHERE state = 'throttled' AND NOT o.dry), count(*) FILTER (WHERE state <> 'throttled' AND NOT o.dry), count(*) FILTER (WHERE o.dry),
        (SELECT count(*) FROM spool_message WHERE held_for <> '') FROM outbound_stop o
$f$;

CREATE OR REPLACE FUNCTION outbound_summary(who text) RETURNS jsonb LANGUAGE sql STABLE AS $f$
    SELECT jsonb_build_object('subject', who, 'held_messages', (SELECT count(*) FROM spool_message m WHERE m.held_for = who))
        || coalesce((SELECT jsonb_build_object('recipients', outbound_recent(r.recipients, r.last_recipients, r.moment), 'viruses',
                outbound_recent(r.viruses, r.last_viruses, r.moment), 'bad', outbound_recent(r.bad, r.last_bad, r.moment), 'usual',
                round(s.usual_sum / nullif(s.usual_weight, 0)), 'hours', s.hours, 'registered', s.registered, 'first_seen', s.first_seen, 'last_seen', s.last_seen)
            FROM outbound_sender s, LATERAL (SELECT extract(epoch FROM clock_timestamp())::double precision AS moment,
                CASE WHEN s.hour = h.now_hour THEN s.recipients ELSE 0 END AS recipients, CASE WHEN s.hour = h.now_hour THEN s.viruses ELSE 0 END AS viruses,
                CASE WHEN s.hour = h.now_hour THEN s.bad ELSE 0 END AS bad,
                CASE s.hour WHEN h.now_hour THEN s.last_recipients WHEN h.now_hour - 1 THEN s.recipients ELSE 0 END AS last_recipients,
                CASE s.hour WHEN h.now_hour THEN s.last_viruses WHEN h.now_hour - 1 THEN s.viruses ELSE 0 END AS last_viruses,
                CASE s.hour WHEN h.now_hour THEN s.last_bad WHEN h.now_hour - 1 THEN s.bad ELSE 0 END AS last_bad
                FROM (SELECT floor(extract(epoch FROM clock_timestamp()) / 3600)::bigint AS now_hour) AS h) AS r
            WHERE s.subject = who), '{}')
        || coalesce((SELECT jsonb_build_object('state', o.state, 'dry', o.dry, 'full', o.full_up, 'since', o.since, 'reason', o.reason, 'evidence', o.evidence)
            FROM outbound_stop o WHERE o.subject = who), '{"state": "free"}')
$f$;

-- Whom an operator means: a login, an address, or a subject as it is listed. NULL: nobody of that name ever sent.
CREATE OR REPLACE FUNCTION outbound_find(wanted text) RETURNS text LANGUAGE sql STABLE AS $f$
    SELECT n.name FROM unnest(ARRAY[wanted, 'account ' || wanted, 'account ' || login_fold(wanted), 'host ' || client_text(wanted)]) WITH ORDINALITY AS n(name, place)
    WHERE EXISTS (SELECT FROM outbound_sender s WHERE s.subject = n.name) OR EXISTS (SELECT FROM outbound_stop o WHERE o.subject = n.name)
        OR EXISTS (SELECT FROM spool_message m WHERE m.held_for = n.name AND m.held_for <> '')
    ORDER BY n.place LIMIT 1
$f$;

CREATE OR REPLACE FUNCTION admin_outbound_list() RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(outbound_summary(l.subject) ORDER BY l.rank, l.since DESC, l.subject) FROM (
        SELECT o.subject, o.since, CASE WHEN o.dry THEN 2 WHEN o.state = 'throttled' THEN 1 ELSE 0 END AS rank FROM outbound_stop o
        ORDER BY rank, o.since DESC LIMIT 1000) AS l), '[]')
$f$;

-- The counts, what was held, and the newest rows of the audit.
CREATE OR REPLACE FUNCTION admin_outbound_show(wanted text) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    who CONSTANT text := outbound_find(wanted);
    name CONSTANT text := substr(who, strpos(who, ' ') + 1);
    newest jsonb;
BEGIN
    IF who IS NULL THEN
        RETURN (65, format('nothing was sent by "%s": give a login, or the address of an inside host', wanted), NULL)::admin_answer;
    END IF;
    IF who LIKE 'account %' THEN
        newest := (SELECT jsonb_agg(to_jsonb(a) ORDER BY a.time) FROM (SELECT time, id, client, sender, recipient, disposition, reply FROM audit
            WHERE login <> '' AND login = name ORDER BY login DESC, time DESC LIMIT 20) AS a);
    ELSE
        newest := (SELECT jsonb_agg(to_jsonb(a) ORDER BY a.time) FROM (SELECT time, id, client, sender, recipient, disposition, reply FROM audit
            WHERE client = name ORDER BY client DESC, time DESC LIMIT 20) AS a);
    END IF;
    RETURN (0, NULL, (outbound_summary(who) || jsonb_build_object('newest', coalesce(newest, '[]'), 'held', coalesce((SELECT jsonb_agg(to_jsonb(h) ORDER BY h.arrived_at)
        FROM (SELECT m.id, m.arrived_at, m.size, m.sender, m.recipients FROM spool_message m WHERE m.held_for = who ORDER BY m.arrived_at LIMIT 20) AS h), '[]')))::json)::admin_answer;
END $f$;

-- Lifts what holds a sender, and begins to count anew; its held mail goes on, or is deleted.
CREATE OR REPLACE FUNCTION admin_outbound_release(requester text, wanted text, deletes boolean) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    who CONSTANT text := outbound_find(wanted);
    stopped record;
    done integer;
BEGIN
    IF who IS NULL THEN
        RETURN (65, format('nothing was sent by "%s": give a login, or the address of an inside host', wanted), NULL)::admin_answer;
    END IF;
    DELETE FROM outbound_stop o WHERE o.subject = who RETURNING o.state, o.reason INTO stopped;
    DELETE FROM outbound_delta d WHERE d.subject = who;
    UPDATE outbound_sender s SET recipients = 0, viruses = 0, bad = 0, last_recipients = 0, last_viruses = 0, last_bad = 0 WHERE s.subject = who;
    done := outbound_let_go(who, CASE WHEN deletes THEN requester ELSE '' END, 10000);
    INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'outbound release', who, jsonb_strip_nulls(jsonb_build_object('state', stopped.state,
        'reason', stopped.reason, CASE WHEN deletes THEN 'deleted' ELSE 'released' END, done)));
    RETURN (0, NULL, json_build_object('subject', who, 'was', coalesce(stopped.state, 'free'), 'released', CASE WHEN deletes THEN 0 ELSE done END,
        'deleted', CASE WHEN deletes THEN done ELSE 0 END, 'left', (SELECT count(*) FROM spool_message m WHERE m.held_for = who)))::admin_answer;
END $f$;
