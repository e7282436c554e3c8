-- functions/outbound.sql - outbound protection: what accounts and inside hosts send, and who is stopped for it
--
-- Counts come as rows that nobody waits for (outbound_delta). One who leads takes them out and judges (outbound_judge), so that each decision is made once;
-- what nodes hear of it is part of the cluster state.

-- An IPv6 host has as many addresses as it likes: it is its network of 64 bits, as edges look for it.
CREATE OR REPLACE FUNCTION outbound_subject(origin smallint, login text, client text) RETURNS text LANGUAGE sql IMMUTABLE AS $f$
    SELECT CASE WHEN origin = 4 THEN 'account ' || login
        WHEN origin IN (2, 3) AND client LIKE '%:%' THEN 'host ' || coalesce(text(network(set_masklen(client_text(client)::inet, 64))), client)
        WHEN origin IN (2, 3) THEN 'host ' || client END
$f$;

-- That a next hop did not want the recipient, in the session or at the end of its way through the spool. What operators return is nobody's fault, nor that
-- a next hop was away until the mail was too old.
CREATE OR REPLACE FUNCTION sent_is_bad(disposition text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $f$
    SELECT disposition IN ('refused:next-hop', 'refused:verify', 'refused:no-user') OR (disposition LIKE 'bounced%' AND disposition NOT IN ('bounced:operator', 'bounced:expired'))
$f$;

-- Counts rows of the audit that were just written.
CREATE OR REPLACE FUNCTION outbound_count(sums sent_sum[]) RETURNS void LANGUAGE plpgsql STRICT AS $f$
BEGIN
    INSERT INTO outbound_delta
        SELECT outbound_subject(s.origin, s.login, s.client), bool_or(s.origin = 3), sum(s.recipients),
            coalesce(sum(s.recipients) FILTER (WHERE s.first AND sent_is_virus(s.disposition)), 0),
            coalesce(sum(s.recipients) FILTER (WHERE sent_is_bad(s.disposition)), 0), 0, ''
        FROM unnest(sums) AS s WHERE s.origin >= 2 GROUP BY 1;
END $f$;

-- Counts what became of rows that had been counted before. What bounced counts only where its message arrived within the hour and since the last release, as its
-- recipients did: a share is of what was named in the same time.
CREATE OR REPLACE FUNCTION outbound_late(rows sent_row[], arrived timestamptz) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    INSERT INTO outbound_delta
        SELECT outbound_subject(r.origin, r.login, r.client) AS subject, bool_or(r.origin = 3), 0, count(DISTINCT r.id) FILTER (WHERE sent_is_virus(r.disposition)),
            count(*) FILTER (WHERE sent_is_bad(r.disposition) AND arrived > greatest(clock_timestamp() - interval '1 hour', (SELECT s.released_at
                FROM outbound_sender s WHERE s.subject = outbound_subject(r.origin, r.login, r.client)))),
            count(DISTINCT r.id) FILTER (WHERE sent_is_virus(r.disposition)), CASE WHEN r.origin = 4 THEN '' ELSE r.client END AS client
        FROM unnest(rows) AS r WHERE r.origin >= 2 GROUP BY 1, 7;
END $f$;

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
-- k: the keys outbound_* without that word; held_all: bytes of all held mail. Held or refused is nobody for less than hold_factor times what slows down, and nobody
-- is let go but by an operator; who is slowed down is let go when the hour is quiet again. A registered host is not stopped for what is refused or bounces: who
-- is on its lists decides that, too. mode off: counts are dropped, nobody is judged or slowed down, and stops rest (idle) until it is on again.
--
-- Locks, here and in admin_outbound_release(): outbound_delta, outbound_sender, messages, outbound_stop, and with it (its trigger) the row of cluster.
CREATE OR REPLACE FUNCTION outbound_judge(k jsonb, most integer) RETURNS TABLE (subject text, was text, state text, dry boolean, reason text)
LANGUAGE plpgsql AS $f$
DECLARE
    moment CONSTANT double precision := extract(epoch FROM clock_timestamp());
    now_hour CONSTANT bigint := floor(moment / 3600);
    is_dry CONSTANT boolean := k->>'mode' = 'dry_run';
    looked text[];
    counts record;
    one record;
    over record;
    words text;
    next_state text;
    today CONSTANT date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    WITH taken AS (DELETE FROM outbound_delta d WHERE d.ctid = ANY (ARRAY(SELECT o.ctid FROM outbound_delta o LIMIT most FOR UPDATE SKIP LOCKED)) RETURNING d.*),
    sums AS (SELECT t.subject, bool_or(t.registered) AS registered, sum(t.recipients)::bigint AS recipients, sum(t.viruses)::bigint AS viruses, sum(t.bad)::bigint AS bad
        FROM taken t GROUP BY t.subject ORDER BY t.subject),
    register AS (INSERT INTO sending_host_day AS h (client, day, viruses) SELECT t.client, today, sum(t.late_viruses) FROM taken t
        WHERE t.late_viruses > 0 AND t.client <> '' GROUP BY 1 ORDER BY 1
        ON CONFLICT ON CONSTRAINT sending_host_day_pkey DO UPDATE SET viruses = h.viruses + EXCLUDED.viruses)
    SELECT array_agg(s.subject) AS subjects, array_agg(s.registered) AS registered, array_agg(s.recipients) AS recipients, array_agg(s.viruses) AS viruses,
        array_agg(s.bad) AS bad INTO counts FROM sums s;
    UPDATE outbound_stop o SET idle = NOT o.idle WHERE o.idle <> (k->>'mode' = 'off');
    IF k->>'mode' = 'off' THEN
        RETURN QUERY DELETE FROM outbound_stop o WHERE o.state = 'throttled' OR o.dry RETURNING o.subject, o.state, ''::text, o.dry, 'outbound is off'::text;
        RETURN;
    END IF;
    PERFORM outbound_roll(counts.subjects, now_hour);
    PERFORM outbound_add(u.who, u.listed, u.r, u.v, u.b, now_hour)
        FROM unnest(counts.subjects, counts.registered, counts.recipients, counts.viruses, counts.bad) AS u(who, listed, r, v, b);
    looked := ARRAY(SELECT unnest(counts.subjects) UNION SELECT o.subject FROM outbound_stop o WHERE o.state = 'throttled' OR o.dry);
    PERFORM outbound_roll(looked, now_hour);
    RETURN QUERY DELETE FROM outbound_stop o WHERE (o.state = 'throttled' OR o.dry) AND NOT EXISTS (SELECT FROM outbound_sender s WHERE s.subject = o.subject)
        RETURNING o.subject, o.state, ''::text, o.dry, 'nothing is known of it any more'::text;
    FOR one IN SELECT s.subject, s.registered, s.hours, outbound_recent(s.recipients, s.last_recipients, moment) AS recipients,
            outbound_recent(s.viruses, s.last_viruses, moment) AS viruses, outbound_recent(s.bad, s.last_bad, moment) AS bad,
            round(s.usual_sum / nullif(s.usual_weight, 0)) AS usual, coalesce(o.state, '') AS stopped, o.dry AS stopped_dry,
            CASE WHEN s.subject LIKE 'account %' THEN (k->>'account_recipients')::bigint WHEN s.registered THEN (k->>'registered_recipients')::bigint
                ELSE (k->>'host_recipients')::bigint END AS limited
        FROM outbound_sender s LEFT JOIN outbound_stop o ON o.subject = s.subject WHERE s.subject = ANY (looked) ORDER BY s.subject
    LOOP
        -- What slows down: over what is allowed, but at what is told for the others. stops: it may do more than that.
        SELECT c.ratio >= (k->>'hold_factor')::bigint AND c.stops AS stops, c.ratio > 1 OR c.ratio = 1 AND NOT c.allowed AS slows, c.words INTO over FROM (VALUES
            (true, true, CASE WHEN one.limited > 0 THEN one.recipients / one.limited::double precision ELSE 0 END,
             format('%s recipients within an hour, of %s allowed', one.recipients, one.limited)),
            (false, true, CASE WHEN (k->>'rise')::bigint > 0 AND one.hours >= 24
                THEN one.recipients / greatest((k->>'rise')::bigint * one.usual, (k->>'rise_least')::bigint)::double precision ELSE 0 END,
             format('%s recipients within an hour, of %s that are usual', one.recipients, one.usual)),
            (false, true, CASE WHEN (k->>'viruses')::bigint > 0 THEN one.viruses / (k->>'viruses')::double precision ELSE 0 END,
             format('%s viruses within an hour', one.viruses)),
            (false, NOT one.registered, CASE WHEN (k->>'bad_share')::bigint > 0 AND one.recipients >= (k->>'bad_least')::bigint
                    AND one.bad * 100 >= (k->>'bad_share')::bigint * one.recipients
                THEN one.bad / (k->>'bad_least')::double precision ELSE 0 END,
             format('%s of %s recipients within an hour were refused or bounced', one.bad, one.recipients))) AS c(allowed, stops, ratio, words)
            ORDER BY 1 DESC, 2 DESC, c.ratio DESC LIMIT 1;
        words := over.words;
        next_state := CASE WHEN one.stopped IN ('held', 'refused') AND NOT one.stopped_dry THEN one.stopped
            WHEN over.stops THEN CASE k->>'action' WHEN 'hold' THEN 'held' ELSE 'refused' END
            WHEN over.slows THEN 'throttled' ELSE '' END;
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
    -- Whoever has too much held already is not taken from any more, until an operator makes room; where all have together, nobody is.
    IF NOT EXISTS (SELECT FROM outbound_stop AS o WHERE o.state <> 'throttled' AND NOT o.dry) THEN
        RETURN;
    END IF;
    WITH h AS (SELECT m.held_for, count(*) AS messages, sum(m.size) AS bytes FROM spool_message m WHERE m.held_for <> '' GROUP BY m.held_for)
    UPDATE outbound_stop o SET full_up = NOT o.full_up
        FROM outbound_stop p LEFT JOIN h ON h.held_for = p.subject CROSS JOIN (SELECT sum(a.bytes) AS bytes FROM h AS a) AS everything
        WHERE o.subject = p.subject AND o.state <> 'throttled' AND NOT o.dry
            AND o.full_up <> (coalesce(h.messages, 0) >= (k->>'held_messages')::bigint OR coalesce(h.bytes >= (k->>'held_bytes')::bigint, false)
                OR coalesce(everything.bytes >= (k->>'held_all')::bigint, false));
END $f$;

-- Adds counts to a sender that is of the present hour, or new. The subject.
CREATE OR REPLACE FUNCTION outbound_add(who text, listed boolean, r bigint, v bigint, b bigint, now_hour bigint) RETURNS text LANGUAGE sql AS $f$
    INSERT INTO outbound_sender AS s (subject, registered, hour, recipients, viruses, bad) VALUES (who, listed, now_hour, r, v, b)
    ON CONFLICT (subject) DO UPDATE SET registered = CASE WHEN r > 0 THEN listed ELSE s.registered END, recipients = s.recipients + r, viruses = s.viruses + v,
        bad = s.bad + b, last_seen = clock_timestamp()
    RETURNING s.subject
$f$;

-- Of messages that were just stored, in the same transaction: those of senders who are held now rest, whatever their edge has heard. What is leased already was
-- stored before.
CREATE OR REPLACE FUNCTION outbound_hold(ids text[], subjects text[]) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    stopped CONSTANT text[] := ARRAY(SELECT o.subject FROM outbound_stop o WHERE o.subject = ANY (subjects) AND o.state IN ('held', 'refused')
        AND NOT o.dry AND NOT o.idle);
BEGIN
    IF stopped = '{}' THEN
        RETURN;
    END IF;
    WITH held AS (
        UPDATE spool_message m SET held_for = w.subject FROM unnest(ids, subjects) AS w(id, subject)
            WHERE m.id = w.id AND w.subject = ANY (stopped) RETURNING m.id)
    UPDATE spool_queue q SET held = true FROM held h WHERE q.id = h.id AND NOT q.leased;
END $f$;

-- Mail that was held for a sender goes on, or (deleter) is deleted: at most so many messages. How many. What is not complete, or is being delivered, is not
-- deleted: it stays held.
CREATE OR REPLACE FUNCTION outbound_let_go(who text, deleter text, most integer, override_id bigint DEFAULT 0) RETURNS integer LANGUAGE plpgsql AS $f$
DECLARE
    one record;
    entry record;
    done integer := 0;
BEGIN
    FOR one IN SELECT m.id FROM spool_message m WHERE m.held_for = who AND (deleter = '' OR m.stored_at IS NOT NULL
            AND NOT EXISTS (SELECT FROM spool_queue q WHERE q.id = m.id AND q.held AND q.leased AND q.due_at > clock_timestamp()))
        ORDER BY m.id LIMIT most FOR UPDATE LOOP
        done := done + 1;
        UPDATE spool_message m SET held_for = '', override = override_id WHERE m.id = one.id;
        FOR entry IN SELECT q.destination, q.scanned, q.leased AND q.due_at > clock_timestamp() AS leased FROM spool_queue q
            WHERE q.id = one.id AND q.held ORDER BY q.destination FOR UPDATE LOOP
            IF deleter <> '' THEN
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

-- Mail that is held for senders whose stop is gone goes on, at most so many messages: what was stored while that was lifted. How many.
CREATE OR REPLACE FUNCTION outbound_free(most integer) RETURNS integer LANGUAGE plpgsql AS $f$
DECLARE
    one record;
    done integer := 0;
BEGIN
    -- Each name by one look at the index, however much is held for it.
    FOR one IN WITH RECURSIVE h AS (
            (SELECT m.held_for FROM spool_message m WHERE m.held_for <> '' ORDER BY m.held_for LIMIT 1)
            UNION ALL SELECT (SELECT m.held_for FROM spool_message m WHERE m.held_for <> '' AND m.held_for > h.held_for ORDER BY m.held_for LIMIT 1)
                FROM h WHERE h.held_for IS NOT NULL)
        SELECT h.held_for FROM h WHERE h.held_for IS NOT NULL AND NOT EXISTS (SELECT FROM outbound_stop o WHERE o.subject = h.held_for AND o.state IN ('held', 'refused') AND NOT o.dry) LOOP
        EXIT WHEN done >= most;
        done := done + outbound_let_go(one.held_for, '', most - done, coalesce((SELECT v.id FROM override AS v WHERE v.kind = 'outbound release' AND v.subject = one.held_for
            AND v.state = 'done' ORDER BY v.id DESC LIMIT 1), 0));
    END LOOP;
    RETURN done;
END $f$;

CREATE OR REPLACE FUNCTION outbound_tidy(entries bigint, most integer) RETURNS bigint LANGUAGE plpgsql AS $f$
DECLARE
    there bigint;
    gone bigint;
BEGIN
    SELECT count(*) INTO there FROM (SELECT FROM outbound_sender LIMIT entries + most) AS l;
    DELETE FROM outbound_sender s WHERE NOT EXISTS (SELECT FROM outbound_stop p WHERE p.subject = s.subject) AND (s.subject = ANY (ARRAY(SELECT o.subject FROM outbound_sender o WHERE o.last_seen < now() - interval '30 days' LIMIT most))
        OR s.subject = ANY (ARRAY(SELECT o.subject FROM outbound_sender o ORDER BY o.last_seen LIMIT greatest(least(there - entries, most), 0))));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $f$;

CREATE OR REPLACE FUNCTION outbound_counts() RETURNS TABLE (throttled bigint, held bigint, dry bigint, messages bigint, bytes bigint, filled bigint)
LANGUAGE sql STABLE AS $f$
    SELECT count(*) FILTER (WHERE o.state = 'throttled' AND NOT o.dry AND NOT o.idle), count(*) FILTER (WHERE o.state <> 'throttled' AND NOT o.dry AND NOT o.idle),
        count(*) FILTER (WHERE o.dry), min(h.messages), min(h.bytes), count(*) FILTER (WHERE o.full_up AND NOT o.idle)
    FROM (SELECT count(*) AS messages, coalesce(sum(size), 0)::bigint AS bytes FROM spool_message WHERE held_for <> '') AS h LEFT JOIN outbound_stop o ON true
$f$;

CREATE OR REPLACE FUNCTION outbound_summary(who text) RETURNS jsonb LANGUAGE sql STABLE AS $f$
    SELECT jsonb_build_object('subject', who, 'held_messages', h.messages, 'held_bytes', h.bytes)
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
        || coalesce((SELECT jsonb_build_object('state', o.state, 'dry', o.dry, 'full', o.full_up, 'idle', o.idle, 'since', o.since, 'reason', o.reason, 'evidence', o.evidence)
            FROM outbound_stop o WHERE o.subject = who), '{"state": "free"}')
        || coalesce((SELECT jsonb_build_object('pool', p.pool, 'pool_reason', p.reason, 'pool_who', p.moved_by, 'pool_at', p.at) FROM outbound_pool p WHERE p.subject = who), '{}')
    FROM (SELECT count(*) AS messages, coalesce(sum(m.size), 0) AS bytes FROM spool_message m WHERE m.held_for = who) AS h
$f$;

-- Whom an operator means: a login, an address, or a subject as it is listed. NULL: nobody of that name ever sent.
CREATE OR REPLACE FUNCTION outbound_find(wanted text) RETURNS text LANGUAGE sql STABLE AS $f$
    SELECT n.name FROM unnest(ARRAY[wanted, 'account ' || wanted, 'account ' || login_fold(wanted), outbound_subject(2::smallint, '', client_text(wanted))]) WITH ORDINALITY AS n(name, place)
    WHERE EXISTS (SELECT FROM outbound_sender s WHERE s.subject = n.name) OR EXISTS (SELECT FROM outbound_stop o WHERE o.subject = n.name)
        OR EXISTS (SELECT FROM outbound_pool p WHERE p.subject = n.name)
        OR EXISTS (SELECT FROM spool_message m WHERE m.held_for = n.name AND m.held_for <> '')
    ORDER BY n.place LIMIT 1
$f$;

CREATE OR REPLACE FUNCTION admin_outbound_list() RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(outbound_summary(l.subject) ORDER BY l.rank, l.since DESC, l.subject) FROM (
        SELECT o.subject, o.since, CASE WHEN o.dry THEN 2 WHEN o.state = 'throttled' THEN 1 ELSE 0 END AS rank FROM outbound_stop o
        UNION ALL SELECT p.subject, p.at, 3 FROM outbound_pool p WHERE NOT EXISTS (SELECT FROM outbound_stop o WHERE o.subject = p.subject)
        ORDER BY rank, since DESC LIMIT 1000) AS l), '[]')
