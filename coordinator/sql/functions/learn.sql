-- functions/learn.sql - what the native spam engine is taught
--
-- A word about a message waits in learn_queue until a scanner has taken its features; then it is a row of learn_event, for ever to be undone, and the leader
-- makes a model of those that count. Whatever changes what counts holds learn_control's row.

-- Puts a message into the queue. Returns what became of it: queued, known (the same one's same word about the same message waits or counts already),
-- large, limit (of that user's words a day), full.
CREATE OR REPLACE FUNCTION learn_put(a_kind text, a_who text, is_personal boolean, a_source text, a_origin text, a_facts jsonb, a_body bytea, OUT became text, OUT a_number bigint)
LANGUAGE plpgsql AS $f$
DECLARE
    control learn_control;
    a_digest CONSTANT bytea := sha256(a_body);
BEGIN
    SELECT * INTO control FROM learn_control;
    IF octet_length(a_body) > control.message_size THEN
        became := 'large';
    ELSIF a_kind <> 'score' AND (
            EXISTS (SELECT FROM learn_event e WHERE e.digest = a_digest AND e.who = a_who AND e.label = a_kind AND e.state <> 'undone'
                AND NOT EXISTS (SELECT FROM learn_event l WHERE l.digest = a_digest AND l.who = a_who AND l.id > e.id AND l.state <> 'undone'))
            OR EXISTS (SELECT FROM learn_queue q WHERE q.state IN ('waiting', 'given') AND q.digest = a_digest AND q.who = a_who AND q.kind = a_kind)) THEN
        became := 'known';
    ELSIF (SELECT count(*) FROM (SELECT FROM learn_queue q WHERE q.state IN ('waiting', 'given') LIMIT control.queue_max) AS l) >= control.queue_max THEN
        became := 'full';
    ELSE
        IF is_personal THEN
            -- Two words of one user at once must not both be the last that he may say.
            PERFORM pg_advisory_xact_lock(hashtextextended('weir learn ' || a_who, 0));
            IF (SELECT count(*) FROM learn_queue q WHERE q.personal AND q.who = a_who AND q.at > clock_timestamp() - interval '1 day') >= control.user_daily THEN
                became := 'limit';
                RETURN;
            END IF;
        END IF;
        INSERT INTO learn_queue (kind, who, personal, source, origin, facts, digest, body)
            VALUES (a_kind, a_who, is_personal, a_source, a_origin, a_facts, a_digest, a_body) RETURNING id INTO a_number;
        became := 'queued';
    END IF;
END $f$;

-- Somebody says of a copy in the quarantine (or on its way out of it, in the same transaction) that it is spam, or ham. who: for a user the address by which he proved to be its recipient. To be
-- called before the copy is released or deleted. Returns as learn_put(), and 'gone': there is no such copy, or its body is not there any more. Never fails for the message's sake.
CREATE OR REPLACE FUNCTION learn_from_quarantine(wanted text, wanted_number integer, who text, label text, operator boolean DEFAULT false) RETURNS text LANGUAGE plpgsql AS $f$
DECLARE
    m record;
    bytes bytea;
BEGIN
    SELECT q.size, q.client, q.helo, q.sender, c.recipient INTO m FROM quarantine_message q JOIN quarantine_copy c ON c.id = q.id AND c.number = wanted_number WHERE q.id = wanted;
    IF NOT FOUND THEN
        RETURN 'gone';
    ELSIF m.size > (SELECT message_size FROM learn_control) THEN
        RETURN 'large';
    END IF;
    SELECT string_agg(b.data, '' ORDER BY b.position) INTO bytes FROM spool_body b WHERE b.id = wanted;
    IF bytes IS NULL OR octet_length(bytes) <> m.size THEN
        RETURN 'gone';
    END IF;
    RETURN (SELECT p.became FROM learn_put(label, lower(who), NOT operator, 'quarantine', format('%s/%s', wanted, wanted_number),
        jsonb_build_object('client', m.client, 'helo', m.helo, 'sender', m.sender, 'recipient', m.recipient), bytes) AS p);
END $f$;
