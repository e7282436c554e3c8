-- functions/learn.sql - what the native spam engine is taught
--
-- A word about a message waits in learn_queue until a scanner has taken its features; then it is a row of learn_event, for ever to be undone, and the leader
-- makes a model of those that count. What a feature is changes with the version of the engine: words are judged among those of their version, and others do not stand in their way. Whatever changes what counts holds learn_control's row.

-- Whose word it is: the mailbox, in lower case and without a tag, as whoever has a mailbox has as many of those as he likes.
CREATE OR REPLACE FUNCTION learn_person(address text) RETURNS text LANGUAGE plpgsql STABLE AS $f$
DECLARE
    tags CONSTANT text := '+' || coalesce((SELECT (regexp_match(f.content, '^\s*([-+_=.~]+)', 'n'))[1] FROM policy_file f
        WHERE f.epoch = (SELECT max(p.epoch) FROM policy p) AND f.name = 'recipient_delimiter'), '');
    base text;
BEGIN
    IF position('@' IN address) > 0 THEN
        base := split_part(translate(regexp_replace(address, '@[^@]*$', ''), tags, repeat('+', length(tags))), '+', 1);
        RETURN lower(coalesce(nullif(base, '') || '@' || split_part(address, '@', -1), address));
    END IF;
    RETURN lower(address);
END $f$;

-- As whom all words of this user are bounded. In a domain of local-host-names it is he. Who owns another domain, and gets its mail at a next hop of his own, has as many mailboxes in it as he likes:
-- there it is '@' and the domain, of those below one in mailertable the one that routes them.
CREATE OR REPLACE FUNCTION learn_bound(user_name text) RETURNS text LANGUAGE plpgsql STABLE AS $f$
DECLARE
    current CONSTANT bigint := (SELECT max(p.epoch) FROM policy p);
    whole CONSTANT text := rtrim(split_part(user_name, '@', -1), '.');
    below text := whole;
    own text := '';
    routes text := '';
BEGIN
    IF position('@' IN user_name) = 0 THEN
        RETURN user_name;
    END IF;
    SELECT coalesce(max(lower(f.content)) FILTER (WHERE f.name = 'local-host-names'), ''), coalesce(max(lower(f.content)) FILTER (WHERE f.name = 'mailertable'), '') INTO own, routes
        FROM policy_file f WHERE f.epoch = current AND f.name IN ('local-host-names', 'mailertable');
    IF own ~ ('(?n)^\s*' || learn_literal(whole) || '\.?\s*(#.*)?$') THEN
        RETURN user_name;
    END IF;
    LOOP
        IF routes ~ ('(?n)^\s*\.?' || learn_literal(below) || '\.?\s') THEN
            RETURN '@' || below;
        END IF;
        EXIT WHEN position('.' IN below) = 0;
        below := substr(below, position('.' IN below) + 1);
    END LOOP;
    RETURN '@' || whole;
END $f$;

-- A text as a regular expression that fits nothing else.
CREATE OR REPLACE FUNCTION learn_literal(plain text) RETURNS text LANGUAGE sql IMMUTABLE AS $f$
    SELECT regexp_replace(plain, '([^[:alnum:]])', '\\\1', 'g')
$f$;

-- Whether it is of the one whom operators name with --by: a name, a user, or @DOMAIN for all its users.
CREATE OR REPLACE FUNCTION learn_is_by(who text, personal boolean, by_whom text) RETURNS boolean LANGUAGE sql STABLE AS $f$
    SELECT CASE WHEN by_whom LIKE '@%' THEN personal AND '@' || split_part(lower(who), '@', -1) = lower(by_whom) ELSE lower(who) IN (lower(by_whom), learn_person(by_whom)) END
$f$;