$f$;

-- Moves the mail of an account or an inside host, who need not have sent any yet, to an egress pool that edges have told of (weir_egress_addresses); '': back to that
-- of its kind.
CREATE OR REPLACE FUNCTION admin_outbound_pool(requester text, wanted text, name text, why text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    sender CONSTANT text := coalesce(outbound_find(wanted), outbound_subject(2::smallint, '', client_text(wanted)),
        CASE WHEN wanted ~ '^[^[:space:][:cntrl:]/]{1,255}$' THEN 'account ' || login_fold(wanted) END);
    was text;
    known text[];
BEGIN
    PERFORM admin_begin();
    IF sender IS NULL THEN
        RETURN (65, format('"%s" is no login and no address of a host', left(wanted, 80)), NULL)::admin_answer;
    ELSIF length(why) > 500 THEN
        RETURN (64, 'the reason has at most 500 characters', NULL)::admin_answer;
    END IF;
    SELECT p.pool INTO was FROM outbound_pool p WHERE p.subject = sender;
    IF name = '' THEN
        DELETE FROM outbound_pool p WHERE p.subject = sender;
    ELSE
        known := ARRAY(SELECT DISTINCT substring(e->>'l' FROM '^pool="(.*)"$') FROM node_metrics m, jsonb_array_elements(m.metrics) AS e
            WHERE e->>'n' = 'weir_egress_addresses' AND (e->>'v')::numeric > 0 ORDER BY 1);
        IF name <> ALL (known) THEN
            RETURN (65, format('no edge has an [egress "%s"]%s', left(name, 80), CASE WHEN known = '{}' THEN '' ELSE format(': there is %s', array_to_string(known, ', ')) END),
                    NULL)::admin_answer;
        ELSIF was IS NULL AND (SELECT count(*) FROM outbound_pool) >= 1000 THEN
            RETURN (65, '1000 senders were moved already, more than edges are told of: take some back, or move their kind (use_for)', NULL)::admin_answer;
        END IF;
        INSERT INTO outbound_pool AS p (subject, pool, reason, moved_by) VALUES (sender, name, why, requester)
            ON CONFLICT (subject) DO UPDATE SET pool = EXCLUDED.pool, reason = EXCLUDED.reason, moved_by = EXCLUDED.moved_by, at = clock_timestamp();
    END IF;
    INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'outbound pool', sender, jsonb_strip_nulls(jsonb_build_object('pool', nullif(name, ''), 'was', was, 'reason', nullif(why, ''))));
    RETURN (0, NULL, json_build_object('subject', sender, 'pool', nullif(name, ''), 'was', was))::admin_answer;
