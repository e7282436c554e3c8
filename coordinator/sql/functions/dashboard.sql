-- functions/dashboard.sql - the cluster at a glance: what the dashboard shows

-- What all nodes have counted, of what the dashboard draws. unaccounted: accepted recipients of which no edge said what became of them.
CREATE OR REPLACE FUNCTION dashboard_totals() RETURNS jsonb LANGUAGE sql STABLE AS $f$
    WITH picked AS MATERIALIZED (
        SELECT e->>'n' AS n, e->>'l' AS l, (e->>'v')::numeric AS v FROM node_metrics m, jsonb_array_elements(m.metrics) AS e
            WHERE e->>'n' IN ('weir_recipients_accepted_total', 'weir_recipients_total', 'weir_edge_spool_recipients_total', 'weir_scans_total', 'weir_smtp_replies_total',
                'weir_smtp_sessions_total', 'weir_refusals_total', 'weir_relay_refused_total')
    ), sorted AS (
        SELECT v, CASE n
            WHEN 'weir_recipients_accepted_total' THEN 'in'
            WHEN 'weir_recipients_total' THEN substring(l FROM '^disposition="(delivered|bounced|discarded|quarantined)')
            WHEN 'weir_edge_spool_recipients_total' THEN CASE WHEN l LIKE '%"delivered"%' THEN 'delivered' END
            WHEN 'weir_scans_total' THEN substring(l FROM 'verdict="([a-z]+)"')
            WHEN 'weir_smtp_replies_total' THEN CASE WHEN l LIKE '%code="421"%' THEN 'busy' END
            WHEN 'weir_smtp_sessions_total' THEN CASE WHEN l ~ 'result="(busy|draining|limit|client-limit|memory)"' THEN 'busy' END -- 421 in place of the banner
            WHEN 'weir_refusals_total' THEN 'refused ' || substring(l FROM 'layer="([a-z_-]+)"')
            WHEN 'weir_relay_refused_total' THEN 'refused relay'
            END AS kind FROM picked
        UNION ALL SELECT CASE n WHEN 'weir_recipients_accepted_total' THEN v ELSE -v END, 'unaccounted' FROM picked
            WHERE n = 'weir_recipients_accepted_total' OR (n = 'weir_recipients_total' AND l ~ 'disposition="(delivered|bounced|discarded|quarantined|spooled)[":]')
    )
    SELECT coalesce(jsonb_object_agg(s.kind, s.total), '{}') FROM (SELECT kind, sum(v) AS total FROM sorted WHERE kind IS NOT NULL GROUP BY kind) AS s
$f$;

-- The leader's; an hour of them is kept.
CREATE OR REPLACE FUNCTION dashboard_sample_take() RETURNS void LANGUAGE sql AS $f$
    DELETE FROM dashboard_sample WHERE at < clock_timestamp() - interval '1 hour' OR at > clock_timestamp() + interval '1 minute';
    INSERT INTO dashboard_sample (totals) VALUES (dashboard_totals()) ON CONFLICT DO NOTHING;
$f$;

