-- functions/quarantine_admin.sql - what operators see of the quarantine and do with it
--
-- A copy is named ID/NUMBER; ID alone is all copies of a message.

-- What is wrong with a state, a score or an age that an operator names; NULL: nothing.
CREATE OR REPLACE FUNCTION quarantine_check(a_state text, older text, a_score text) RETURNS text LANGUAGE sql STABLE AS $f$
    SELECT CASE WHEN a_state NOT IN ('', 'waiting', 'released', 'deleted', 'expired', 'held', 'all')
            THEN format('"%s" is no state: waiting, released, deleted, expired, held or all', a_state)
        WHEN a_score !~ '^([0-9]{1,3}(\.[0-9]{1,2})?)?$' THEN format('"%s" is no score: 0 to 100', a_score)
        ELSE queue_check_age(older) END
$f$;

-- The newest copies that are meant, at most so many, behind `after` ("KEPT_AT ID NUMBER" of the last one before); an empty filter matches all, of states those
-- that wait. Planned for the filters that are given. An address without * is looked up; others are compared with each copy.
CREATE OR REPLACE FUNCTION quarantine_match(wanted text, a_from text, a_to text, a_state text, older text, a_reason text, a_score text, after text, most integer)
RETURNS TABLE (id text, number integer, kept_at timestamptz) LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $f$
DECLARE
    wanted_id CONSTANT text := upper(split_part(wanted, '/', 1));
    wanted_number CONSTANT integer := nullif(split_part(wanted, '/', 2), '')::integer;
    state_is CONSTANT text := CASE WHEN a_state = '' AND wanted = '' THEN 'waiting' WHEN a_state IN ('', 'all', 'held') THEN NULL ELSE a_state END;
    exact_to CONSTANT text[] := CASE WHEN a_to <> '' AND a_to !~ '(\*|^@)' THEN string_to_array(lower(regexp_replace(a_to, '^<(.+)>$', '\1')), E'\n') END;
    likes_to CONSTANT text[] := CASE WHEN a_to <> '' AND exact_to IS NULL THEN queue_likes(a_to) END;
    exact_from CONSTANT text[] := CASE WHEN a_from = '<>' THEN '{""}' WHEN a_from <> '' AND a_from !~ '(\*|^@)'
        THEN string_to_array(lower(regexp_replace(a_from, '^<(.+)>$', '\1')), E'\n') END;
    likes_from CONSTANT text[] := CASE WHEN a_from <> '' AND exact_from IS NULL THEN queue_likes(a_from) END;
    of_sender CONSTANT text[] := CASE WHEN exact_from IS NOT NULL THEN ARRAY(SELECT q.id FROM quarantine_message q WHERE lower(q.sender) = ANY (exact_from)) END;
    least_score CONSTANT integer := nullif(a_score, '')::numeric * 100;
    before CONSTANT timestamptz := now() - nullif(older, '')::interval;
    after_at CONSTANT timestamptz := nullif(split_part(after, ' ', 1), '')::timestamptz;
    after_id CONSTANT text := split_part(after, ' ', 2);
    after_number CONSTANT integer := nullif(split_part(after, ' ', 3), '')::integer;
BEGIN
    RETURN QUERY SELECT c.id, c.number, c.kept_at FROM quarantine_copy c
        WHERE (wanted = '' OR c.id = wanted_id) AND (wanted_number IS NULL OR c.number = wanted_number)
            AND (state_is IS NULL OR c.state = state_is) AND (state_is IS NOT NULL OR c.state <> 'incoming') AND (a_state <> 'held' OR c.hold_by <> '')
            AND (exact_to IS NULL OR c.recipient = ANY (exact_to)) AND (likes_to IS NULL OR c.address ILIKE ANY (likes_to))
            AND (of_sender IS NULL OR c.id = ANY (of_sender))
            AND (likes_from IS NULL OR (SELECT q.sender FROM quarantine_message q WHERE q.id = c.id) ILIKE ANY (likes_from))
            AND (a_reason = '' OR c.reason = a_reason) AND (least_score IS NULL OR c.score >= least_score)
            AND (before IS NULL OR c.kept_at < before)
            AND (after_at IS NULL OR c.kept_at <= after_at AND (c.kept_at, c.id, c.number) < (after_at, after_id, after_number))
        ORDER BY c.kept_at DESC, c.id DESC, c.number DESC LIMIT most;
