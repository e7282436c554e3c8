-- functions/spool_state.sql - what is counted of the spool, and what its leader tidies

-- What operators call the state of an entry of the queue. down_until: of its destination; NULL: it can be reached.
CREATE OR REPLACE FUNCTION spool_state(held boolean, leased boolean, due_at timestamptz, down_until timestamptz) RETURNS text LANGUAGE sql STABLE AS $f$
    SELECT CASE WHEN held THEN 'held' WHEN leased AND due_at > now() THEN 'leased'
                WHEN due_at > now() OR down_until > now() THEN 'deferred' ELSE 'ready' END
$f$;

-- This and spool_sums() count everything, on a connection that is otherwise kept to indexes.
CREATE OR REPLACE FUNCTION spool_states() RETURNS TABLE (state text, amount bigint, oldest numeric) LANGUAGE sql STABLE
    SET enable_seqscan = on SET enable_hashjoin = on AS $f$
    SELECT spool_state(q.held, q.leased, q.due_at, d.down_until), count(*), round(extract(epoch FROM now() - min(q.arrived_at)), 3)
        FROM spool_queue q LEFT JOIN spool_destination d USING (destination) GROUP BY 1
    UNION ALL SELECT 'incoming', count(*), round(extract(epoch FROM now() - min(arrived_at)), 3) FROM spool_message
        WHERE stored_at IS NULL HAVING count(*) > 0
$f$;

-- difference: recipients that were stored and are neither settled nor here nor in the quarantine. suspects: entries that wait because leases of them ended without a word.
CREATE OR REPLACE FUNCTION spool_sums() RETURNS TABLE (messages numeric, bytes numeric, difference numeric, down bigint, suspects bigint) LANGUAGE sql STABLE
    SET enable_seqscan = on SET enable_hashjoin = on AS $f$
    SELECT coalesce(sum(messages), 0), coalesce(sum(bytes), 0), coalesce(sum(recipients - delivered - failed - discarded - abandoned), 0)
        - (SELECT kept - released FROM quarantine_sums()) - (SELECT count(*) FROM spool_recipient WHERE state IN ('queued', 'quarantined')),
        (SELECT count(*) FROM spool_destination), (SELECT count(*) FROM spool_queue WHERE expiries > 1) FROM spool_usage
$f$;

-- Rows that nothing needs any more: events past their time, lanes and troubles of destinations without mail.
CREATE OR REPLACE FUNCTION spool_tidy(age interval, most integer) RETURNS void LANGUAGE sql AS $f$
    DELETE FROM spool_event WHERE ctid = ANY (ARRAY(SELECT ctid FROM spool_event WHERE at < now() - age LIMIT most));
    DELETE FROM spool_lane WHERE ctid = ANY (ARRAY(SELECT l.ctid FROM spool_lane l WHERE l.turn_at = 'infinity' AND NOT EXISTS (
        SELECT FROM spool_queue q WHERE q.destination = l.destination AND q.scanned = l.scanned) LIMIT most FOR UPDATE SKIP LOCKED));
    DELETE FROM spool_destination WHERE ctid = ANY (ARRAY(SELECT d.ctid FROM spool_destination d WHERE d.down_until < now() AND NOT EXISTS (
        SELECT FROM spool_queue q WHERE q.destination = d.destination) LIMIT most FOR UPDATE SKIP LOCKED))
$f$;
