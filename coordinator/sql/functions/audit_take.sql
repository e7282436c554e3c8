-- functions/audit_take.sql - what edges report
--
-- In PL/pgSQL, which keeps its plans. Rows are written in one order, so that two coordinators that write the same do not wait for each other in circles.

-- What rows that were written say of hosts, of outbound protection and of reputation; NULL or none: nothing.
CREATE OR REPLACE FUNCTION audit_counted(sums sent_sum[], judged judged_mail[]) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    IF sums <> '{}' THEN
        PERFORM hosts_count(sums), outbound_count(sums);
    END IF;
    IF judged IS NOT NULL THEN
        PERFORM reputation_report(judged);
    END IF;
END $f$;

-- Writes rows of the audit down and counts them for hosts, outbound protection and reputation. Rows that are new, or that the spool knew before their edge
-- told of them, are counted; one that is repeated is neither. Returns how many were.
CREATE OR REPLACE FUNCTION audit_take(ids text[], indexes integer[], times_ms bigint[], nodes text[], workers integer[], listeners text[],
    clients text[], helos text[], tlss text[], senders text[], recipients text[], message_ids text[], sizes bigint[], dispositions text[], reply_codes
    integer[], replies text[], verdicts text[], virus_names text[], scanners text[], engines text[], signature_sets text[], next_hops text[], hop_replies
    text[], durations_ms bigint[], policy_epochs bigint[], rules text[], logins text[], givens text[], origins smallint[], firsts integer[], hosts text[],
    overrides bigint[])
RETURNS bigint LANGUAGE plpgsql AS $f$
DECLARE
    amount bigint := cardinality(ids);
    sums sent_sum[];
    judged judged_mail[];
BEGIN
    BEGIN -- as if all were new, as nearly always: to look at each first costs a third of it
        WITH written AS (
            INSERT INTO audit AS a (id, recipient_index, time, node, worker, listener, client, helo, tls, sender, recipient, message_id,
                    size, disposition, reply_code, reply, verdict, signature, scanner, engine, signatures, next_hop, next_hop_reply, duration_ms, policy_epoch,
                    rule, login, given, origin, first, host, override)
                SELECT r.id, r.recipient_index, to_timestamp(r.time_ms / 1000::float8), r.node, r.worker, r.listener,
                    r.client, r.helo, r.tls, r.sender, r.recipient, r.message_id, r.size, r.disposition, r.reply_code, r.reply, r.verdict, r.signature, r.scanner,
                    r.engine, r.signatures, r.next_hop, r.next_hop_reply, r.duration_ms, r.policy_epoch, r.rule, r.login, r.given, r.origin, r.first <> 0, r.host,
                    r.override
                FROM unnest(ids, indexes, times_ms, nodes, workers, listeners, clients, helos, tlss, senders, recipients,
                    message_ids, sizes, dispositions, reply_codes, replies, verdicts, virus_names, scanners, engines, signature_sets, next_hops, hop_replies,
                    durations_ms, policy_epochs, rules, logins, givens, origins, firsts, hosts, overrides)
                    AS r(id, recipient_index, time_ms, node, worker, listener, client, helo, tls, sender, recipient,
                    message_id, size, disposition, reply_code, reply, verdict, signature, scanner, engine, signatures, next_hop, next_hop_reply, duration_ms,
                    policy_epoch, rule, login, given, origin, first, host, override)
                ORDER BY r.id COLLATE "C", r.recipient_index
            RETURNING a.id, a.time, a.listener, a.client, a.helo, a.tls, a.recipient, a.size, a.disposition, a.reply, a.login, a.origin, a.first, a.host),
        alike AS (
            SELECT w.client, w.login, w.origin, w.disposition, w.first, w.tls <> '' AS tls, w.helo, w.listener, (least(w.time, now()) AT TIME ZONE 'UTC')::date AS day,
                    count(*) AS recipients, sum(w.size)::bigint AS bytes, min(w.time) AS first_at, max(w.time) AS last_at
                FROM written AS w WHERE w.origin >= 2 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9)
        SELECT ARRAY(SELECT l::sent_sum FROM alike AS l), (SELECT array_agg((concat(w.id, ' ', lower(w.recipient)), w.client, w.helo, w.login, w.host, w.disposition, w.reply)::judged_mail)
                FROM written AS w WHERE w.origin IN (1, 4) OR w.host <> '')
            INTO sums, judged;
    EXCEPTION WHEN unique_violation THEN
        WITH written AS (
            INSERT INTO audit AS a (id, recipient_index, time, node, worker, listener, client, helo, tls, sender, recipient, message_id,
                    size, disposition, reply_code, reply, verdict, signature, scanner, engine, signatures, next_hop, next_hop_reply, duration_ms, policy_epoch,
                    rule, login, given, origin, first, host, override)
                SELECT DISTINCT ON (r.id COLLATE "C", r.recipient_index) -- or one statement would update a row twice
                    r.id, r.recipient_index, to_timestamp(r.time_ms / 1000::float8), r.node, r.worker, r.listener,
                    r.client, r.helo, r.tls, r.sender, r.recipient, r.message_id, r.size, r.disposition, r.reply_code, r.reply, r.verdict, r.signature,
                    r.scanner, r.engine, r.signatures, r.next_hop, r.next_hop_reply, r.duration_ms, r.policy_epoch, r.rule, r.login, r.given, r.origin,
                    r.first <> 0, r.host, r.override
                FROM unnest(ids, indexes, times_ms, nodes, workers, listeners, clients, helos, tlss, senders, recipients,
                    message_ids, sizes, dispositions, reply_codes, replies, verdicts, virus_names, scanners, engines, signature_sets, next_hops, hop_replies,
                    durations_ms, policy_epochs, rules, logins, givens, origins, firsts, hosts, overrides)
                    AS r(id, recipient_index, time_ms, node, worker, listener, client, helo, tls, sender, recipient,
                    message_id, size, disposition, reply_code, reply, verdict, signature, scanner, engine, signatures, next_hop, next_hop_reply, duration_ms,
                    policy_epoch, rule, login, given, origin, first, host, override)
                ORDER BY r.id COLLATE "C", r.recipient_index
                -- The spool's row, which has none of these, may be here first.
                ON CONFLICT (id, recipient_index) DO UPDATE SET policy_epoch = EXCLUDED.policy_epoch, rule = EXCLUDED.rule,
                    login = EXCLUDED.login, given = EXCLUDED.given, origin = EXCLUDED.origin, first = EXCLUDED.first, host = EXCLUDED.host,
                    override = CASE WHEN EXCLUDED.override <> 0 THEN EXCLUDED.override ELSE a.override END
                    WHERE (a.policy_epoch, a.rule, a.login, a.given) = (0, '', '', '')
                        AND (EXCLUDED.policy_epoch, EXCLUDED.rule, EXCLUDED.login, EXCLUDED.given) <> (0, '', '', '')
                RETURNING a.id, a.time, a.listener, a.client, a.helo, a.tls, a.recipient, a.size, a.disposition, a.reply, a.login, a.origin, a.first,
                    a.host)
        SELECT count(*), array_agg((w.client, w.login, w.origin, w.disposition, w.first, w.tls <> '', w.helo, w.listener,
                (least(w.time, now()) AT TIME ZONE 'UTC')::date, 1, w.size, w.time, w.time)::sent_sum) FILTER (WHERE w.origin >= 2),
            array_agg((concat(w.id, ' ', lower(w.recipient)), w.client, w.helo, w.login, w.host, w.disposition, w.reply)::judged_mail)
                FILTER (WHERE w.origin IN (1, 4) OR w.host <> '')
            INTO amount, sums, judged FROM written AS w;
    END;
    PERFORM audit_counted(sums, judged);
    RETURN amount;
