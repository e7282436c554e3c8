-- 0018_report.sql - who was turned away and where viruses came from; traces by client; clients that use one edge only; nodes' clocks

-- A trace takes the newest rows of one address out of any number.
DROP INDEX audit_sender, audit_recipient;
CREATE INDEX audit_sender ON audit (lower(sender), time) WHERE sender <> '';
CREATE INDEX audit_recipient ON audit (lower(recipient), time);
CREATE INDEX audit_client ON audit (client, time);
-- What a report is made of; a day of ordinary mail has none of it. A virus that was found in the spool is 'discarded' with 550.
CREATE INDEX audit_trouble ON audit (time) WHERE disposition IN ('refused:relay', 'refused:virus', 'discarded:virus', 'discarded');

-- An IP address as edges write it; NULL: it is none.
CREATE FUNCTION client_text(wanted text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $f$
BEGIN
    RETURN host(wanted::inet);
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $f$;

-- As before, and by a client's IP address. IS NOT DISTINCT FROM would use no index.
CREATE OR REPLACE FUNCTION admin_trace(wanted text, most integer) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    found json;
    ip text := client_text(wanted);
BEGIN
    SELECT json_agg(r ORDER BY r.time, r.id, r.recipient_index) INTO found FROM (
        SELECT l.*, CASE WHEN row_number() OVER (PARTITION BY l.id ORDER BY l.time, l.recipient_index) = 1 THEN
                (SELECT json_agg(e ORDER BY e.at) FROM (SELECT v.at, v.destination, v.who, v.what, v.recipients, v.reply FROM spool_event v
                 WHERE v.id = l.id ORDER BY v.at DESC LIMIT 200) AS e) END AS attempts
        FROM (
            SELECT * FROM (
                SELECT * FROM audit WHERE id = upper(wanted)
                UNION (SELECT * FROM audit WHERE message_id <> '' AND message_id IN (wanted, '<' || wanted || '>') ORDER BY time DESC LIMIT most)
                UNION (SELECT * FROM audit WHERE sender <> '' AND lower(sender) = lower(wanted) ORDER BY lower(sender) DESC, time DESC LIMIT most)
                UNION (SELECT * FROM audit WHERE lower(recipient) = lower(wanted) ORDER BY lower(recipient) DESC, time DESC LIMIT most)
                UNION (SELECT * FROM audit WHERE client = ip ORDER BY client DESC, time DESC LIMIT most)) AS a
            ORDER BY a.time DESC, a.id, a.recipient_index LIMIT most) AS l) AS r;
    IF found IS NULL THEN
        RETURN (65, format('nothing is known of "%s": give a queue id, a Message-ID, a mail address or a client''s IP address; the oldest row is from %s',
                wanted, coalesce((SELECT to_char(min(time), 'YYYY-MM-DD HH24:MI') FROM audit), 'never')), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, found)::admin_answer;
END $f$;

-- As before, but the row keeps the edge that took the message, whose listener and client it names; who delivered it is in spool_event.
CREATE OR REPLACE FUNCTION spool_audit(wanted text, numbers integer[], who text, what text, code integer, said text, hop text) RETURNS void
LANGUAGE plpgsql AS $f$
BEGIN
    INSERT INTO audit AS a (id, recipient_index, time, node, worker, listener, client, helo, tls, sender, recipient, message_id, size,
        disposition, reply_code, reply, verdict, signature, scanner, engine, signatures, next_hop, next_hop_reply, duration_ms)
        SELECT m.id, r.number, clock_timestamp(), CASE WHEN m.node <> '' THEN m.node ELSE who END, 0, m.listener, m.client, m.helo, m.tls, m.sender,
            r.address, m.message_id, m.size, what, code, said, m.verdict, '', m.scanner, m.engine, m.signatures, left(hop, 512),
            CASE WHEN hop <> '' THEN said ELSE '' END, (extract(epoch FROM clock_timestamp() - m.arrived_at) * 1000)::bigint
        FROM spool_message m JOIN spool_recipient r ON r.id = m.id WHERE m.id = wanted AND r.number = ANY (numbers) ORDER BY r.number
        ON CONFLICT (id, recipient_index) DO UPDATE SET time = EXCLUDED.time, disposition = EXCLUDED.disposition,
            reply_code = EXCLUDED.reply_code, reply = EXCLUDED.reply, verdict = EXCLUDED.verdict, scanner = EXCLUDED.scanner,
            engine = EXCLUDED.engine, signatures = EXCLUDED.signatures, next_hop = EXCLUDED.next_hop,
            next_hop_reply = EXCLUDED.next_hop_reply, duration_ms = EXCLUDED.duration_ms;
END $f$;

-- Clients that may not relay but try, and clients that sent viruses, the busiest first.
CREATE FUNCTION admin_report(hours integer, most integer) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
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

-- Clients of the last hour that always came to this edge while others served, too: they go to its own name, or keep their connections.
CREATE FUNCTION edge_pinned(target text) RETURNS jsonb LANGUAGE sql STABLE AS $f$
    SELECT coalesce(jsonb_agg(p), '[]') FROM (
        SELECT client, count(DISTINCT id) AS messages, max(time) AS last FROM audit
            WHERE time > now() - interval '1 hour' AND disposition NOT LIKE 'refused%'
            GROUP BY client HAVING count(DISTINCT id) >= 5 AND bool_and(node = target) ORDER BY 2 DESC, 1 LIMIT 50) AS p
$f$;

-- As before; of an edge that is to be drained, also the clients that may have no other.
CREATE OR REPLACE FUNCTION admin_drain(who text, target text, wanted boolean, force boolean, silence interval) RETURNS admin_answer
LANGUAGE plpgsql AS $f$
DECLARE
    n record;
    body jsonb;
BEGIN
    PERFORM admin_begin();
    SELECT * INTO n FROM node_known WHERE name = target;
    IF NOT FOUND THEN
        RETURN (65, format('no node is called "%s"', target), NULL)::admin_answer;
    END IF;
    IF n.role NOT IN ('edge', 'scanner') THEN
        RETURN (65, format('%s is a %s: only edges and scanners are drained; stop it, and its nodes use another', target, n.role),
                NULL)::admin_answer;
    END IF;
    IF wanted AND NOT n.drain AND NOT force AND NOT EXISTS (
        SELECT FROM node_known o WHERE o.role = n.role AND o.name <> target AND NOT o.drain AND NOT o.lost AND o.state = 'active') THEN
        RETURN (77, format('%s is the last active %s: without it no mail flows; add --force to drain it anyway', target, n.role),
                NULL)::admin_answer;
    END IF;
    IF n.drain <> wanted THEN
        UPDATE node SET drain = wanted, drain_number = n.drain_number + 1, drain_by = who, drain_at = now() WHERE name = target;
        INSERT INTO audit_action (who, action, target, detail)
            VALUES (who, CASE WHEN wanted THEN 'drain' ELSE 'undrain' END, target, jsonb_build_object('force', force));
    END IF;
    body := admin_node(target, silence)::jsonb;
    IF wanted AND n.role = 'edge' THEN
        body := body || jsonb_build_object('pinned', edge_pinned(target));
    END IF;
    RETURN (0, NULL, body::json)::admin_answer;
END $f$;

-- How far a process's clock is ahead of the database's (behind: negative), as of its last heartbeat; what that waited for on its way counts as behind.
ALTER TABLE node_process ADD COLUMN skew_ms bigint NOT NULL DEFAULT 0;
CREATE OR REPLACE VIEW node_worker AS
    SELECT DISTINCT ON (node, worker) * FROM node_process
    ORDER BY node, worker, seen_at > clock_timestamp() - interval '1 minute' DESC, first_seen_at DESC;

DROP FUNCTION node_summary(interval);
CREATE FUNCTION node_summary(silence interval)
RETURNS TABLE (name text, role text, state text, drain boolean, drain_by text, drain_at timestamptz, gc bigint, gc_done bigint,
    processes bigint, in_flight bigint, generation bigint, policy_epoch bigint, signatures text, version text, endpoint text,
    coordinator text, up_seconds bigint, silent_seconds numeric,
    drain_number bigint, drain_done bigint, skew_ms bigint) LANGUAGE sql STABLE AS $f$
    SELECT n.name, n.role, CASE WHEN w.seen_at IS NULL AND n.lost THEN 'never seen' WHEN n.lost THEN 'lost' ELSE n.state END,
        n.drain, n.drain_by, n.drain_at, n.gc, coalesce(w.gc_done, 0), coalesce(w.processes, 0), coalesce(w.in_flight, 0),
        coalesce(w.generation, 0), coalesce(w.policy_epoch, 0), coalesce(w.signatures, ''), coalesce(w.version, ''), n.endpoint,
        coalesce(w.coordinator, ''), coalesce(extract(epoch FROM clock_timestamp() - w.first_seen_at)::bigint, 0),
        round(extract(epoch FROM clock_timestamp() - w.seen_at), 1), n.drain_number, coalesce(w.drain_done, 0), coalesce(w.skew_ms, 0)
    FROM node_known n LEFT JOIN (
        SELECT node, min(l.gc_done) FILTER (WHERE fresh) AS gc_done, min(l.drain_number) FILTER (WHERE fresh) AS drain_done, count(*) FILTER (WHERE fresh) AS processes,
            sum(l.in_flight) FILTER (WHERE fresh)::bigint AS in_flight, max(l.generation) FILTER (WHERE fresh) AS generation,
            min(l.policy_epoch) FILTER (WHERE fresh) AS policy_epoch, max(l.signatures) AS signatures, max(l.version) AS version,
            string_agg(DISTINCT l.coordinator, ' ') FILTER (WHERE fresh) AS coordinator,
            (array_agg(l.skew_ms ORDER BY abs(l.skew_ms) DESC) FILTER (WHERE fresh))[1] AS skew_ms,
            min(l.first_seen_at) FILTER (WHERE fresh) AS first_seen_at, max(l.seen_at) AS seen_at
        FROM (SELECT *, seen_at > clock_timestamp() - silence AS fresh FROM node_worker) AS l GROUP BY node) AS w ON w.node = n.name
    ORDER BY CASE n.role WHEN 'edge' THEN 1 WHEN 'scanner' THEN 2 ELSE 3 END, length(n.name), n.name
$f$;
