-- 0007_same_for_all.sql - what 0001 and 0002 came to say after databases had been made with them

-- Brings node.state and lost in line with what was heard. silence: how long a process may be silent. names: only these (whoever was
-- just heard), or all, to find the lost ones.
CREATE OR REPLACE FUNCTION node_refresh(names text[], silence interval) RETURNS void LANGUAGE sql AS $f$
    WITH told AS (
        SELECT node, count(*) AS workers, count(*) FILTER (WHERE state = 'drained') AS drained,
            count(*) FILTER (WHERE state = 'draining') AS draining, count(*) FILTER (WHERE state = 'active') AS active,
            (array_agg(endpoint ORDER BY worker))[1] AS endpoint, (array_agg(public_key ORDER BY worker))[1] AS public_key
        FROM node_worker WHERE seen_at > clock_timestamp() - silence AND (names IS NULL OR node = ANY (names))
        GROUP BY node
    ), heard AS (
        SELECT o.name, t.workers IS NULL AS lost, coalesce(t.endpoint, o.endpoint) AS endpoint,
            coalesce(t.public_key, o.public_key) AS public_key,
            CASE WHEN t.workers IS NULL THEN o.state
                 WHEN t.drained = t.workers THEN 'drained'
                 WHEN t.draining + t.drained > 0 THEN 'draining'
                 WHEN t.active > 0 THEN 'active'
                 ELSE 'starting' END AS state
        FROM node o LEFT JOIN told t ON t.node = o.name WHERE names IS NULL OR o.name = ANY (names)
    ), differs AS (
        -- Only rows that change are locked, in the one order.
        SELECT h.* FROM node n JOIN heard h ON h.name = n.name
        WHERE (n.state, n.lost, n.endpoint, n.public_key) IS DISTINCT FROM (h.state, h.lost, h.endpoint, h.public_key)
        ORDER BY n.name FOR UPDATE OF n
    )
    UPDATE node n SET state = d.state, lost = d.lost, endpoint = d.endpoint, public_key = d.public_key
    FROM differs d WHERE n.name = d.name
$f$;

CREATE OR REPLACE FUNCTION admin_status(silence interval) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, json_build_object(
        'epoch', (SELECT epoch FROM cluster),
        'policy', (SELECT row_to_json(p) FROM (SELECT epoch, applied_at, applied_by, comment FROM policy ORDER BY epoch DESC LIMIT 1) AS p),
        'database', json_build_object('version', current_setting('server_version'), 'time', clock_timestamp()),
        'last_message', (SELECT max(time) FROM audit),
        'messages_last_minute', (SELECT json_object_agg(disposition, amount) FROM (
            SELECT split_part(disposition, ':', 1) AS disposition, count(*) AS amount
            FROM audit WHERE time > now() - interval '1 minute' GROUP BY 1) AS d),
        'busy_last_minute', (SELECT count(*) FROM audit WHERE time > now() - interval '1 minute' AND reply_code = 421),
        'conservation_difference', (SELECT coalesce(sum(CASE WHEN e->>'n' = 'weir_recipients_accepted_total' THEN (e->>'v')::numeric
            ELSE -(e->>'v')::numeric END), 0) FROM node_metrics m, jsonb_array_elements(m.metrics) AS e
            WHERE e->>'n' = 'weir_recipients_accepted_total' OR (e->>'n' = 'weir_recipients_total'
                AND e->>'l' ~ 'disposition="(delivered|bounced|discarded|quarantined|spooled)[":]')),
        'signature_age_seconds', (SELECT max((e->>'v')::numeric) FROM node_metrics m JOIN node_worker w USING (node, worker, boot),
            jsonb_array_elements(m.metrics) AS e
            WHERE e->>'n' = 'weir_signature_age_seconds' AND w.seen_at > clock_timestamp() - silence),
        'nodes', coalesce((SELECT json_agg(s) FROM node_summary(silence) AS s), '[]'))
$f$;