END $f$;

CREATE OR REPLACE FUNCTION quarantine_cursor(at timestamptz, id text, number integer) RETURNS text LANGUAGE sql STABLE AS $f$
    SELECT format('%s %s %s', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), id, number)
$f$;

CREATE OR REPLACE FUNCTION admin_quarantine_list(wanted text, a_from text, a_to text, a_state text, older text, a_reason text, a_score text, most integer)
RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
BEGIN
    IF quarantine_check(a_state, older, a_score) IS NOT NULL THEN
        RETURN (64, quarantine_check(a_state, older, a_score), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, coalesce((SELECT json_agg(json_build_object('id', n.id, 'number', n.number, 'kept_at', n.kept_at, 'sender', q.sender, 'recipient', c.address,
            'reason', c.reason, 'signature', c.signature, 'score', round(c.score / 100.0, 2), 'size', q.size, 'state', c.state, 'hold_by', c.hold_by,
            'subject', encode(q.subject, 'hex')) ORDER BY n.kept_at DESC, n.id DESC, n.number DESC)
        FROM quarantine_match(wanted, a_from, a_to, a_state, older, a_reason, a_score, '', most) AS n
        CROSS JOIN LATERAL (SELECT v.* FROM quarantine_copy v WHERE v.id = n.id AND v.number = n.number OFFSET 0) AS c
        CROSS JOIN LATERAL (SELECT v.* FROM quarantine_message v WHERE v.id = n.id OFFSET 0) AS q), '[]'))::admin_answer;
END $f$;

-- With the first part of the body (in hex) where it is still kept.
CREATE OR REPLACE FUNCTION admin_quarantine_show(wanted text) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    wanted_id CONSTANT text := upper(split_part(wanted, '/', 1));
    wanted_number CONSTANT integer := nullif(split_part(wanted, '/', 2), '')::integer;
    body json;
BEGIN
    SELECT json_build_object('id', q.id, 'arrived_at', q.arrived_at, 'size', q.size, 'sender', q.sender, 'message_id', q.message_id, 'node', q.node,
        'listener', q.listener, 'client', q.client, 'helo', q.helo, 'tls', q.tls, 'verdict', q.verdict, 'scanner', q.scanner, 'engine', q.engine,
        'signatures', q.signatures, 'has_body', q.needed > 0,
        'copies', (SELECT json_agg(json_build_object('number', c.number, 'recipient', c.address, 'state', c.state, 'reason', c.reason, 'signature', c.signature,
            'score', round(c.score / 100.0, 2), 'symbols', c.symbols, 'kept_at', c.kept_at, 'changed_at', c.changed_at, 'changed_by', c.changed_by, 'why', c.why,
            'hold_by', c.hold_by, 'hold_why', c.hold_why, 'hold_at', c.hold_at) ORDER BY c.number)
            FROM quarantine_copy c WHERE c.id = q.id AND c.state <> 'incoming' AND (wanted_number IS NULL OR c.number = wanted_number)),
        'events', (SELECT json_agg(e ORDER BY e.at) FROM (SELECT v.at, v.who, v.what, v.recipients, v.reply FROM spool_event v
            WHERE v.id = q.id AND v.destination = 'quarantine' ORDER BY v.at DESC LIMIT 200) AS e),
        'body', (SELECT encode(substr(b.data, 1, 262144), 'hex') FROM spool_body b WHERE b.id = q.id AND b.position = 0 AND q.needed > 0))
        INTO body FROM quarantine_message q WHERE q.id = wanted_id
            AND EXISTS (SELECT FROM quarantine_copy c WHERE c.id = q.id AND (wanted_number IS NULL OR c.number = wanted_number));
    IF body IS NULL THEN
        RETURN (65, format('%s is not in the quarantine; weirctl trace %s tells what became of it', wanted, wanted_id), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, body)::admin_answer;
END $f$;