-- By the second: between the last samples that are ten seconds apart or more (`now`), and for each minute of the last hour (`minutes`, the oldest first).
-- A total that fell is of a node that was taken away: as if nothing had come.
CREATE OR REPLACE FUNCTION dashboard_flow() RETURNS json LANGUAGE sql STABLE AS $f$
    WITH newest AS (SELECT at, totals FROM dashboard_sample ORDER BY at DESC LIMIT 1),
    before AS (SELECT s.at, s.totals FROM dashboard_sample s, newest n WHERE s.at <= n.at - interval '10 seconds' AND s.at > n.at - interval '2 minutes' ORDER BY s.at DESC LIMIT 1),
    edges AS (SELECT DISTINCT ON (minute) floor(extract(epoch FROM at) / 60)::bigint AS minute, at, totals FROM dashboard_sample
        WHERE at > clock_timestamp() - interval '1 hour' ORDER BY minute, at DESC),
    spans AS (SELECT at, totals, lag(at) OVER w AS began, lag(totals) OVER w AS former FROM edges WINDOW w AS (ORDER BY at))
    SELECT json_build_object('at', (SELECT extract(epoch FROM at) FROM newest), 'fresh', (SELECT at > clock_timestamp() - interval '30 seconds' FROM newest),
        'now', (SELECT json_object_agg(t.key, round(greatest(0, t.value::numeric - coalesce((b.totals->>t.key)::numeric, 0)) / extract(epoch FROM n.at - b.at), 3))
            FROM newest n, before b, jsonb_each_text(n.totals) AS t),
        'total', (SELECT totals FROM newest),
        'hour', (SELECT json_object_agg(t.key, greatest(0, t.value::numeric - coalesce((o.totals->>t.key)::numeric, 0)))
            FROM newest n, (SELECT totals FROM dashboard_sample ORDER BY at LIMIT 1) AS o, jsonb_each_text(n.totals) AS t),
        'minutes', coalesce((SELECT json_agg((SELECT json_object_agg(t.key, round(greatest(0, t.value::numeric - coalesce((s.former->>t.key)::numeric, 0))
            / extract(epoch FROM s.at - s.began), 3)) FROM jsonb_each_text(s.totals) AS t) ORDER BY s.at) FROM spans s WHERE s.began IS NOT NULL), '[]'))
$f$;

-- What an operator should look at, the worst first. level: "bad" (mail does not flow, or something is lost), "warn".
CREATE OR REPLACE FUNCTION dashboard_alerts(silence interval) RETURNS TABLE (level text, words text) LANGUAGE sql STABLE AS $f$
    WITH node AS MATERIALIZED (SELECT * FROM node_summary(silence))
    SELECT a.level, a.words FROM (
        SELECT 'bad' AS level, format('no %s is active', r.role) AS words FROM (VALUES ('edge'), ('scanner')) AS r(role)
            WHERE EXISTS (SELECT FROM node_known n WHERE n.role = r.role) AND NOT EXISTS (SELECT FROM node_known n WHERE n.role = r.role AND n.state = 'active' AND NOT n.lost)
        UNION ALL SELECT 'bad', format('%s has been lost for %s s', s.name, round(s.silent_seconds)) FROM node AS s WHERE s.state = 'lost'
        UNION ALL SELECT 'bad', format('an open relay: %s of %s (%s)', t.listener, t.node, t.endpoint) FROM relay_test t WHERE t.verdict = 'open'
        -- in flight are some at any moment; the same ones for a minute are not
        UNION ALL SELECT 'bad', format('%s accepted recipients are not accounted for', min(s.totals->>'unaccounted')) FROM dashboard_sample AS s
            WHERE s.at > clock_timestamp() - interval '1 minute' HAVING count(*) > 8 AND min(s.totals->>'unaccounted') = max(s.totals->>'unaccounted') AND min(s.totals->>'unaccounted') <> '0'
        UNION ALL SELECT 'warn', format('%s''s clock is %s ms off the database''s', s.name, s.skew_ms) FROM node AS s WHERE abs(s.skew_ms) > 2000
        UNION ALL SELECT 'warn', format('%s runs %s, others do not', min(s.name), s.version) FROM node AS s WHERE s.version <> '' AND s.processes > 0
            GROUP BY s.version HAVING count(*) < (SELECT count(*) FROM node AS o WHERE o.version <> '' AND o.processes > 0) / 2.0
        UNION ALL SELECT 'warn', format('an own address is listed: %s', string_agg(substring(g.labels FROM 'address="([^"]*)"') || ' in ' || substring(g.labels FROM 'zone="([^"]*)"'), ', '))
            FROM blocklist_gauges() AS g WHERE g.name = 'own_listed' AND g.value = 1 HAVING count(*) > 0
        UNION ALL SELECT 'warn', format('the last look for signatures failed: %s', c.words) FROM signature_control c WHERE c.result = 'failed'
        UNION ALL SELECT 'warn', format('the newest set of signatures was refused: %s', s.why) FROM (SELECT * FROM signature_set ORDER BY number DESC LIMIT 1) AS s
            WHERE s.state = 'failed' AND s.why NOT LIKE 'rolled back by %'
        UNION ALL SELECT 'warn', 'signatures are pinned: newer ones wait' FROM signature_control c WHERE c.pinned IS NOT NULL
        UNION ALL SELECT 'warn', format('outbound protection holds %s senders and slows down %s', o.held, o.throttled) FROM outbound_counts() AS o WHERE o.held + o.throttled > 0
        UNION ALL SELECT 'warn', format('an outbreak: mail waits for %s attachments that many suddenly send', count(DISTINCT m.hash)) FROM outbreak_message m JOIN outbreak_hash o ON o.hash = m.hash
            WHERE m.until > clock_timestamp() AND o.state = 'suspect' HAVING count(*) > 0
        UNION ALL SELECT 'warn', format('%s destinations cannot be reached: their mail waits', count(*)) FROM spool_destination d WHERE d.down_until > now() HAVING count(*) > 0
        UNION ALL SELECT 'warn', format('the name server does not take updates: %s', d.error) FROM dns d WHERE d.error <> ''
        UNION ALL SELECT 'warn', format('%s overrides wait for a second operator', count(*)) FROM override o WHERE o.state = 'pending' AND o.pending_until > clock_timestamp() HAVING count(*) > 0
        ) AS a WHERE a.words IS NOT NULL ORDER BY a.level, a.words LIMIT 50
