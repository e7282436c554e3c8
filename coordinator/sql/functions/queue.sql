-- functions/queue.sql - what operators see of the spool and do with it

-- What operators write for an address, in brackets as log lines have it or without: * stands for anything.
CREATE OR REPLACE FUNCTION queue_like(pattern text) RETURNS text LANGUAGE sql IMMUTABLE AS $f$
    SELECT replace(regexp_replace(CASE WHEN left(bare, 1) = '@' THEN '*' || bare ELSE bare END, '([\\%_])', '\\\1', 'g'), '*', '%')
    FROM regexp_replace(pattern, '^<(.+)>$', '\1') AS bare
$f$;

-- The same for each spelling of an address, one a line.
CREATE OR REPLACE FUNCTION queue_likes(patterns text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $f$
    SELECT array_agg(queue_like(line)) FROM string_to_table(patterns, E'\n') AS line
$f$;

-- Whether a recipient is one that --to means. likes: queue_likes() of it, made once; NULL: all are meant.
CREATE OR REPLACE FUNCTION queue_is_to(address text, likes text[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS $f$
    SELECT likes IS NULL OR address ILIKE ANY (likes)
$f$;

-- Entries of the queue that are meant; an empty filter matches all. What goes back alone (bounce:DESTINATION) has its destination still.
CREATE OR REPLACE FUNCTION queue_match(wanted text, a_from text, a_to text, a_state text, older text, a_destination text)
RETURNS TABLE (id text, destination text, state text) LANGUAGE sql STABLE AS $f$
    SELECT q.id, q.destination, s.state
    FROM spool_queue q JOIN spool_message m USING (id) LEFT JOIN spool_destination d USING (destination)
    CROSS JOIN LATERAL (SELECT spool_state(q.held, q.leased, q.due_at, d.down_until) AS state) AS s
    WHERE (wanted = '' OR q.id = upper(wanted))
        AND (a_from = '' OR (a_from = '<>' AND m.sender = '') OR (a_from <> '<>' AND m.sender ILIKE ANY ((SELECT queue_likes(a_from))::text[])))
        AND (a_to = '' OR EXISTS (SELECT FROM spool_recipient r WHERE r.id = q.id AND r.destination = q.destination AND r.state = 'queued'
                                  AND r.address ILIKE ANY ((SELECT queue_likes(a_to))::text[])))
        AND (a_state = '' OR s.state = a_state)
        AND (older = '' OR q.arrived_at < now() - nullif(older, '')::interval)
        AND (a_destination = '' OR CASE WHEN q.bounce THEN regexp_replace(q.destination, '^bounce:', '') ELSE q.destination END ILIKE queue_like(a_destination))
$f$;

-- What is wrong with a state that an operator names; NULL: nothing.
CREATE OR REPLACE FUNCTION queue_check(a_state text) RETURNS text LANGUAGE sql IMMUTABLE AS $f$
    SELECT format('"%s" is no state: ready, deferred, leased or held', a_state) WHERE a_state NOT IN ('', 'ready', 'deferred', 'leased', 'held')
$f$;

-- The same of an age: all mail is older than nothing, and all must be meant by name.
CREATE OR REPLACE FUNCTION queue_check_age(older text) RETURNS text LANGUAGE sql STABLE AS $f$
    SELECT format('--older %s: an age of more than nothing is needed', older) WHERE nullif(older, '')::interval <= '0'
$f$;

-- Planned for the filters that are given: a plan for any of them looks at each entry for all of them, seconds in a spool of 100,000 messages.
CREATE OR REPLACE FUNCTION admin_queue_list(wanted text, a_from text, a_to text, a_state text, older text, a_destination text, most integer)
RETURNS admin_answer LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $f$
DECLARE
    likes CONSTANT text[] := CASE WHEN a_to <> '' THEN queue_likes(a_to) END;
BEGIN
    IF coalesce(queue_check(a_state), queue_check_age(older)) IS NOT NULL THEN
        RETURN (64, coalesce(queue_check(a_state), queue_check_age(older)), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, coalesce((SELECT json_agg(e ORDER BY e.arrived_at, e.id, e.destination) FROM (
        SELECT q.id, q.arrived_at, n.state, m.size, m.sender, q.destination, q.attempts, q.due_at, q.attend_at, q.maybe_duplicate,
            CASE WHEN n.state = 'leased' THEN q.holder ELSE '' END AS holder, m.scanned,
            (SELECT json_agg(r.address ORDER BY r.other, r.number) FROM (SELECT o.address, o.number, NOT queue_is_to(o.address, likes) AS other
                FROM spool_recipient o WHERE o.id = q.id AND o.destination = q.destination AND o.state = 'queued'
                ORDER BY other, o.number LIMIT 5) AS r) AS recipients, -- who is asked for before the others
            (SELECT count(*) FROM spool_recipient o WHERE o.id = q.id AND o.destination = q.destination AND o.state = 'queued') AS recipient_count,
            coalesce(nullif((SELECT o.reply FROM spool_recipient o WHERE o.id = q.id AND o.destination = q.destination AND o.state = 'queued'
                ORDER BY NOT queue_is_to(o.address, likes), o.number LIMIT 1), ''), d.reply, '') AS reply
        FROM queue_match(wanted, a_from, a_to, a_state, older, a_destination) AS n
        JOIN spool_queue q ON q.id = n.id AND q.destination = n.destination JOIN spool_message m ON m.id = q.id
        LEFT JOIN spool_destination d ON d.destination = q.destination
        ORDER BY q.arrived_at, q.id, q.destination LIMIT most) AS e), '[]'))::admin_answer;
END $f$;

CREATE OR REPLACE FUNCTION admin_queue_show(wanted text) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    body json;
BEGIN
    SELECT json_build_object('id', m.id, 'arrived_at', m.arrived_at, 'stored_at', m.stored_at, 'size', m.size, 'sender', m.sender,
        'message_id', m.message_id, 'node', m.node, 'listener', m.listener, 'client', m.client, 'helo', m.helo, 'tls', m.tls,
        'scanned', m.scanned, 'verdict', m.verdict, 'dsn', m.dsn,
        'destinations', coalesce((SELECT json_agg(json_build_object('destination', q.destination, 'state',
            spool_state(q.held, q.leased, q.due_at, d.down_until), 'due_at', q.due_at, 'down_until', d.down_until, 'attempts', q.attempts,
            'holder', q.holder, 'maybe_duplicate', q.maybe_duplicate, 'delay_warned', q.delay_warned, 'bounce', q.bounce)
            ORDER BY q.destination) FROM spool_queue q LEFT JOIN spool_destination d USING (destination) WHERE q.id = m.id), '[]'),
        'recipients', coalesce((SELECT json_agg(json_build_object('address', r.address, 'destination', r.destination, 'state', r.state,
            'attempts', r.attempts, 'tried_at', r.tried_at, 'reply', r.reply) ORDER BY r.number) FROM spool_recipient r WHERE r.id = m.id), '[]'),
        'attempts', coalesce((SELECT json_agg(e ORDER BY e.at) FROM spool_event e WHERE e.id = m.id), '[]'))
        INTO body FROM spool_message m WHERE m.id = upper(wanted);
    IF body IS NULL THEN
        RETURN (65, format('%s is not in the spool; weirctl trace %s tells what became of it', wanted, wanted), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, body)::admin_answer;
END $f$;

-- Recipients of one entry, which no edge has, are given up without a word to anybody.
CREATE OR REPLACE FUNCTION queue_delete(requester text, wanted text, to_destination text, numbers integer[]) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    UPDATE spool_recipient r SET state = 'discarded' WHERE r.id = wanted AND r.number = ANY (numbers);
    PERFORM spool_audit(wanted, numbers, 'weirctl', 'discarded:operator', 0, format('deleted by %s', requester), '');
    INSERT INTO spool_event (id, destination, token, who, what, recipients, reply, own)
        VALUES (wanted, to_destination, 0, requester, 'discarded', cardinality(numbers), 'weirctl queue delete', true);
    PERFORM spool_count(0, 0, 0, 0, 0, cardinality(numbers), 0);
    PERFORM spool_settle(wanted, cardinality(numbers));
END $f$;

-- act: hold, release, retry, delete or bounce. delete and bounce are of the recipients that match; the others are for whole entries, and say how many
-- recipients that do not match go along. At most 1000 entries at a time; where there are more the answer has `next`, which says as `after` where
-- to go on: what was done may match still. `more` says the same to a weirctl of before, which does not go on.
CREATE OR REPLACE FUNCTION admin_queue_act(requester text, act text, wanted text, a_from text, a_to text, a_state text, older text, a_destination text,
    force boolean, after text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    one record;
    entry record;
    changed integer := 0;
    seen integer := 0;
    busy integer := 0;
    likes CONSTANT text[] := CASE WHEN a_to <> '' THEN queue_likes(a_to) END;
    numbers integer[];          -- of the recipients that match
    others integer;             -- of the same entry, that do not
    apart CONSTANT boolean := act IN ('delete', 'bounce');
    left_out integer := 0;
    ids text[] := '{}';
    most CONSTANT integer := 1000;
    last text;
    resume text;
BEGIN
    IF coalesce(queue_check(a_state), queue_check_age(older)) IS NOT NULL THEN
        RETURN (64, coalesce(queue_check(a_state), queue_check_age(older)), NULL)::admin_answer;
    END IF;
    IF NOT force AND wanted || a_from || a_to || a_state || older || a_destination = '' THEN
        RETURN (64, format('queue %s: which messages? Name one, or give --from, --to, --state, --older or --destination; --force means all', act),
                NULL)::admin_answer;
    END IF;
    FOR one IN SELECT * FROM queue_match(wanted, a_from, a_to, a_state, older, a_destination) AS n
        WHERE CASE act WHEN 'hold' THEN n.state <> 'held' WHEN 'release' THEN n.state = 'held' WHEN 'retry' THEN n.state IN ('deferred', 'ready')
              ELSE true END
            -- what is held for a sender takes two operators, then: override.sql
            AND NOT (act = 'release' AND override_needs_two() AND EXISTS (SELECT FROM spool_message AS m WHERE m.id = n.id AND m.held_for <> ''))
            AND (after = '' OR (n.id, n.destination) > (split_part(after, ' ', 1), split_part(after, ' ', 2)))
            -- what the part before has put on its way back
            AND NOT (act = 'bounce' AND n.id = split_part(after, ' ', 1) AND n.destination LIKE 'bounce:%'
                     AND substr(n.destination, 8) <= split_part(after, ' ', 2))
        ORDER BY n.id, n.destination LIMIT most + 1
    LOOP
        seen := seen + 1;
        IF seen > most THEN
            resume := last;
            EXIT;
        END IF;
        last := one.id || ' ' || one.destination;
        PERFORM FROM spool_message m WHERE m.id = one.id FOR UPDATE;
        SELECT q.leased AND q.due_at > clock_timestamp() AS leased, q.bounce INTO entry FROM spool_queue q
            WHERE q.id = one.id AND q.destination = one.destination FOR UPDATE;
        CONTINUE WHEN NOT FOUND;
        IF entry.leased AND act IN ('delete', 'bounce', 'retry') THEN
            busy := busy + 1;
            CONTINUE;
        END IF;
        SELECT coalesce(array_agg(r.number) FILTER (WHERE queue_is_to(r.address, likes)), '{}'),
                count(*) FILTER (WHERE NOT queue_is_to(r.address, likes)) INTO numbers, others
            FROM spool_recipient r WHERE r.id = one.id AND r.destination = one.destination AND r.state = 'queued';
        CONTINUE WHEN numbers = '{}';
        IF act = 'delete' THEN
            PERFORM queue_delete(requester, one.id, one.destination, numbers);
        ELSIF act = 'bounce' AND NOT entry.bounce THEN
            PERFORM spool_move(one.id, one.destination, numbers, 'bounce:' || one.destination, true);
        ELSE
            UPDATE spool_queue q SET held = act = 'hold',
                due_at = CASE WHEN act = 'hold' OR entry.leased THEN q.due_at ELSE clock_timestamp() END,
                attend_at = CASE act WHEN 'bounce' THEN clock_timestamp() ELSE q.attend_at END
                WHERE q.id = one.id AND q.destination = one.destination;
            INSERT INTO spool_wake SELECT q.destination, q.scanned, q.due_at FROM spool_queue q
                WHERE q.id = one.id AND q.destination = one.destination AND act <> 'hold';
        END IF;
        IF act = 'retry' THEN
            DELETE FROM spool_destination d WHERE d.destination = one.destination;
        END IF;
        changed := changed + 1;
        left_out := left_out + CASE WHEN act = 'bounce' AND entry.bounce THEN 0 ELSE others END; -- those were on their way back before
        ids := CASE WHEN cardinality(ids) < 20 THEN ids || one.id ELSE ids END;
    END LOOP;
    IF seen = 0 AND after = '' THEN
        RETURN (65, CASE WHEN wanted <> '' THEN format('%s is not in the spool, or not in a state to %s', wanted, act)
                         ELSE 'nothing in the spool matches' END, NULL)::admin_answer;
    END IF;
    IF changed > 0 THEN
        INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'queue ' || act, wanted, jsonb_strip_nulls(jsonb_build_object(
            'from', nullif(split_part(a_from, E'\n', 1), ''), 'to', nullif(split_part(a_to, E'\n', 1), ''), 'state', nullif(a_state, ''), 'older', nullif(older, ''),
            'destination', nullif(a_destination, ''), 'changed', changed, 'stay', CASE WHEN apart THEN nullif(left_out, 0) END,
            'along', CASE WHEN NOT apart THEN nullif(left_out, 0) END, 'ids', ids)));
        PERFORM pg_notify('weir_spool', '');
    END IF;
    RETURN (0, NULL, json_build_object('changed', changed, 'busy', busy, 'stay', CASE WHEN apart THEN left_out ELSE 0 END,
        'along', CASE WHEN apart THEN 0 ELSE left_out END, 'next', resume, 'more', resume IS NOT NULL, 'ids', ids))::admin_answer;
END $f$;