END $f$;

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
        -- Of a network those addresses of it that sent last.
        newest := (SELECT jsonb_agg(to_jsonb(n) ORDER BY n.time) FROM (SELECT a.* FROM (SELECT h.client FROM sending_host h
                WHERE outbound_subject(2::smallint, '', h.client) = who ORDER BY h.last_seen DESC LIMIT 20) AS c,
            LATERAL (SELECT time, id, client, sender, recipient, disposition, reply FROM audit WHERE client = c.client ORDER BY client DESC, time DESC LIMIT 20) AS a
            ORDER BY a.time DESC LIMIT 20) AS n);
    END IF;
    RETURN (0, NULL, (outbound_summary(who) || jsonb_build_object('newest', coalesce(newest, '[]'), 'held', coalesce((SELECT jsonb_agg(to_jsonb(h) ORDER BY h.arrived_at)
        FROM (SELECT m.id, m.arrived_at, m.size, m.sender, m.recipients FROM spool_message m WHERE m.held_for = who ORDER BY m.arrived_at LIMIT 20) AS h), '[]')))::json)::admin_answer;
END $f$;

-- Begins to count a sender anew and lifts what holds it; its held mail goes on, or is deleted, at most 500 messages at a time, as others wait for their rows. Where some are
-- `left` the stop stays, so that they and what comes meanwhile rest: whoever wants the rest asks again. Until then no row that all need is locked.
CREATE OR REPLACE FUNCTION outbound_release(requester text, who text, deletes boolean, override_id bigint) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    stopped record;
    done integer;
    rest bigint;
