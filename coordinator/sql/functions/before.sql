-- functions/before.sql - what coordinators of the version before ask in another way than those of today
--
-- They go on while a cluster is upgraded one by one. What a settings key says now has its default here.

CREATE OR REPLACE FUNCTION spool_claim(who text, room integer, scanners boolean, per_destination integer, lease interval)
RETURNS TABLE (first boolean, id text, destination text, token bigint, envelope bytea, attempts integer, age_ms bigint, maybe_duplicate boolean,
    delay_warned boolean, bounce boolean, dsn boolean, scanned boolean, verdict text, scanner text, engine text, signatures text, size bigint,
    tries integer, packed bytea) LANGUAGE plpgsql AS $f$
BEGIN
    RETURN QUERY SELECT c.first, c.id, c.destination, c.token, c.envelope, c.attempts, c.age_ms, c.maybe_duplicate, c.delay_warned, c.bounce, c.dsn,
        c.scanned, c.verdict, c.scanner, c.engine, c.signatures, c.size, c.tries, c.packed
        FROM spool_claim(who, room, scanners, per_destination, lease, interval '5 minutes', interval '4 hours') AS c;
END $f$;

-- They have the bodies as records.
CREATE OR REPLACE FUNCTION spool_add(max_messages bigint, max_bytes bigint, warning interval, life interval, messages spool_new_message[], bodies spool_new_body[],
    receivers spool_new_recipient[], entries spool_new_entry[])
RETURNS TABLE (stored text, status integer, have bigint, complete boolean, work bigint) LANGUAGE plpgsql AS $f$
DECLARE
    parts spool_new_part[];
    bytes bytea;
BEGIN
    SELECT array_agg((b.id, b.behind - octet_length(b.data), octet_length(b.data))::spool_new_part ORDER BY b.place), string_agg(b.data, '' ORDER BY b.place) INTO parts, bytes
        FROM (SELECT u.id, u.data, u.place, sum(octet_length(u.data)) OVER (ORDER BY u.place) AS behind FROM unnest(bodies) WITH ORDINALITY AS u(id, data, place)) AS b;
    RETURN QUERY SELECT a.* FROM spool_add(max_messages, max_bytes, warning, life, messages, parts, bytes, receivers, entries) AS a;
END $f$;

-- They do not go on behind the first thousand.
CREATE OR REPLACE FUNCTION admin_queue_act(requester text, act text, wanted text, a_from text, a_to text, a_state text, older text, a_destination text,
    force boolean) RETURNS admin_answer LANGUAGE plpgsql AS $f$
BEGIN
    RETURN admin_queue_act(requester, act, wanted, a_from, a_to, a_state, older, a_destination, force, '');
END $f$;

-- They do not know of "busy", and answer it as too many guesses. Of wrong passwords nothing is told: those count when their time is over.
CREATE OR REPLACE FUNCTION auth_begin(ask bigint, who text, whence text, account_most integer, client_most integer, span interval)
RETURNS TABLE (limited text, hash text, senders text[]) LANGUAGE plpgsql AS $f$
BEGIN
    RETURN QUERY SELECT CASE b.limited WHEN 'busy' THEN 'client' ELSE b.limited END, b.hash, b.senders
        FROM auth_begin(ask, who, false, whence, account_most, client_most, span, interval '20 seconds', interval '30 days') AS b;
END $f$;

CREATE OR REPLACE FUNCTION auth_forgive(ask bigint, who text, used boolean) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    PERFORM auth_forgive(ask, who, g.client, used) FROM auth_guess g WHERE g.request = ask;
END $f$;

-- They tell nothing of registered hosts.
CREATE OR REPLACE FUNCTION reputation_report(rows judged_row[]) RETURNS bigint LANGUAGE sql AS $f$
    SELECT reputation_report(array_agg((u.id, u.client, u.helo, u.login, '', u.disposition, u.reply)::judged_mail)) FROM unnest(rows) AS u
$f$;

CREATE OR REPLACE FUNCTION spool_due_in(scanners boolean) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $f$
BEGIN
    RETURN (SELECT CASE WHEN scanners THEN due_any ELSE due_scanned END FROM spool_due());
END $f$;

-- They are not told whom a list of his own let in.
CREATE OR REPLACE FUNCTION quarantine_keep(max_messages bigint, max_bytes bigint, ids text[], numbers integer[], reasons text[], scores integer[],
    symbolss text[], signatures text[], authors text[]) RETURNS SETOF text LANGUAGE plpgsql AS $f$
BEGIN
    RETURN QUERY SELECT t.stored FROM quarantine_take(max_messages, max_bytes, ids, numbers, reasons, scores, symbolss, signatures, authors) AS t WHERE t.was_refused;
END $f$;

-- They do not tell who had logged in.
CREATE OR REPLACE FUNCTION outbreak_ask(k jsonb, numbers integer[], ids text[], senders text[], clients text[], hashes text[], kinds integer[], sizes bigint[],
    counteds boolean[], sets text[], helds boolean[], records boolean[]) RETURNS TABLE (action text, hash text) LANGUAGE sql AS $f$
    SELECT * FROM outbreak_ask(k, numbers, ids, senders, clients, hashes, kinds, sizes, counteds, sets, helds, records, array_fill(''::text, ARRAY[cardinality(ids)]))
$f$;

-- Their model's last event is not told.
CREATE OR REPLACE FUNCTION learn_trial(most integer, a_version integer) RETURNS TABLE (counted bigint, id bigint, part smallint, label text, features bytea) LANGUAGE sql STABLE AS $f$
    SELECT * FROM learn_trial(most, a_version, 9223372036854775807, 0)
$f$;

-- They hear of limits in rows, and those of before 0076 name a bucket for each cost.
CREATE OR REPLACE FUNCTION limit_take(request integer[], bucket text[], cost bigint[], amount bigint[], period bigint[], burst bigint[], spare bigint[],
    debt boolean[], dry boolean[], place integer[] DEFAULT NULL)
RETURNS TABLE (took boolean, wait bigint, given bigint) LANGUAGE plpgsql AS $f$
BEGIN
    IF place IS NULL THEN
        place := ARRAY(SELECT dense_rank() OVER (ORDER BY u.b COLLATE "C") FROM unnest(bucket) WITH ORDINALITY AS u(b, o) ORDER BY u.o);
        bucket := ARRAY(SELECT DISTINCT b COLLATE "C" FROM unnest(bucket) AS b ORDER BY 1);
    END IF;
    RETURN QUERY SELECT u.t, u.w, u.g FROM limit_decide(request, place, cost, amount, period, burst, spare, debt, dry, bucket) AS d,
        unnest(d.took, d.wait, d.given) WITH ORDINALITY AS u(t, w, g, o) ORDER BY u.o;
END $f$;