-- A part of the message as it is, for who wants it in a file; written down with the first. May be a virus.
CREATE OR REPLACE FUNCTION admin_quarantine_raw(requester text, wanted text, start bigint, a_why text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    wanted_id CONSTANT text := upper(split_part(wanted, '/', 1));
    part record;
BEGIN
    SELECT q.size, (SELECT CASE WHEN b.position = start THEN b.data ELSE substr(b.data, (start - b.position)::integer + 1) END FROM spool_body b
        WHERE b.id = q.id AND b.position <= start AND b.position + octet_length(b.data) > start ORDER BY b.position DESC LIMIT 1) AS data
        INTO part FROM quarantine_message q WHERE q.id = wanted_id AND q.needed > 0;
    IF NOT FOUND OR (part.data IS NULL AND start < part.size) THEN
        RETURN (65, format('%s is not in the quarantine, or its body is not any more', wanted), NULL)::admin_answer;
    END IF;
    IF start = 0 THEN
        INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'quarantine raw', wanted_id, jsonb_build_object('why', a_why));
    END IF;
    RETURN (0, NULL, json_build_object('size', part.size, 'data', encode(coalesce(part.data, ''), 'hex')))::admin_answer;
END $f$;

-- act: release, delete, hold or unhold, of the copies that match. At most 500 at a time; where there are more the answer has `next`, which says as `after` where
-- to go on. flags: a JSON object: why; dry: only says what it would do; virus: what has a virus, may have one (outbreak), or could not be scanned is meant, too, and
-- delivered whatever a scan finds; force: all are meant; after. What is held is not deleted.
-- override_id: of the override by which two operators want it, in one part; NULL: none.
CREATE OR REPLACE FUNCTION quarantine_act(requester text, act text, wanted text, a_from text, a_to text, a_state text, older text, a_reason text, a_score text,
    flags jsonb, override_id bigint) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    most CONSTANT integer := CASE WHEN override_id IS NULL THEN 500 ELSE 1000000 END;
    dry CONSTANT boolean := coalesce((flags->>'dry')::boolean, false);
    virus CONSTANT boolean := coalesce((flags->>'virus')::boolean, false);
    a_why CONSTANT text := coalesce(flags->>'why', '');
    one record;
    meant text[];
    numbers integer[];
    amount integer;
    changed integer := 0;
    seen integer := 0;
    infected integer := 0;
    held integer := 0;
    names text[] := '{}';
    resume text;