BEGIN
    DELETE FROM outbound_delta d WHERE d.subject = who;
    UPDATE outbound_sender s SET recipients = 0, viruses = 0, bad = 0, last_recipients = 0, last_viruses = 0, last_bad = 0, released_at = clock_timestamp()
        WHERE s.subject = who;
    SELECT o.state, o.reason INTO stopped FROM outbound_stop o WHERE o.subject = who;
    done := outbound_let_go(who, CASE WHEN deletes THEN requester ELSE '' END, 500, override_id);
    SELECT count(*) INTO rest FROM spool_message m WHERE m.held_for = who;
    INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'outbound release', who, jsonb_strip_nulls(jsonb_build_object('override', override_id,
        'state', stopped.state, 'reason', stopped.reason, 'why', (SELECT nullif(v.reason, '') FROM override AS v WHERE v.id = override_id),
        CASE WHEN deletes THEN 'deleted' ELSE 'released' END, done, 'left', nullif(rest, 0))));
    IF rest = 0 THEN
        DELETE FROM outbound_stop o WHERE o.subject = who;
    END IF;
    RETURN (0, NULL, json_build_object('override', override_id, 'subject', who, 'was', coalesce(stopped.state, 'free'), 'released', CASE WHEN deletes THEN 0 ELSE done END,
        'deleted', CASE WHEN deletes THEN done ELSE 0 END, 'left', rest))::admin_answer;
