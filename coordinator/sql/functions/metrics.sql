-- functions/metrics.sql - what processes count

-- What a process told in part: newer samples replace older ones of the same series. The labels of an info series are its value: a newer one replaces
-- it whatever they are. At most 10,000 series of a process are kept.
CREATE OR REPLACE FUNCTION metrics_merge(older jsonb, newer jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $f$
    SELECT coalesce(jsonb_agg(latest.e ORDER BY latest.at), '[]') FROM (
        SELECT one.e, one.at FROM (
            SELECT DISTINCT ON (s.e->>'n', CASE WHEN s.e->>'n' LIKE '%\_info' THEN '' ELSE s.e->>'l' END) s.e, s.at
            FROM jsonb_array_elements(older || newer) WITH ORDINALITY AS s(e, at)
            ORDER BY s.e->>'n', CASE WHEN s.e->>'n' LIKE '%\_info' THEN '' ELSE s.e->>'l' END, s.at DESC) AS one
        ORDER BY one.at DESC LIMIT 10000) AS latest
$f$;

-- Adds what at most 10 ended processes counted to their worker's base row. Returns how many were folded: 10 means there may be more.
-- The connection that folds is the one that heartbeats are written through, so a turn takes a few processes and a time that grows only with their series.
CREATE OR REPLACE FUNCTION metrics_fold() RETURNS integer LANGUAGE plpgsql AS $f$
DECLARE
    folded integer;
BEGIN
    -- A leader of before may still be at it, and two would overwrite each other's sums. What follows sees what it did.
    IF NOT pg_try_advisory_xact_lock(hashtextextended('weir fold', 0)) THEN
        RETURN 0;
    END IF;
    WITH ended AS MATERIALIZED (
        SELECT p.node, p.worker, p.boot FROM node_process p
        WHERE p.seen_at < now() - interval '1 minute'
          AND EXISTS (SELECT FROM node_process newer WHERE newer.node = p.node AND newer.worker = p.worker
                                                       AND newer.first_seen_at > p.first_seen_at)
        ORDER BY p.node, p.worker, p.boot LIMIT 10 FOR UPDATE OF p SKIP LOCKED
    ), gone AS (
        DELETE FROM node_process p USING ended e WHERE (p.node, p.worker, p.boot) = (e.node, e.worker, e.boot)
    ), taken AS (
        DELETE FROM node_metrics m USING ended e WHERE (m.node, m.worker, m.boot) = (e.node, e.worker, e.boot)
        RETURNING m.node, m.worker, m.metrics
    ), source AS (
        SELECT node, worker, metrics FROM taken
        UNION ALL
        SELECT node, worker, metrics FROM node_metrics WHERE boot = 0 AND (node, worker) IN (SELECT node, worker FROM taken)
    ), sample AS MATERIALIZED (
        -- Numbered, so that buckets are joined by a number; one row for each series of each source. Gauges ended with their process.
        SELECT s.node, s.worker, e->>'n' AS n, e->>'l' AS l, e->'k' AS k, e->'b' AS b, (e->>'v')::numeric AS v, (e->>'c')::numeric AS c,
            e->'u' AS u, dense_rank() OVER (ORDER BY s.node, s.worker, e->>'n', e->>'l', e->>'k', e->>'b') AS series
        FROM source s, jsonb_array_elements(s.metrics) AS e WHERE e->>'k' <> '1'
    ), bucket AS (
        SELECT series, jsonb_agg(amount ORDER BY position) AS u FROM (
            SELECT s.series, one.position, sum(one.amount::numeric) AS amount
            FROM sample s, jsonb_array_elements_text(s.u) WITH ORDINALITY AS one(amount, position)
            WHERE jsonb_typeof(s.u) = 'array' GROUP BY s.series, one.position) AS sums
        GROUP BY series
    ), total AS (
        SELECT node, worker, n, l, k, b, series, sum(v) AS v, sum(c) AS c FROM sample GROUP BY node, worker, n, l, k, b, series
    ), written AS (
        INSERT INTO node_metrics AS base (node, worker, boot, metrics)
            SELECT t.node, t.worker, 0, jsonb_agg(jsonb_build_object('n', t.n, 'l', t.l, 'k', t.k, 'v', t.v, 'c', t.c, 'b', t.b,
                'u', coalesce(bucket.u, '[]')) ORDER BY t.series)
            FROM total t LEFT JOIN bucket USING (series) GROUP BY t.node, t.worker
            ON CONFLICT (node, worker, boot) DO UPDATE SET metrics = EXCLUDED.metrics
    )
    SELECT count(*) INTO folded FROM ended;
    RETURN folded;
END $f$;