BEGIN
    IF quarantine_check(a_state, older, a_score) IS NOT NULL THEN
        RETURN (64, quarantine_check(a_state, older, a_score), NULL)::admin_answer;
    ELSIF wanted || a_from || a_to || a_state || older || a_reason || a_score = '' AND NOT coalesce((flags->>'force')::boolean, false) THEN
        RETURN (64, format('quarantine %s: which copies? Name one, or give --from, --to, --state, --older, --reason or --score; --force means all', act), NULL)::admin_answer;
    ELSIF act IN ('hold', 'unhold') AND a_why = '' OR act = 'release' AND virus AND a_why = '' THEN
        RETURN (64, format('quarantine %s: --why says why; it is asked for later', act), NULL)::admin_answer;
    END IF;
    SELECT count(*), array_agg(m.id), array_agg(m.number),
            CASE WHEN count(*) = most THEN (array_agg(quarantine_cursor(m.kept_at, m.id, m.number) ORDER BY m.kept_at, m.id, m.number))[1] END
        INTO seen, meant, numbers, resume
        FROM quarantine_match(wanted, a_from, a_to, CASE WHEN act = 'unhold' AND a_state = '' THEN 'held' ELSE a_state END, older, a_reason, a_score,
            coalesce(flags->>'after', ''), most) AS m;
    FOR one IN
        SELECT m.id, array_agg(m.number ORDER BY m.number) AS numbers FROM unnest(meant, numbers) AS m(id, number) GROUP BY m.id ORDER BY m.id
    LOOP
        IF act = 'release' AND NOT virus THEN
            SELECT infected + count(*) FILTER (WHERE c.reason IN ('virus', 'unscannable', 'outbreak')),
                    array_agg(c.number) FILTER (WHERE c.reason NOT IN ('virus', 'unscannable', 'outbreak'))
                INTO infected, one.numbers FROM quarantine_copy c WHERE c.id = one.id AND c.number = ANY (one.numbers) AND c.state = 'waiting';
        ELSIF act = 'delete' THEN
            SELECT held + count(*) FILTER (WHERE c.hold_by <> ''), array_agg(c.number) FILTER (WHERE c.hold_by = '')
                INTO held, one.numbers FROM quarantine_copy c WHERE c.id = one.id AND c.number = ANY (one.numbers) AND c.state = 'waiting';
        END IF;
        CONTINUE WHEN one.numbers IS NULL;
        IF dry THEN
            SELECT count(*) INTO amount FROM quarantine_copy c WHERE c.id = one.id AND c.number = ANY (one.numbers)
                AND CASE act WHEN 'hold' THEN c.hold_by = '' WHEN 'unhold' THEN c.hold_by <> '' ELSE c.state = 'waiting' END;
        ELSE
            IF act = 'release' AND EXISTS (SELECT FROM quarantine_copy c WHERE c.id = one.id AND c.number = one.numbers[1] AND c.state = 'waiting' AND c.reason = 'spam') THEN
                PERFORM learn_from_quarantine(one.id, one.numbers[1], requester, 'ham', true);
            END IF;
            amount := CASE act WHEN 'release' THEN quarantine_release(one.id, one.numbers, requester, a_why, virus)
                WHEN 'delete' THEN quarantine_end(one.id, one.numbers, 'deleted', requester, a_why)
                ELSE quarantine_hold(one.id, one.numbers, act = 'hold', requester, a_why) END;
        END IF;
        changed := changed + amount;
        names := CASE WHEN cardinality(names) < 20 AND amount > 0 THEN names || one.id ELSE names END;
    END LOOP;
    IF seen = 0 AND coalesce(flags->>'after', '') = '' THEN
        RETURN (65, CASE WHEN wanted <> '' THEN format('%s is not in the quarantine', wanted) ELSE 'nothing in the quarantine matches' END, NULL)::admin_answer;
    ELSIF changed = 0 AND infected > 0 AND resume IS NULL THEN
        RETURN (77, format('quarantine release: %s %s a virus, may have one, or could not be scanned: --virus releases it whatever a scan finds, and --why says why', infected,
            CASE WHEN infected = 1 THEN 'copy has' ELSE 'copies have' END), NULL)::admin_answer;
    END IF;
    IF changed > 0 AND NOT dry THEN
        INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'quarantine ' || act, wanted, jsonb_strip_nulls(jsonb_build_object(
            'from', nullif(split_part(a_from, E'\n', 1), ''), 'to', nullif(split_part(a_to, E'\n', 1), ''), 'state', nullif(a_state, ''), 'older', nullif(older, ''),
            'reason', nullif(a_reason, ''), 'score', nullif(a_score, ''), 'changed', changed, 'virus', CASE WHEN virus THEN true END, 'why', nullif(a_why, ''),
            'override', override_id, 'ids', names)));
    END IF;
    RETURN (0, NULL, json_build_object('changed', changed, 'infected', infected, 'held', held, 'dry', dry, 'next', resume, 'ids', names))::admin_answer;
END $f$;

-- What is delivered whatever a scan finds takes two operators where approvals = 2: for one message or copy, so both know which.
CREATE OR REPLACE FUNCTION admin_quarantine_act(requester text, act text, wanted text, a_from text, a_to text, a_state text, older text, a_reason text, a_score text,
    flags jsonb) RETURNS admin_answer LANGUAGE plpgsql AS $f$
BEGIN
    IF act <> 'release' OR NOT coalesce((flags->>'virus')::boolean, false) OR coalesce((flags->>'dry')::boolean, false) OR coalesce(flags->>'why', '') = ''
        OR quarantine_check(a_state, older, a_score) IS NOT NULL OR NOT override_needs_two() THEN
        RETURN quarantine_act(requester, act, wanted, a_from, a_to, a_state, older, a_reason, a_score, flags, NULL);
    ELSIF wanted = '' OR length(flags->>'why') > 500 THEN
        RETURN (64, 'quarantine release: another operator has to approve --virus, as approvals = 2: name one ID or ID/NUMBER, and say why in at most 500 characters',
            NULL)::admin_answer;
    ELSIF NOT EXISTS (SELECT FROM quarantine_match(wanted, a_from, a_to, a_state, older, a_reason, a_score, '', 1)) THEN
        RETURN (65, format('%s is not in the quarantine', wanted), NULL)::admin_answer;
    END IF;
    PERFORM admin_begin();
    RETURN override_pending_answer(override_ask(requester, 'quarantine release', upper(wanted), jsonb_strip_nulls(jsonb_build_object('action', 'release whatever a scan finds of',
        'from', nullif(a_from, ''), 'to', nullif(a_to, ''), 'state', nullif(a_state, ''), 'older', nullif(older, ''), 'reason', nullif(a_reason, ''),
        'score', nullif(a_score, ''))), flags->>'why', '', interval '0'));
END $f$;
