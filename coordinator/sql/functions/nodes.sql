-- functions/nodes.sql - what is known of nodes as a whole

-- Brings node.state and lost in line with what was heard. silence: how long a process may be silent. names: only these (whoever was
-- just heard), or all, to find the lost ones.
CREATE OR REPLACE FUNCTION node_refresh(names text[], silence interval) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
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
    FROM differs d WHERE n.name = d.name;
END $f$;

-- One row for each node that may take part. silence: how long a process may be silent.
CREATE OR REPLACE FUNCTION node_summary(silence interval)
RETURNS TABLE (name text, role text, state text, drain boolean, drain_by text, drain_at timestamptz, gc bigint, gc_done bigint,
    processes bigint, in_flight bigint, generation bigint, policy_epoch bigint, signatures text, version text, endpoint text,
    coordinator text, up_seconds bigint, silent_seconds numeric,
    drain_number bigint, drain_done bigint, skew_ms bigint, leases bigint, reports bigint, passed_on bigint, drain_held boolean, dns_in_at timestamptz,
    dns_out_at timestamptz, dns text, drain_step text) LANGUAGE sql STABLE AS $f$
    SELECT n.name, n.role, CASE WHEN w.seen_at IS NULL AND n.lost THEN 'never seen' WHEN n.lost THEN 'lost' ELSE n.state END,
        n.drain, n.drain_by, n.drain_at, n.gc, coalesce(w.gc_done, 0), coalesce(w.processes, 0), coalesce(w.in_flight, 0),
        coalesce(w.generation, 0), coalesce(w.policy_epoch, 0), coalesce(w.signatures, ''), coalesce(w.version, ''), n.endpoint,
        coalesce(w.coordinator, ''), coalesce(extract(epoch FROM clock_timestamp() - w.first_seen_at)::bigint, 0),
        round(extract(epoch FROM clock_timestamp() - w.seen_at), 1), n.drain_number, coalesce(w.drain_done, 0), coalesce(w.skew_ms, 0),
        coalesce(greatest(w.leases, l.leases), 0), coalesce(w.reports, 0), coalesce(w.passed_on, 0), n.drain_held, n.dns_in_at, n.dns_out_at,
        CASE WHEN n.dns_in_at IS NOT NULL THEN 'in' WHEN w.addresses AND EXISTS (SELECT FROM dns WHERE server <> '') THEN 'out' ELSE '' END,
        CASE WHEN NOT n.drain THEN ''
             WHEN coalesce(w.processes, 0) = 0 THEN 'not heard'
             WHEN n.drain_held THEN CASE WHEN n.dns_out_at IS NULL THEN 'leaving the DNS' ELSE 'out of the DNS, serving those who do not know yet' END
             WHEN n.state = 'drained' AND w.drain_done >= n.drain_number AND coalesce(w.in_flight, 0) = 0
                  AND coalesce(greatest(w.leases, l.leases), 0) = 0 AND w.reports = 0 THEN 'safe to stop'
             ELSE 'finishing' END
    FROM node_known n LEFT JOIN (
        SELECT node, min(l.gc_done) FILTER (WHERE fresh) AS gc_done, min(l.drain_number) FILTER (WHERE fresh) AS drain_done, count(*) FILTER (WHERE fresh) AS processes,
            sum(l.in_flight) FILTER (WHERE fresh)::bigint AS in_flight, sum(l.leases) FILTER (WHERE fresh)::bigint AS leases,
            sum(l.reports) FILTER (WHERE fresh)::bigint AS reports, sum(l.passed_on) FILTER (WHERE fresh)::bigint AS passed_on,
            coalesce(bool_or(l.addresses <> '[]') FILTER (WHERE fresh), false) AS addresses, max(l.generation) FILTER (WHERE fresh) AS generation,
            min(l.policy_epoch) FILTER (WHERE fresh) AS policy_epoch, max(l.signatures) AS signatures, max(l.version) AS version,
            string_agg(DISTINCT l.coordinator, ' ') FILTER (WHERE fresh) AS coordinator,
            (array_agg(l.skew_ms ORDER BY abs(l.skew_ms) DESC) FILTER (WHERE fresh))[1] AS skew_ms,
            min(l.first_seen_at) FILTER (WHERE fresh) AS first_seen_at, max(l.seen_at) AS seen_at
        FROM (SELECT *, seen_at > clock_timestamp() - silence AS fresh FROM node_worker) AS l GROUP BY node) AS w ON w.node = n.name
    -- also those of a process that is gone: they run out, and till then nobody else delivers that mail
    LEFT JOIN (SELECT regexp_replace(holder, '/[0-9]+$', '') AS node, count(*) AS leases FROM spool_queue WHERE leased AND due_at > clock_timestamp()
        GROUP BY 1) AS l ON l.node = n.name
    ORDER BY CASE n.role WHEN 'edge' THEN 1 WHEN 'scanner' THEN 2 ELSE 3 END, length(n.name), n.name
$f$;