END $f$;

-- The override by which a sender is being released, where some of its mail was left: one of the last hour, done for the same.
CREATE OR REPLACE FUNCTION outbound_releasing(who text, deletes boolean) RETURNS bigint LANGUAGE sql STABLE AS $f$
    SELECT v.id FROM override AS v JOIN outbound_sender AS s ON s.subject = who WHERE v.kind = 'outbound release' AND v.subject = who AND v.state = 'done'
        AND (v.detail->>'deletes')::boolean = deletes AND coalesce(v.decided_at, v.requested_at) > clock_timestamp() - interval '1 hour'
        AND s.released_at >= coalesce(v.decided_at, v.requested_at) AND EXISTS (SELECT FROM spool_message m WHERE m.held_for = who)
        AND EXISTS (SELECT FROM outbound_stop o WHERE o.subject = who AND o.since < coalesce(v.decided_at, v.requested_at)) ORDER BY v.id DESC LIMIT 1
$f$;

CREATE OR REPLACE FUNCTION admin_outbound_release(requester text, wanted text, deletes boolean, why text DEFAULT '') RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    who CONSTANT text := outbound_find(wanted);
    begun bigint;
    made override;
BEGIN
    IF who IS NULL THEN
        RETURN (65, format('nothing was sent by "%s": give a login, or the address of an inside host', wanted), NULL)::admin_answer;
    ELSIF length(why) > 500 THEN
        RETURN (64, 'the reason has at most 500 characters', NULL)::admin_answer;
    END IF;
    begun := outbound_releasing(who, deletes);
    IF begun IS NOT NULL THEN
        RETURN outbound_release(requester, who, deletes, begun);
    ELSIF override_needs_two() AND why = '' THEN
        RETURN (64, 'a reason is needed: another operator is to approve it (--reason TEXT)', NULL)::admin_answer;
    END IF;
    made := override_ask(requester, 'outbound release', who, jsonb_build_object('deletes', deletes), why, '', interval '0');
    RETURN CASE WHEN made.state = 'pending' THEN override_pending_answer(made) ELSE override_do(made, requester) END;
END $f$;