END $f$;

-- The same as records, written as if all were new, as nearly always; where some are not, nothing of that has happened, and all go the way above. audit_take() by itself is
-- what the version before asks.
CREATE OR REPLACE FUNCTION audit_add(brought audit_new[]) RETURNS bigint LANGUAGE plpgsql AS $f$
DECLARE
    sums sent_sum[];
    judged judged_mail[];
BEGIN
    BEGIN
        INSERT INTO audit (id, recipient_index, time, node, worker, listener, client, helo, tls, sender, recipient, message_id,
                size, disposition, reply_code, reply, verdict, signature, scanner, engine, signatures, next_hop, next_hop_reply, duration_ms, policy_epoch,
                rule, login, given, origin, first, host, override)
            SELECT r.id, r.recipient_index, to_timestamp(r.time_ms / 1000::float8), r.node, r.worker, r.listener,
                r.client, r.helo, r.tls, r.sender, r.recipient, r.message_id, r.size, r.disposition, r.reply_code, r.reply, r.verdict, r.virus_name, r.scanner,
                r.engine, r.signatures, r.next_hop, r.next_hop_reply, r.duration_ms, r.policy_epoch, r.rule, r.login, r.given, r.origin, r.first, r.host, r.override
            FROM unnest(brought) AS r ORDER BY r.id, r.recipient_index;
    EXCEPTION WHEN unique_violation THEN
        RETURN (SELECT audit_take(
        array_agg(r.id), array_agg(r.recipient_index), array_agg(r.time_ms), array_agg(r.node), array_agg(r.worker), array_agg(r.listener),
            array_agg(r.client), array_agg(r.helo), array_agg(r.tls), array_agg(r.sender), array_agg(r.recipient), array_agg(r.message_id),
            array_agg(r.size), array_agg(r.disposition), array_agg(r.reply_code), array_agg(r.reply), array_agg(r.verdict),
            array_agg(r.virus_name), array_agg(r.scanner), array_agg(r.engine), array_agg(r.signatures), array_agg(r.next_hop),
            array_agg(r.next_hop_reply), array_agg(r.duration_ms), array_agg(r.policy_epoch), array_agg(r.rule), array_agg(r.login),
            array_agg(r.given), array_agg(r.origin), array_agg(r.first::integer), array_agg(r.host), array_agg(r.override)) FROM unnest(brought) AS r);
    END;
    WITH alike AS (
        SELECT r.client, r.login, r.origin, r.disposition, r.first, r.tls <> '' AS tls, r.helo, r.listener,
                (least(to_timestamp(r.time_ms / 1000::float8), now()) AT TIME ZONE 'UTC')::date AS day, count(*) AS recipients, sum(r.size)::bigint AS bytes,
                to_timestamp(min(r.time_ms) / 1000::float8) AS first_at, to_timestamp(max(r.time_ms) / 1000::float8) AS last_at
            FROM unnest(brought) AS r WHERE r.origin >= 2 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9)
    SELECT ARRAY(SELECT l::sent_sum FROM alike AS l), (SELECT array_agg((concat(r.id, ' ', lower(r.recipient)), r.client, r.helo, r.login, r.host, r.disposition, r.reply)::judged_mail)
            FROM unnest(brought) AS r WHERE r.origin IN (1, 4) OR r.host <> '')
        INTO sums, judged;
    PERFORM audit_counted(sums, judged);
    RETURN cardinality(brought);
END $f$;
