-- 0014_spool_status.sql - the spool in weirctl status, and in its conservation

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
                AND e->>'l' ~ 'disposition="(delivered|bounced|discarded|quarantined|spooled)[":]')) + (SELECT difference FROM spool_sums()),
        'spool', (SELECT json_build_object('messages', messages, 'bytes', bytes, 'destinations_down', down, 'states',
            (SELECT coalesce(json_object_agg(state, amount), '{}') FROM spool_states())) FROM spool_sums()),
        'signature_age_seconds', (SELECT max((e->>'v')::numeric) FROM node_metrics m JOIN node_worker w USING (node, worker, boot),
            jsonb_array_elements(m.metrics) AS e
            WHERE e->>'n' = 'weir_signature_age_seconds' AND w.seen_at > clock_timestamp() - silence),
        'nodes', coalesce((SELECT json_agg(s) FROM node_summary(silence) AS s), '[]'))
$f$;