$f$;

CREATE OR REPLACE FUNCTION dashboard_overview(silence interval) RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object('time', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'database', current_setting('server_version'), 'epoch', (SELECT epoch FROM cluster),
        'policy', (SELECT row_to_json(p) FROM (SELECT epoch, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS applied_at, applied_by FROM policy ORDER BY epoch DESC LIMIT 1) AS p),
        'flow', dashboard_flow(),
        'nodes', coalesce((SELECT json_agg(s) FROM (SELECT n.name, n.role, n.state, n.drain, n.drain_by, n.drain_step, n.processes, n.in_flight, n.leases, n.version, n.up_seconds, n.silent_seconds,
            n.policy_epoch, (SELECT w.scanner_use FROM node_worker w WHERE w.node = n.name AND w.worker = 0) AS use FROM node_summary(silence) AS n) AS s), '[]'),
        'alerts', coalesce((SELECT json_agg(a) FROM dashboard_alerts(silence) AS a), '[]'),
        'quarantine', coalesce((SELECT json_agg(json_build_object('name', g.name, 'labels', g.labels, 'value', g.value)) FROM quarantine_gauges() AS g), '[]'),
        'signatures', (SELECT body FROM admin_signatures_status(silence)),
        'outbound', (SELECT row_to_json(o) FROM outbound_counts() AS o),
        'stopped', coalesce((SELECT json_agg(json_build_object('subject', o.subject, 'state', o.state, 'reason', o.reason, 'dry', o.dry) ORDER BY o.since DESC) FROM
            (SELECT * FROM outbound_stop WHERE NOT idle ORDER BY since DESC LIMIT 20) AS o), '[]'),
        'overrides', (SELECT body FROM admin_override_list(false, 20)),
        'actions', coalesce((SELECT json_agg(json_build_object('at', to_char(h.at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), 'who', h.who, 'action', h.action, 'target', h.target,
            'reason', coalesce(h.detail->>'reason', '')) ORDER BY h.number DESC) FROM (SELECT * FROM audit_action ORDER BY number DESC LIMIT 10) AS h), '[]'))
$f$;
