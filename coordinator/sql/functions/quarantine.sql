-- functions/quarantine.sql - copies come into the quarantine and leave it
--
-- Lock order: a message's row of spool_message, where there is one, then that of quarantine_message, then its copies. Whoever takes the last need of a
-- body away holds both, so that one of spool and quarantine deletes it and never none.

-- Adds to the sums of the connection that asks.
CREATE OR REPLACE FUNCTION quarantine_count(a_reason text, messages bigint, bytes bigint, kept bigint, released bigint, deleted bigint, expired bigint)
RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    INSERT INTO quarantine_usage AS u VALUES (usage_slot(), $1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (slot, reason) DO UPDATE SET messages = u.messages + $2, bytes = u.bytes + $3, kept = u.kept + $4, released = u.released + $5,
        deleted = u.deleted + $6, expired = u.expired + $7;
END $f$;

CREATE OR REPLACE FUNCTION quarantine_is_full(max_messages bigint, max_bytes bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN (SELECT coalesce(sum(messages) >= max_messages OR sum(bytes) >= max_bytes, false) FROM quarantine_usage);
END $f$;

-- A field of a stored message, unfolded, as it came; the first of that name, which is letters. Escaped on the way, as a header may have any byte.
CREATE OR REPLACE FUNCTION quarantine_field(wanted text, name text) RETURNS bytea LANGUAGE plpgsql STABLE AS $f$
DECLARE
    head text;
BEGIN
    SELECT E'\n' || encode(substr(b.data, 1, 65536), 'escape') INTO head FROM spool_body b WHERE b.id = wanted AND b.position = 0;
    head := split_part(head, E'\n\r\n', 1);
    head := (regexp_match(head, E'(?i)\n' || name || E'[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)'))[1];
    RETURN coalesce(substr(decode(btrim(replace(replace(head, E'\r', ''), E'\n', ''), E' \t'), 'escape'), 1, 998), '');
EXCEPTION WHEN data_exception THEN
    RETURN '';
END $f$;

CREATE OR REPLACE FUNCTION quarantine_subject(wanted text) RETURNS bytea LANGUAGE sql STABLE AS $f$
    SELECT quarantine_field(wanted, 'Subject')
$f$;

-- Recipients of messages in the spool, still to be delivered, are to have copies here once their message is complete. again: also who had one before and was
-- released; else such a one stays where it is, as what marks it is a repeat of the store.
CREATE OR REPLACE FUNCTION quarantine_mark(ids text[], numbers integer[], reasons text[], scores integer[], symbolss text[], signatures text[], again boolean)
RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    WITH marked AS (
        UPDATE spool_recipient r SET state = 'quarantined'
        FROM unnest(ids, numbers, reasons, scores, symbolss, signatures) AS w(id, number, reason, score, symbols, signature)
        WHERE r.id = w.id AND r.number = w.number AND r.state = 'queued'
            AND (again OR NOT EXISTS (SELECT FROM quarantine_copy c WHERE c.id = w.id AND c.number = w.number))
        RETURNING r.id, r.number, r.address, r.destination, r.packed, w.reason, w.score, w.symbols, w.signature
    )
    INSERT INTO quarantine_copy (id, number, recipient, address, destination, packed, state, reason, score, symbols, signature)
        SELECT m.id, m.number, lower(m.address), m.address, m.destination, m.packed, 'incoming', m.reason, m.score, m.symbols, m.signature
        FROM marked m ORDER BY m.id, m.number
        ON CONFLICT (id, number) DO UPDATE SET destination = EXCLUDED.destination, packed = EXCLUDED.packed, state = 'incoming', reason = EXCLUDED.reason,
            score = EXCLUDED.score, symbols = EXCLUDED.symbols, signature = EXCLUDED.signature;
END $f$;

-- The message is complete: those of its recipients who were marked leave the spool. The caller has locked it. who: for the audit, where no edge is known.
-- tell: write down when, for traces, and for repeats of its store.
CREATE OR REPLACE FUNCTION quarantine_arrive(wanted text, who text, tell boolean DEFAULT true) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    one record;
    amount integer := 0;
    before integer;
    unheld integer;
    first_reason text;
BEGIN
    FOR one IN SELECT c.reason, c.signature, array_agg(c.number ORDER BY c.number) AS numbers FROM quarantine_copy c
        WHERE c.id = wanted AND c.state = 'incoming' GROUP BY c.reason, c.signature ORDER BY c.reason, c.signature
    LOOP
        PERFORM spool_audit(wanted, one.numbers, who, 'quarantined:' || one.reason, 250, 'kept in the quarantine', '', found_what => one.signature);
        INSERT INTO spool_event (id, destination, token, who, what, recipients, reply, own)
            SELECT wanted, 'quarantine', 0, who, 'quarantined', cardinality(one.numbers), trim(one.reason || ' ' || one.signature), true WHERE tell;
        PERFORM quarantine_count(one.reason, 0, 0, cardinality(one.numbers), 0, 0, 0);
        first_reason := coalesce(first_reason, one.reason);
        amount := amount + cardinality(one.numbers);
    END LOOP;
    IF amount = 0 THEN
        RETURN;
    END IF;
    SELECT q.needed INTO before FROM quarantine_message q WHERE q.id = wanted FOR UPDATE;
    SELECT count(*) INTO unheld FROM quarantine_copy c WHERE c.id = wanted AND c.state = 'incoming' AND c.hold_by = '';
    INSERT INTO quarantine_message AS q (id, arrived_at, size, needed, dsn, envelope, node, listener, client, helo, tls, sender, message_id, verdict, scanner,
            engine, signatures, subject)
        SELECT m.id, m.arrived_at, m.size, unheld, m.dsn, m.envelope, m.node, m.listener, m.client, m.helo, m.tls, m.sender, m.message_id, m.verdict,
            m.scanner, m.engine, m.signatures, quarantine_subject(m.id)
        FROM spool_message m WHERE m.id = wanted
        ON CONFLICT (id) DO UPDATE SET needed = q.needed + unheld;
    IF coalesce(before, 0) = 0 THEN
        PERFORM quarantine_count('', 1, m.size, 0, 0, 0, 0) FROM spool_message m WHERE m.id = wanted;
    END IF;
    DELETE FROM spool_recipient r USING quarantine_copy c WHERE r.id = wanted AND c.id = wanted AND c.number = r.number AND c.state = 'incoming';
    UPDATE quarantine_copy c SET state = 'waiting', kept_at = clock_timestamp(), changed_at = clock_timestamp(), changed_by = '', why = '', digested = false
        WHERE c.id = wanted AND c.state = 'incoming';
    PERFORM spool_settle(wanted, amount);
END $f$;

-- What a batch of stores has for the quarantine; each id is in the spool, stored by the same transaction or before. Returns the ids for which there is no
-- room (refused; never where `always` says that who sent it cannot come again): nothing is left of those; and for other ids, who has no copy here all the same, in order. Spam that its recipient wants, as a list of his says, and whose author was proved, is left in the spool,
-- and wants no room here.
CREATE OR REPLACE FUNCTION quarantine_take(max_messages bigint, max_bytes bigint, ids text[], numbers integer[], reasons text[], scores integer[],
    symbolss text[], signatures text[], authors text[], always boolean[] DEFAULT '{}') RETURNS TABLE (stored text, was_refused boolean, let_in integer[]) LANGUAGE plpgsql AS $f$
DECLARE
    one record;
    known text[];
    meant integer[];
    refused text[] := '{}';
BEGIN
    -- Of a repeat: the message may be leased, or delivered to some. It is never refused, and its spam that was let in stays so, whatever a list says now.
    known := ARRAY(SELECT m.id FROM spool_message m WHERE m.id = ANY (ids) AND m.arrived_at < transaction_timestamp());
    meant := ARRAY(SELECT w.place FROM unnest(ids, numbers, reasons, authors) WITH ORDINALITY AS w(id, number, reason, author, place)
        JOIN spool_recipient r ON r.id = w.id AND r.number = w.number
        WHERE NOT (w.reason = 'spam' AND (w.id = ANY (known) OR personal_is_safe(lower(r.address), w.author))));
    IF quarantine_is_full(max_messages, max_bytes) THEN
        refused := ARRAY(SELECT DISTINCT r.id FROM unnest(meant) AS p(place) JOIN spool_recipient r ON r.id = ids[p.place] AND r.number = numbers[p.place]
            WHERE always[p.place] IS NOT TRUE AND r.id <> ALL (known) AND r.state = 'queued' AND NOT EXISTS (SELECT FROM quarantine_copy c WHERE c.id = r.id AND c.number = r.number));
        PERFORM spool_count(0, 0, 0, 0, 0, 0, count(*)) FROM spool_recipient r WHERE r.id = ANY (refused) HAVING count(*) > 0;
        PERFORM spool_forget(refused);
    END IF;
    PERFORM quarantine_mark(array_agg(ids[p.place]), array_agg(numbers[p.place]), array_agg(reasons[p.place]), array_agg(scores[p.place]),
            array_agg(symbolss[p.place]), array_agg(signatures[p.place]), false)
        FROM unnest(meant) AS p(place) WHERE ids[p.place] <> ALL (refused);
    FOR one IN SELECT DISTINCT m.id, m.node FROM spool_message m WHERE m.id = ANY (ids) AND m.stored_at IS NOT NULL ORDER BY m.id LOOP
        PERFORM quarantine_arrive(one.id, one.node);
    END LOOP;
    RETURN QUERY SELECT r.id, true, '{}'::integer[] FROM unnest(refused) AS r(id)
        UNION ALL SELECT w.id, false, array_agg(w.number ORDER BY w.number) FROM unnest(ids, numbers) AS w(id, number)
            WHERE w.id <> ALL (refused) AND NOT EXISTS (SELECT FROM quarantine_copy c WHERE c.id = w.id AND c.number = w.number) GROUP BY w.id;
END $f$;

-- So many copies need the body no longer. The message must be locked (quarantine_lock()).
CREATE OR REPLACE FUNCTION quarantine_unneed(wanted text, amount integer) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    m record;
BEGIN
    UPDATE quarantine_message q SET needed = q.needed - amount WHERE q.id = wanted AND amount > 0 RETURNING q.needed, q.size INTO m;
    IF m.needed = 0 THEN
        PERFORM quarantine_count('', -1, -m.size, 0, 0, 0, 0);
        DELETE FROM spool_body b WHERE b.id = wanted AND NOT EXISTS (SELECT FROM spool_message s WHERE s.id = wanted);
    END IF;
END $f$;

-- false: the quarantine knows no such message. A release may have put it into the spool while the second row was waited for: then that is given back, as
-- whoever has the first waits for it now, and both are asked for again.
CREATE OR REPLACE FUNCTION quarantine_lock(wanted text) RETURNS boolean LANGUAGE plpgsql AS $f$
DECLARE
    spooled boolean;
    known boolean;
BEGIN
    LOOP
        PERFORM FROM spool_message m WHERE m.id = wanted FOR UPDATE;
        spooled := FOUND;
        BEGIN
            PERFORM FROM quarantine_message q WHERE q.id = wanted FOR UPDATE;
            known := FOUND;
            IF NOT spooled AND EXISTS (SELECT FROM spool_message m WHERE m.id = wanted) THEN
                RAISE serialization_failure;
            END IF;
            RETURN known;
        EXCEPTION WHEN serialization_failure THEN
            NULL; -- the end of this block's own transaction gave the row back
        END;
    END LOOP;
END $f$;

-- Copies that wait go into the spool, to be scanned again and delivered by the original envelope: once, however often it is asked. anyway: whatever that scan finds. Returns how many went;
-- the time that a message has in the spool begins anew. Their entries get tokens above all that those of the same name had before.
CREATE OR REPLACE FUNCTION quarantine_release(wanted text, wanted_numbers integer[], who text, a_why text, anyway boolean) RETURNS integer
LANGUAGE plpgsql AS $f$
DECLARE
    numbers integer[];
    one record;
    added boolean;
BEGIN
    IF NOT quarantine_lock(wanted) THEN
        RETURN 0;
    END IF;
    numbers := ARRAY(SELECT c.number FROM quarantine_copy c WHERE c.id = wanted AND c.number = ANY (wanted_numbers) AND c.state = 'waiting'
        ORDER BY c.number FOR UPDATE);
    IF numbers = '{}' THEN
        RETURN 0;
    END IF;
    INSERT INTO spool_message AS m (id, stored_at, size, recipients, scanned, dsn, envelope, node, listener, client, helo, tls, sender, message_id, verdict,
            scanner, engine, signatures)
        SELECT q.id, clock_timestamp(), q.size, 0, false, q.dsn, q.envelope, q.node, q.listener, q.client, q.helo, q.tls, q.sender, q.message_id, '', '', '', ''
        FROM quarantine_message q WHERE q.id = wanted ON CONFLICT (id) DO NOTHING;
    added := FOUND;
    UPDATE spool_message m SET recipients = m.recipients + cardinality(numbers), scanned = false, verdict = '', arrived_at = clock_timestamp() WHERE m.id = wanted;
    -- SpoolRecipient's fields `quarantine`, as a job may have held what had another reason or none when it came, and `released`; the last ones count.
    INSERT INTO spool_recipient (id, number, destination, address, packed)
        SELECT c.id, c.number, c.destination, c.address, c.packed
            || coalesce(set_byte('\x4000', 1, array_position('{spam,virus,unscannable,policy,blocklist,outbreak}'::text[], c.reason)), '') || CASE WHEN anyway THEN '\x4802'::bytea ELSE '\x4801' END
        FROM quarantine_copy c WHERE c.id = wanted AND c.number = ANY (numbers);
    WITH queued AS (
        INSERT INTO spool_queue AS q (id, destination, arrived_at, scanned, due_at, attend_at, token)
            SELECT DISTINCT ON (c.destination) c.id, c.destination, clock_timestamp(), false, clock_timestamp(), clock_timestamp() + interval '1 hour', nextval('spool_token')
            FROM quarantine_copy c WHERE c.id = wanted AND c.number = ANY (numbers)
            ON CONFLICT (id, destination) DO UPDATE SET scanned = false, due_at = CASE WHEN q.leased THEN q.due_at ELSE EXCLUDED.due_at END
            RETURNING q.destination, q.scanned, q.due_at
    )
    INSERT INTO spool_wake SELECT q.destination, q.scanned, q.due_at FROM queued q;
    PERFORM spool_count(1, q.size, 0, 0, 0, 0, 0) FROM quarantine_message q WHERE added AND q.id = wanted;
    INSERT INTO spool_event (id, destination, token, who, what, recipients, reply, own)
        VALUES (wanted, 'quarantine', 0, who, 'released', cardinality(numbers), a_why, true);
    FOR one IN SELECT c.reason, count(*) AS amount FROM quarantine_copy c WHERE c.id = wanted AND c.number = ANY (numbers) GROUP BY c.reason LOOP
        PERFORM quarantine_count(one.reason, 0, 0, 0, one.amount, 0, 0);
    END LOOP;
    PERFORM quarantine_leave(wanted, numbers, 'released', who, a_why);
    PERFORM pg_notify('weir_spool', '');
    RETURN cardinality(numbers);
END $f$;

-- Copies that wait are in another state from now on. The message must be locked.
CREATE OR REPLACE FUNCTION quarantine_leave(wanted text, numbers integer[], to_state text, who text, a_why text) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    unheld integer;
BEGIN
    WITH left_here AS (
        UPDATE quarantine_copy c SET state = to_state, changed_at = clock_timestamp(), changed_by = who, why = a_why
            WHERE c.id = wanted AND c.number = ANY (numbers) AND c.state = 'waiting' RETURNING c.hold_by
    )
    SELECT count(*) FILTER (WHERE l.hold_by = '') INTO unheld FROM left_here l;
    PERFORM quarantine_unneed(wanted, unheld);
END $f$;

-- Copies that wait are deleted, or have expired. One that is held expires never; deleted, it is gone from its recipient's sight only. Returns how many.
CREATE OR REPLACE FUNCTION quarantine_end(wanted text, wanted_numbers integer[], to_state text, who text, a_why text) RETURNS integer LANGUAGE plpgsql AS $f$
DECLARE
    one record;
    amount integer := 0;
    gone CONSTANT boolean := to_state = 'deleted';
BEGIN
    IF NOT quarantine_lock(wanted) THEN
        RETURN 0;
    END IF;
    FOR one IN SELECT c.reason, array_agg(c.number) AS numbers FROM quarantine_copy c WHERE c.id = wanted AND c.number = ANY (wanted_numbers)
        AND c.state = 'waiting' AND (gone OR c.hold_by = '') GROUP BY c.reason
    LOOP
        PERFORM quarantine_leave(wanted, one.numbers, to_state, who, a_why);
        PERFORM quarantine_count(one.reason, 0, 0, 0, 0, CASE WHEN gone THEN cardinality(one.numbers) ELSE 0 END,
            CASE WHEN gone THEN 0 ELSE cardinality(one.numbers) END);
        INSERT INTO spool_event (id, destination, token, who, what, recipients, reply, own)
            VALUES (wanted, 'quarantine', 0, who, to_state, cardinality(one.numbers), a_why, true);
        amount := amount + cardinality(one.numbers);
    END LOOP;
    RETURN amount;
END $f$;

-- A legal hold, or its end. Returns how many copies changed.
CREATE OR REPLACE FUNCTION quarantine_hold(wanted text, wanted_numbers integer[], hold boolean, who text, a_why text) RETURNS integer LANGUAGE plpgsql AS $f$
DECLARE
    changed record;
BEGIN
    IF NOT quarantine_lock(wanted) THEN
        RETURN 0;
    END IF;
    -- What nobody needs has no body to hold any more.
    WITH held AS (
        UPDATE quarantine_copy c SET hold_by = CASE WHEN hold THEN who ELSE '' END, hold_why = a_why, hold_at = clock_timestamp()
            FROM quarantine_message q WHERE q.id = wanted AND q.needed > 0 AND c.id = wanted AND c.number = ANY (wanted_numbers)
                AND c.state <> 'incoming' AND (c.hold_by = '') = hold
            RETURNING c.state
    )
    SELECT count(*) AS amount, count(*) FILTER (WHERE h.state <> 'waiting') AS settled INTO changed FROM held h;
    IF hold THEN
        UPDATE quarantine_message q SET needed = q.needed + changed.settled WHERE q.id = wanted AND changed.settled > 0;
    ELSE
        PERFORM quarantine_unneed(wanted, changed.settled::integer);
    END IF;
    INSERT INTO spool_event (id, destination, token, who, what, recipients, reply, own)
        SELECT wanted, 'quarantine', 0, who, CASE WHEN hold THEN 'held' ELSE 'unheld' END, changed.amount, a_why, true WHERE changed.amount > 0;
    RETURN changed.amount;
END $f$;

-- One turn of the leader: copies past their time, and what is known of those that left long ago. more: there may be more of either.
CREATE OR REPLACE FUNCTION quarantine_tidy(life interval, memory interval, most integer, OUT expired bigint, OUT more boolean) LANGUAGE plpgsql AS $f$
DECLARE
    one record;
    forgotten text[];
BEGIN
    expired := 0;
    FOR one IN SELECT o.id, array_agg(o.number) AS numbers FROM (
        SELECT c.id, c.number FROM quarantine_copy c WHERE c.state = 'waiting' AND c.hold_by = '' AND c.kept_at < clock_timestamp() - life
            AND c.reason <> 'outbreak' -- these are released, never given up
            ORDER BY c.kept_at LIMIT most) AS o GROUP BY o.id ORDER BY o.id
    LOOP
        expired := expired + quarantine_end(one.id, one.numbers, 'expired', 'quarantine', '');
    END LOOP;
    -- Whoever has a message holds its copies next: one that somebody has is left for another turn.
    forgotten := ARRAY(SELECT q.id FROM quarantine_message q WHERE q.id = ANY (ARRAY(SELECT c.id FROM quarantine_copy c
        WHERE c.state IN ('released', 'deleted', 'expired') AND c.hold_by = '' AND c.changed_at < clock_timestamp() - memory
        ORDER BY c.changed_at LIMIT most)) FOR UPDATE SKIP LOCKED);
    DELETE FROM quarantine_copy c WHERE c.id = ANY (forgotten)
        AND c.state IN ('released', 'deleted', 'expired') AND c.hold_by = '' AND c.changed_at < clock_timestamp() - memory;
    DELETE FROM quarantine_message q WHERE q.id = ANY (forgotten) AND q.needed = 0 AND NOT EXISTS (SELECT FROM quarantine_copy c WHERE c.id = q.id);
    more := expired >= most OR coalesce(cardinality(forgotten), 0) >= most / 2;
END $f$;

CREATE OR REPLACE FUNCTION quarantine_sums() RETURNS TABLE (messages numeric, bytes numeric, kept numeric, released numeric, deleted numeric, expired numeric)
LANGUAGE sql STABLE AS $f$
    SELECT coalesce(sum(messages), 0), coalesce(sum(bytes), 0), coalesce(sum(kept), 0), coalesce(sum(released), 0), coalesce(sum(deleted), 0),
        coalesce(sum(expired), 0) FROM quarantine_usage
$f$;

-- Copies that came and neither left nor wait: more or fewer than none are a fault. Sums and copies of one moment, as it is one statement.
CREATE OR REPLACE FUNCTION quarantine_recount() RETURNS void LANGUAGE sql SET enable_seqscan = on AS $f$
    INSERT INTO quarantine_counted AS c (at, difference, held)
        SELECT clock_timestamp(), s.kept - s.released - s.deleted - s.expired - (SELECT count(*) FROM quarantine_copy WHERE state = 'waiting'),
            (SELECT count(*) FROM quarantine_copy WHERE hold_by <> '') FROM quarantine_sums() AS s
        ON CONFLICT (one) DO UPDATE SET at = EXCLUDED.at, difference = EXCLUDED.difference, held = EXCLUDED.held
$f$;

-- Of sums, and of the first row of an index: however much there is, it takes no time.
CREATE OR REPLACE FUNCTION quarantine_gauges() RETURNS TABLE (name text, labels text, value double precision) LANGUAGE sql STABLE AS $f$
    WITH reason AS (
        SELECT u.reason, sum(u.kept - u.released - u.deleted - u.expired) AS waiting, sum(u.released) AS released, sum(u.deleted) AS deleted, sum(u.expired) AS expired
        FROM quarantine_usage u WHERE u.reason <> '' GROUP BY u.reason
    )
    SELECT 'quarantined', format('reason="%s"', r.reason), r.waiting FROM reason r
    UNION ALL SELECT 'quarantine_oldest', format('reason="%s"', r.reason), coalesce((SELECT extract(epoch FROM now() - c.kept_at) FROM quarantine_copy c
        WHERE c.reason = r.reason AND c.state = 'waiting' ORDER BY c.kept_at LIMIT 1), 0) FROM reason r
    UNION ALL SELECT 'quarantine_left', format('how="%s",reason="%s"', h.how, r.reason), h.amount FROM reason r,
        LATERAL (VALUES ('released', r.released), ('deleted', r.deleted), ('expired', r.expired)) AS h(how, amount)
    UNION ALL SELECT 'quarantine_bytes', '', s.bytes FROM quarantine_sums() AS s
    UNION ALL SELECT 'quarantine_bodies', '', s.messages FROM quarantine_sums() AS s
    UNION ALL SELECT 'quarantine_held', '', c.held FROM quarantine_counted c
    UNION ALL SELECT 'conservation', 'node="quarantine"', c.difference FROM quarantine_counted c
$f$;