-- Puts a message into the queue; a user is who learn_person() says. Returns what became of it: queued, known (the same one's same word about the same message waits or counts already),
-- large, limit (of that user's words a day), full.
CREATE OR REPLACE FUNCTION learn_put(a_kind text, a_who text, is_personal boolean, a_source text, a_origin text, a_facts jsonb, a_body bytea, OUT became text, OUT a_number bigint)
LANGUAGE plpgsql AS $f$
DECLARE
    control learn_control;
    a_digest CONSTANT bytea := sha256(a_body);
    whole text := '';
BEGIN
    a_who := CASE WHEN is_personal THEN learn_person(a_who) ELSE a_who END;
    SELECT * INTO control FROM learn_control;
    IF octet_length(a_body) > control.message_size THEN
        became := 'large';
    ELSIF a_kind <> 'score' AND (
            EXISTS (SELECT FROM learn_event e WHERE e.digest = a_digest AND e.who = a_who AND e.label = a_kind AND e.state <> 'undone' AND e.version = control.version
                AND NOT EXISTS (SELECT FROM learn_event l WHERE l.digest = a_digest AND l.who = a_who AND l.id > e.id AND l.state <> 'undone' AND l.version = e.version))
            OR EXISTS (SELECT FROM learn_queue q WHERE q.state IN ('waiting', 'given') AND q.digest = a_digest AND q.who = a_who AND q.kind = a_kind)) THEN
        became := 'known';
    ELSIF (SELECT count(*) FROM (SELECT FROM learn_queue q WHERE q.state IN ('waiting', 'given') LIMIT control.queue_max) AS l) >= control.queue_max THEN
        became := 'full';
    ELSE
        IF is_personal THEN
            -- Two words of one user at once must not both be the last that he may say.
            whole := learn_bound(a_who);
            PERFORM pg_advisory_xact_lock(hashtextextended('weir learn ' || whole, 0));
            IF (SELECT count(*) FROM learn_queue q WHERE q.personal AND q.bound = whole AND q.at > clock_timestamp() - interval '1 day') >= control.user_daily THEN
                became := 'limit';
                RETURN;
            END IF;
        END IF;
        INSERT INTO learn_queue (kind, who, personal, bound, source, origin, facts, digest, body)
            VALUES (a_kind, a_who, is_personal, whole, a_source, a_origin, a_facts, a_digest, a_body) RETURNING id INTO a_number;
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

-- --- looking at what waits ---

-- The oldest message that waits is that scanner's now, for a minute; one that nobody could look at three times has failed. No row: none waits.
CREATE OR REPLACE FUNCTION learn_claim(scanner text) RETURNS TABLE (job bigint, kind text, facts jsonb, body bytea) LANGUAGE plpgsql AS $f$
BEGIN
    UPDATE learn_queue q SET state = 'failed', result = coalesce(q.result, jsonb_build_object('why', 'no scanner could look at it: three began and said nothing')), body = ''
        WHERE q.state = 'given' AND q.tries >= 3 AND q.given_at < clock_timestamp() - interval '1 minute';
    RETURN QUERY UPDATE learn_queue q SET state = 'given', given_to = scanner, given_at = clock_timestamp(), tries = q.tries + 1
        WHERE q.id = (SELECT w.id FROM learn_queue w WHERE w.state = 'waiting' OR w.state = 'given' AND w.given_at < clock_timestamp() - interval '1 minute'
            ORDER BY w.kind <> 'score', w.id LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING q.id, q.kind, q.facts, q.body;
END $f$;

-- --- what counts ---

-- Says anew which words about one message count, of each version. An operator's stands before all users'; of one person the last one counts; where users contradict each other
-- none does; one message counts once in each part of the model.
CREATE OR REPLACE FUNCTION learn_settle(wanted bytea) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    ceased boolean;
    changed boolean;
BEGIN
    PERFORM FROM learn_control FOR UPDATE;
    WITH said AS (
        SELECT e.id, e.version, e.personal, e.part, e.label, e.state, row_number() OVER (PARTITION BY e.version, e.who ORDER BY e.id DESC) = 1
                AND (e.personal OR row_number() OVER (PARTITION BY e.version, e.personal ORDER BY e.id DESC) = 1) AS is_last
        FROM learn_event e WHERE e.digest = wanted AND e.state <> 'undone'
    ), judged AS (
        SELECT s.id, s.state, CASE
            WHEN NOT s.is_last THEN 'repeat'
            WHEN s.personal AND EXISTS (SELECT FROM said o WHERE o.version = s.version AND o.is_last AND o.label <> s.label) THEN 'conflict'
            WHEN EXISTS (SELECT FROM said o WHERE o.version = s.version AND o.is_last AND o.part = s.part AND o.label = s.label AND o.id < s.id) THEN 'repeat'
            ELSE 'counted' END AS now
        FROM said s
    ), done AS (
        UPDATE learn_event e SET state = j.now, counted = CASE WHEN j.now = 'counted' THEN (SELECT c.changes + 1 FROM learn_control c) ELSE e.counted END
        FROM judged j WHERE e.id = j.id AND j.now <> j.state RETURNING j.state AS was, j.now
    )
    SELECT bool_or(d.was = 'counted'), bool_or('counted' IN (d.was, d.now)) INTO ceased, changed FROM done d;
    PERFORM learn_changed(coalesce(changed, false), coalesce(ceased, false));
END $f$;

CREATE OR REPLACE FUNCTION learn_changed(changed boolean, has_ceased boolean) RETURNS void LANGUAGE sql AS $f$
    UPDATE learn_control SET changes = changes + 1, ceased = CASE WHEN has_ceased THEN changes + 1 ELSE ceased END WHERE changed OR has_ceased
$f$;

-- A scanner has looked at it. A repeat, or one that comes late, changes nothing. again: what it says is of the scanner, or of the moment, so the next one tries when the
-- minute is over; who waits for a score tries himself. So it is with features of a version before the leader's, which nobody would count.
CREATE OR REPLACE FUNCTION learn_told(scanner text, job bigint, a_version integer, a_features bytea, a_result jsonb, a_why text, again boolean) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    q learn_queue;
BEGIN
    IF a_why = '' AND a_version < (SELECT c.version FROM learn_control c) AND EXISTS (SELECT FROM learn_queue w WHERE w.id = job AND w.kind <> 'score') THEN
        again := true;
        a_why := format('%s takes features of version %s, which the leader counts no more: it is to be upgraded', scanner, a_version);
    END IF;
    IF again AND a_why <> '' THEN
        UPDATE learn_queue w SET result = jsonb_build_object('why', a_why) WHERE w.id = job AND w.state = 'given' AND w.given_to = scanner AND w.kind <> 'score' AND w.tries < 3;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    UPDATE learn_queue w SET state = CASE WHEN a_why = '' THEN 'done' ELSE 'failed' END, body = '',
            result = CASE WHEN a_why = '' THEN a_result ELSE jsonb_build_object('why', a_why) END
        WHERE w.id = job AND w.state = 'given' AND w.given_to = scanner RETURNING * INTO q;
    IF q.id IS NULL OR a_why <> '' OR q.kind = 'score' THEN
        RETURN;
    END IF;
    PERFORM FROM learn_control FOR UPDATE; -- so that those who read the events in the order of their numbers miss none
    INSERT INTO learn_event (id, at, who, personal, part, label, source, origin, digest, version, features, state)
        VALUES (q.id, q.at, q.who, q.personal, CASE WHEN q.personal THEN 1 + abs(hashtext(coalesce(nullif(q.bound, ''), q.who))::bigint) % 3 ELSE 0 END, q.kind, q.source, q.origin, q.digest,
            a_version, a_features, 'repeat');
    PERFORM learn_settle(q.digest);
END $f$;

-- --- the model ---

-- The leader, every few seconds: what is old goes, and what he is configured with stands where all see it. Returns how far the model is; one of another version is
-- made anew (built -1), as soon as there is a word of this one, or none of its own any more.
CREATE OR REPLACE FUNCTION learn_turn(a_queue_max integer, a_message_size integer, a_user_daily integer, a_messages_max integer, a_version integer)
RETURNS TABLE (changes bigint, ceased bigint, built bigint) LANGUAGE plpgsql AS $f$
DECLARE
    too_many bigint;
    gone bytea[];
    one bytea;
BEGIN
    UPDATE learn_control c SET queue_max = a_queue_max, message_size = a_message_size, user_daily = a_user_daily, messages_max = a_messages_max, version = a_version
        WHERE (c.queue_max, c.message_size, c.user_daily, c.messages_max, c.version) <> (a_queue_max, a_message_size, a_user_daily, a_messages_max, a_version);
    DELETE FROM learn_queue q WHERE q.state IN ('done', 'failed') AND q.at < clock_timestamp() - interval '2 days';
    -- The oldest make room, but for operators' newest, whose half it is; some at a time, as the model is made anew then. A repeat of what goes counts in its place.
    SELECT count(*) - a_messages_max INTO too_many FROM learn_event;
    IF too_many > a_messages_max / 100 THEN
        PERFORM FROM learn_control FOR UPDATE;
        WITH old AS (
            SELECT o.id, NOT o.personal AND row_number() OVER (PARTITION BY o.personal ORDER BY o.id DESC) <= a_messages_max / 2 AS kept FROM learn_event o
        ), deleted AS (
            DELETE FROM learn_event e WHERE e.id IN (SELECT o.id FROM old o ORDER BY o.kept, o.id LIMIT too_many) RETURNING e.digest
        )
        SELECT array_agg(DISTINCT d.digest) INTO gone FROM deleted d;
        PERFORM learn_changed(true, true);
        FOREACH one IN ARRAY coalesce((SELECT array_agg(DISTINCT e.digest) FROM learn_event e WHERE e.digest = ANY (gone)), '{}') LOOP
            PERFORM learn_settle(one);
        END LOOP;
    END IF;
    RETURN QUERY SELECT c.changes, c.ceased,
        CASE WHEN c.model <> '' AND NOT EXISTS (SELECT FROM learn_model m WHERE m.hash = c.model AND m.version = a_version)
            AND (learn_counts(a_version) OR NOT learn_is_kept(c.model, a_version)) THEN -1 ELSE c.built END FROM learn_control c;
END $f$;

CREATE OR REPLACE FUNCTION learn_counts(a_version integer) RETURNS boolean LANGUAGE sql STABLE AS $f$
    SELECT EXISTS (SELECT FROM learn_event e WHERE e.state = 'counted' AND e.version = a_version)
$f$;

-- A model of another version, whose words were not taken back: scanners that can read it are better off with it than with none.
CREATE OR REPLACE FUNCTION learn_is_kept(a_model text, a_version integer) RETURNS boolean LANGUAGE sql STABLE AS $f$
    SELECT EXISTS (SELECT FROM learn_model m WHERE m.hash = a_model AND m.version <> a_version AND learn_counts(m.version))
$f$;

-- What counts, in the order in which it began to.
CREATE OR REPLACE FUNCTION learn_events(after_counted bigint, after_id bigint, most integer, a_version integer)
RETURNS TABLE (counted bigint, id bigint, part smallint, label text, features bytea) LANGUAGE sql STABLE AS $f$
    SELECT e.counted, e.id, e.part, e.label, e.features FROM learn_event e
    WHERE e.state = 'counted' AND e.version = a_version AND (e.counted, e.id) > (after_counted, after_id) ORDER BY e.counted, e.id LIMIT most
$f$;

-- Some of the operators' ham that counts, by chance. Users' is no proof of a model: whose words are bounded is contradicted by it as long as he is alone.
CREATE OR REPLACE FUNCTION learn_sample(most integer, a_version integer)
RETURNS TABLE (counted bigint, id bigint, part smallint, label text, features bytea) LANGUAGE sql VOLATILE AS $f$
    SELECT e.counted, e.id, e.part, e.label, e.features FROM learn_event e WHERE e.state = 'counted' AND e.version = a_version AND e.label = 'ham' AND e.part = 0 ORDER BY random() LIMIT most
$f$;

-- What the model is tried on as if it had not learned it: the newest of each class that operators taught. Users move no score by more than is theirs, so none of
-- theirs is here; nor is what began to count behind the last event that is in the model.
CREATE OR REPLACE FUNCTION learn_trial(most integer, a_version integer, last_counted bigint, last_id bigint)
RETURNS TABLE (counted bigint, id bigint, part smallint, label text, features bytea) LANGUAGE sql STABLE AS $f$
    SELECT c.* FROM (VALUES ('ham'), ('spam')) AS l (label) CROSS JOIN LATERAL (
        SELECT e.counted, e.id, e.part, e.label, e.features FROM learn_event e
        WHERE e.state = 'counted' AND e.version = a_version AND e.label = l.label AND e.part = 0 AND (e.counted, e.id) <= (last_counted, last_id) ORDER BY e.counted DESC, e.id DESC LIMIT most) c
$f$;

CREATE OR REPLACE FUNCTION learn_model_begin(a_hash text, a_size integer, a_version integer, who text, a_ham integer, a_spam integer) RETURNS void LANGUAGE sql AS $f$
    INSERT INTO learn_model (hash, size, version, made_by, ham, spam) VALUES (a_hash, a_size, a_version, who, a_ham, a_spam) ON CONFLICT DO NOTHING
$f$;

CREATE OR REPLACE FUNCTION learn_model_put(a_hash text, place integer, bytes bytea) RETURNS void LANGUAGE sql AS $f$
    INSERT INTO learn_model_chunk (hash, position, data) VALUES (a_hash, place, bytes) ON CONFLICT DO NOTHING
$f$;

-- The model that was made of what counted at `a_changes` is the one to use; '' is none, which takes no other version's place. The one before is kept for scanners that are fetching it.
CREATE OR REPLACE FUNCTION learn_publish(a_hash text, a_changes bigint) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    former text;
BEGIN
    SELECT model, CASE WHEN a_hash = '' AND learn_is_kept(model, version) THEN model ELSE a_hash END INTO former, a_hash FROM learn_control FOR UPDATE;
    UPDATE learn_control SET model = a_hash, built = greatest(built, a_changes), refused_at = NULL, refused = '';
    DELETE FROM learn_model m WHERE m.hash NOT IN (a_hash, former);
END $f$;

CREATE OR REPLACE FUNCTION learn_refuse(why text, a_changes bigint) RETURNS void LANGUAGE sql AS $f$
    UPDATE learn_control SET built = greatest(built, a_changes), refused_at = clock_timestamp(), refused = why
$f$;

-- --- operators ---

CREATE OR REPLACE FUNCTION admin_learn_add(requester text, label text, name text, body text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    p record;
BEGIN
    IF label NOT IN ('spam', 'ham', 'score') THEN
        RETURN (64, format('learn %s: spam or ham is needed', label), NULL)::admin_answer;
    END IF;
    SELECT * INTO p FROM learn_put(label, requester, false, 'weirctl', split_part(name, E'\n', 1),
        CASE WHEN label = 'score' THEN (name::jsonb) ELSE '{}' END, decode(body, 'hex'));
    IF p.became = 'queued' AND label <> 'score' THEN
        INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'learn ' || label, p.a_number::text, jsonb_build_object('file', name));
    ELSIF p.became = 'large' THEN
        RETURN (65, format('%s: larger than learn_message_size, %s bytes', name, (SELECT message_size FROM learn_control)), NULL)::admin_answer;
    ELSIF p.became = 'full' THEN
        RETURN (75, format('%s messages wait already for a scanner to look at them (learn_queue): try again later, and see weirctl learn status', (SELECT queue_max FROM learn_control)), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, json_build_object('became', p.became, 'number', p.a_number))::admin_answer;
END $f$;

-- What a scanner said of a message whose score was asked for; its state until then.
CREATE OR REPLACE FUNCTION admin_score(requester text, wanted bigint) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    q learn_queue;
BEGIN
    SELECT * INTO q FROM learn_queue w WHERE w.id = wanted AND w.who = requester;
    IF NOT FOUND THEN
        RETURN (65, format('nothing is known of a message %s', wanted), NULL)::admin_answer;
    ELSIF q.state = 'failed' THEN
        RETURN (69, coalesce(q.result->>'why', 'it failed'), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, json_build_object('state', q.state, 'scanner', q.given_to, 'result', q.result))::admin_answer;
END $f$;

-- Takes back one word, or all of one person: as if it had never been said.
CREATE OR REPLACE FUNCTION admin_learn_undo(requester text, wanted text, by_whom text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    digests bytea[];
    amount integer;
    one bytea;
    ceased boolean;
BEGIN
    IF (wanted = '') = (by_whom = '') OR wanted !~ '^[0-9]{0,18}$' THEN
        RETURN (64, 'learn undo: a number of weirctl learn list, or --by USER or @DOMAIN, is needed', NULL)::admin_answer;
    END IF;
    PERFORM FROM learn_control FOR UPDATE;
    WITH chosen AS (
        SELECT e.id, e.state FROM learn_event e WHERE e.state <> 'undone' AND (e.id = nullif(wanted, '')::bigint OR by_whom <> '' AND learn_is_by(e.who, e.personal, by_whom))
    ), undone AS (
        UPDATE learn_event e SET state = 'undone', undone_at = clock_timestamp(), undone_by = requester FROM chosen c WHERE e.id = c.id RETURNING e.digest, c.state AS was
    )
    SELECT array_agg(DISTINCT u.digest), count(*), bool_or(u.was = 'counted') INTO digests, amount, ceased FROM undone u;
    DELETE FROM learn_queue q WHERE q.state IN ('waiting', 'given') AND q.kind <> 'score' AND (q.id = nullif(wanted, '')::bigint OR by_whom <> '' AND learn_is_by(q.who, q.personal, by_whom));
    IF amount = 0 AND NOT FOUND THEN
        RETURN (65, CASE WHEN wanted <> '' THEN format('nothing that counts was learned under %s', wanted) ELSE format('nothing that counts was learned of %s', by_whom) END, NULL)::admin_answer;
    END IF;
    PERFORM learn_changed(coalesce(ceased, false), coalesce(ceased, false));
    FOREACH one IN ARRAY coalesce(digests, '{}') LOOP
        PERFORM learn_settle(one);
    END LOOP;
    INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'learn undo', wanted || by_whom, jsonb_build_object('words', amount));
    RETURN (0, NULL, json_build_object('undone', amount))::admin_answer;
END $f$;

CREATE OR REPLACE FUNCTION admin_learn_list(by_whom text, most integer) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL, coalesce(json_agg(l), '[]') FROM (
        SELECT q.id AS number, q.at AS at, q.who, q.kind AS label, q.source, q.origin, CASE WHEN e.state = 'counted' AND e.version < c.version THEN 'outdated' ELSE coalesce(e.state, q.state) END AS state,
            coalesce(e.undone_by, '') AS undone_by, CASE WHEN q.state = 'failed' THEN coalesce(q.result->>'why', '') ELSE '' END AS why
        FROM learn_control c CROSS JOIN learn_queue q LEFT JOIN learn_event e USING (id) WHERE q.kind <> 'score' AND (by_whom = '' OR learn_is_by(q.who, q.personal, by_whom))
        UNION ALL
        SELECT e.id, e.at, e.who, e.label, e.source, e.origin, CASE WHEN e.state = 'counted' AND e.version < c.version THEN 'outdated' ELSE e.state END, e.undone_by, ''
        FROM learn_control c CROSS JOIN learn_event e WHERE NOT EXISTS (SELECT FROM learn_queue q WHERE q.id = e.id) AND (by_whom = '' OR learn_is_by(e.who, e.personal, by_whom))
        ORDER BY number DESC LIMIT most) AS l
$f$;

-- Words of versions before, which their sayers have neither said again nor taken back.
CREATE OR REPLACE FUNCTION learn_outdated() RETURNS bigint LANGUAGE sql STABLE AS $f$
    SELECT count(*) FROM learn_control c JOIN learn_event e ON e.version < c.version AND e.state = 'counted'
        WHERE NOT EXISTS (SELECT FROM learn_event n WHERE n.digest = e.digest AND n.who = e.who AND n.version = c.version AND n.state <> 'undone')
$f$;

CREATE OR REPLACE FUNCTION admin_learn_status() RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL, json_build_object('model', c.model, 'made_at', m.made_at, 'made_by', m.made_by, 'ham', m.ham, 'spam', m.spam,
        'changes', c.changes, 'built', c.built, 'refused', c.refused, 'refused_at', c.refused_at,
        'waiting', (SELECT count(*) FROM learn_queue q WHERE q.state IN ('waiting', 'given') AND q.kind <> 'score'),
        'failed', (SELECT count(*) FROM learn_queue q WHERE q.state = 'failed' AND q.kind <> 'score'),
        'events', (SELECT coalesce(json_object_agg(s.state, s.n), '{}') FROM (SELECT e.state, count(*) AS n FROM learn_event e WHERE e.version >= c.version OR e.state = 'undone' GROUP BY e.state) AS s),
        'outdated', learn_outdated())
    FROM learn_control c LEFT JOIN learn_model m ON m.hash = c.model
$f$;

-- Series of the cluster as a whole: what http.c calls them, labels, value.
CREATE OR REPLACE FUNCTION learn_gauges() RETURNS TABLE (name text, labels text, value double precision) LANGUAGE sql STABLE AS $f$
    SELECT 'learn_messages', format('class="%s"', l), count(e.id)::double precision FROM unnest(ARRAY['ham', 'spam']) AS l LEFT JOIN learn_event e ON e.label = l AND e.state = 'counted' AND e.version >= (SELECT version FROM learn_control) GROUP BY l
    UNION ALL SELECT 'learn_outdated', '', learn_outdated()
    UNION ALL SELECT 'learn_waiting', '', count(*) FROM learn_queue WHERE state IN ('waiting', 'given')
    UNION ALL SELECT 'learn_refused', '', (refused <> '')::integer FROM learn_control
    UNION ALL SELECT 'learn_behind', '', changes - built FROM learn_control
$f$;
