-- functions/hosts.sql - the register of inside hosts that send mail

-- Whether a disposition says that the recipient was not taken: an edge's words; what was taken and came back is 'bounced'.
CREATE OR REPLACE FUNCTION sent_is_refused(disposition text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $f$
    SELECT disposition LIKE 'refused%' OR disposition LIKE 'deferred%'
$f$;

-- A virus that was found in the session, or in the spool.
CREATE OR REPLACE FUNCTION sent_is_virus(disposition text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $f$
    SELECT disposition IN ('refused:virus', 'discarded:virus', 'quarantined:virus')
$f$;

-- Counts rows that were just written, each once: who calls says so. An edge's clock may be ahead. Rows of inside hosts are few in number, and always
-- locked in one order.
CREATE OR REPLACE FUNCTION hosts_count(sums sent_sum[]) RETURNS void LANGUAGE plpgsql STRICT AS $f$
BEGIN
    INSERT INTO sending_host AS h (client, first_seen, last_seen, helo, listener)
        SELECT s.client, least(min(s.first_at), now()), least(max(s.last_at), now()), (array_agg(s.helo ORDER BY s.last_at DESC))[1],
            (array_agg(s.listener ORDER BY s.last_at DESC))[1]
        FROM unnest(sums) AS s WHERE s.origin IN (2, 3) GROUP BY s.client ORDER BY s.client
        ON CONFLICT (client) DO UPDATE SET first_seen = least(h.first_seen, EXCLUDED.first_seen), last_seen = greatest(h.last_seen, EXCLUDED.last_seen),
            helo = CASE WHEN EXCLUDED.last_seen >= h.last_seen THEN EXCLUDED.helo ELSE h.helo END,
            listener = CASE WHEN EXCLUDED.last_seen >= h.last_seen THEN EXCLUDED.listener ELSE h.listener END;
    INSERT INTO sending_host_day AS d (client, day, messages, recipients, bytes, tls, viruses, refused, unregistered)
        SELECT s.client, s.day,
            coalesce(sum(s.recipients) FILTER (WHERE s.first AND NOT sent_is_refused(s.disposition)), 0),
            coalesce(sum(s.recipients) FILTER (WHERE NOT sent_is_refused(s.disposition)), 0),
            coalesce(sum(s.bytes) FILTER (WHERE s.first AND NOT sent_is_refused(s.disposition)), 0),
            coalesce(sum(s.recipients) FILTER (WHERE s.first AND NOT sent_is_refused(s.disposition) AND s.tls), 0),
            coalesce(sum(s.recipients) FILTER (WHERE s.first AND sent_is_virus(s.disposition)), 0),
            coalesce(sum(s.recipients) FILTER (WHERE sent_is_refused(s.disposition)), 0),
            coalesce(sum(s.recipients) FILTER (WHERE s.origin = 2), 0)
        FROM unnest(sums) AS s WHERE s.origin IN (2, 3) GROUP BY s.client, s.day ORDER BY s.client, s.day
        ON CONFLICT (client, day) DO UPDATE SET messages = d.messages + EXCLUDED.messages, recipients = d.recipients + EXCLUDED.recipients,
            bytes = d.bytes + EXCLUDED.bytes, tls = d.tls + EXCLUDED.tls, viruses = d.viruses + EXCLUDED.viruses, refused = d.refused + EXCLUDED.refused,
            unregistered = d.unregistered + EXCLUDED.unregistered;
END $f$;

-- Takes out days and hosts that are too old, and of those over the limit the hosts not seen for longest; at most so many of each.
CREATE OR REPLACE FUNCTION hosts_tidy(day_age interval, host_age interval, entries bigint, most integer) RETURNS TABLE (days bigint, hosts bigint, known bigint)
LANGUAGE plpgsql AS $f$
DECLARE
    there bigint;
    gone text[];
BEGIN
    DELETE FROM sending_host_day WHERE ctid = ANY (ARRAY(SELECT ctid FROM sending_host_day
        WHERE day < ((now() - day_age) AT TIME ZONE 'UTC')::date LIMIT most FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS days = ROW_COUNT;
    SELECT count(*) INTO there FROM (SELECT FROM sending_host LIMIT entries + most) AS l;
    gone := ARRAY(SELECT h.client FROM sending_host h WHERE h.last_seen < now() - host_age OR h.client = ANY (ARRAY(
        SELECT o.client FROM sending_host o ORDER BY o.last_seen LIMIT greatest(least(there - entries, most), 0))) LIMIT most FOR UPDATE SKIP LOCKED);
    DELETE FROM sending_host WHERE client = ANY (gone);
    GET DIAGNOSTICS hosts = ROW_COUNT;
    DELETE FROM sending_host_day WHERE client = ANY (gone);
    known := there - hosts;
    RETURN NEXT;
END $f$;

-- What is known of one, over the days that are kept.
CREATE OR REPLACE FUNCTION hosts_summary() RETURNS TABLE (client text, first_seen timestamptz, last_seen timestamptz, helo text, listener text, days bigint,
    messages numeric, recipients numeric, bytes numeric, tls numeric, viruses numeric, refused numeric, unregistered numeric) LANGUAGE sql STABLE AS $f$
    SELECT h.client, h.first_seen, h.last_seen, h.helo, h.listener, count(d.day), coalesce(sum(d.messages), 0), coalesce(sum(d.recipients), 0),
        coalesce(sum(d.bytes), 0), coalesce(sum(d.tls), 0), coalesce(sum(d.viruses), 0), coalesce(sum(d.refused), 0), coalesce(sum(d.unregistered), 0)
    FROM sending_host h LEFT JOIN sending_host_day d USING (client) GROUP BY h.client
$f$;

-- All hosts, those that sent most first; weirctl knows from the policy which are registered. `hosts` says how many there are.
CREATE OR REPLACE FUNCTION admin_hosts_list(most integer) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, json_build_object('hosts', (SELECT count(*) FROM sending_host), 'seen', coalesce((SELECT json_agg(s) FROM (
        SELECT * FROM hosts_summary() ORDER BY recipients DESC, client LIMIT most) AS s), '[]'))
$f$;

CREATE OR REPLACE FUNCTION admin_hosts_show(wanted text) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    ip CONSTANT text := client_text(wanted);
    body jsonb;
BEGIN
    IF ip IS NULL THEN
        RETURN (65, format('"%s" is no IP address', wanted), NULL)::admin_answer;
    END IF;
    SELECT to_jsonb(s) INTO body FROM hosts_summary() AS s WHERE s.client = ip;
    body := coalesce(body, jsonb_build_object('client', ip)) || jsonb_build_object('by_day', coalesce((SELECT jsonb_agg(to_jsonb(d) - 'client' ORDER BY d.day)
        FROM sending_host_day d WHERE d.client = ip), '[]'));
    RETURN (0, NULL, body::json)::admin_answer;
END $f$;
