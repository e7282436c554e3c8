-- functions/dashboard_login.sql - operators who log in at the dashboard: their passwords, guesses, sessions, and what they do there

-- An operator is who has a key of that name: without one that counts, a password and a session open nothing.
CREATE OR REPLACE FUNCTION operator_has_key(who text) RETURNS boolean LANGUAGE sql STABLE AS $f$
    SELECT EXISTS (SELECT FROM node_key WHERE name = who AND role = 'operator' AND revoked_at IS NULL)
$f$;

CREATE OR REPLACE FUNCTION admin_operator(target text) RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object('name', o.name, 'created_at', o.created_at, 'created_by', o.created_by, 'password_at', o.password_at, 'last_used_at', o.last_used_at,
        'waits', o.new_hash <> '' AND EXISTS (SELECT FROM override AS v WHERE v.id = o.override AND v.state = 'pending' AND v.pending_until > clock_timestamp()),
        'usable', o.hash <> '', 'key', operator_has_key(o.name), 'sessions', (SELECT count(*) FROM operator_session AS s WHERE s.name = o.name)) FROM operator AS o WHERE o.name = target
$f$;

CREATE OR REPLACE FUNCTION admin_operator_list() RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(admin_operator(name) ORDER BY name) FROM operator), '[]')
$f$;

-- A password of one's own name is like a key of one's own; another's needs, where overrides need two, another operator's word: who can be two is two by himself.
-- agreed: the override by which that was given.
CREATE OR REPLACE FUNCTION operator_password(requester text, act text, target text, given_hash text, agreed bigint) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    made override;
BEGIN
    PERFORM admin_begin();
    IF agreed IS NULL AND target <> requester AND override_needs_two() THEN
        made := override_ask(requester, act, target, jsonb_build_object('action', CASE act WHEN 'operator add' THEN 'let log in' ELSE 'give a new password to' END), '', '', interval '0');
        INSERT INTO operator AS o (name, new_hash, override, created_by) VALUES (target, given_hash, made.id, requester)
            ON CONFLICT (name) DO UPDATE SET new_hash = EXCLUDED.new_hash, override = EXCLUDED.override;
        RETURN override_pending_answer(made);
    ELSIF agreed IS NOT NULL THEN
        UPDATE operator SET hash = new_hash, new_hash = '', override = 0, password_at = now() WHERE name = target AND override = agreed AND new_hash <> '';
        IF NOT FOUND THEN
            RETURN (65, format('the password that override %s is about was replaced or deleted meanwhile: ask for it anew', agreed), NULL)::admin_answer;
        END IF;
    ELSE
        INSERT INTO operator AS o (name, hash, created_by) VALUES (target, given_hash, requester)
            ON CONFLICT (name) DO UPDATE SET hash = EXCLUDED.hash, new_hash = '', override = 0, password_at = now();
    END IF;
    DELETE FROM operator_session WHERE name = target;
    DELETE FROM operator_guess WHERE name = target;
    DELETE FROM operator_place WHERE name = target;
    INSERT INTO audit_action (who, action, target, detail) VALUES (requester, act, target, jsonb_strip_nulls(jsonb_build_object('override', agreed)));
    RETURN (0, NULL, admin_operator(target))::admin_answer;
END $f$;

CREATE OR REPLACE FUNCTION admin_operator_password(who text, act text, target text, given_hash text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    there CONSTANT boolean := EXISTS (SELECT FROM operator AS o WHERE o.name = target AND o.hash <> '');
BEGIN
    IF target !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$' THEN
        RETURN (65, format('"%s" is not a name: letters, digits, ".", "_" and "-", at most 63', left(target, 80)), NULL)::admin_answer;
    ELSIF NOT coalesce(admin_account_hash_is_good(given_hash), false) THEN
        RETURN (64, 'the password must come as a yescrypt hash, as weirctl makes it', NULL)::admin_answer;
    ELSIF act = 'operator add' AND there THEN
        RETURN (65, format('there is an operator %s already; operator passwd changes the password', target), NULL)::admin_answer;
    ELSIF act <> 'operator add' AND NOT there THEN
        RETURN (65, format('there is no operator %s', target), NULL)::admin_answer;
    ELSIF act = 'operator add' AND EXISTS (SELECT FROM node_key WHERE name = target AND role <> 'operator' AND revoked_at IS NULL) THEN
        RETURN (65, format('%s is the name of a node', target), NULL)::admin_answer;
    ELSIF act = 'operator add' AND NOT there AND (SELECT count(*) FROM operator) >= 1000 THEN
        RETURN (65, 'there are 1000 operators already', NULL)::admin_answer;
    END IF;
    RETURN operator_password(who, act, target, given_hash, NULL);
END $f$;

CREATE OR REPLACE FUNCTION admin_operator_delete(who text, target text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    body json := admin_operator(target);
BEGIN
    DELETE FROM operator WHERE name = target;
    IF NOT FOUND THEN
        RETURN (65, format('there is no operator %s', target), NULL)::admin_answer;
    END IF;
    DELETE FROM operator_guess WHERE name = target;
    INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'operator delete', target, '{}');
    RETURN (0, NULL, body)::admin_answer;
END $f$;

-- It has one parameter more.
DROP FUNCTION IF EXISTS operator_begin(text, text, integer, integer, interval);

-- Begins to check a password. limited: there were too many wrong ones for this name, or from this client: those under way count, so any number at once cannot pass
-- together. Each client that the name logged in from is counted apart (auth.sql does so, too): nobody keeps an operator out by guessing from elsewhere.
-- hash: NULL where nobody of that name may log in.
CREATE OR REPLACE FUNCTION operator_begin(who text, whence text, name_most integer, client_most integer, span interval, place_span interval,
    OUT guess bigint, OUT limited boolean, OUT hash text)
LANGUAGE plpgsql AS $f$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    since CONSTANT timestamptz := moment - span;
    places CONSTANT timestamptz := moment - place_span;
    is_place boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('weir operator'), hashtext(who));
    PERFORM pg_advisory_xact_lock(hashtext('weir operator client'), hashtext(whence));
    DELETE FROM operator_guess WHERE number IN (SELECT g.number FROM operator_guess AS g WHERE g.at < since ORDER BY g.number LIMIT 20 FOR UPDATE SKIP LOCKED);
    DELETE FROM operator_place AS d USING (SELECT p.name, p.client FROM operator_place AS p WHERE p.at < places ORDER BY p.at LIMIT 20 FOR UPDATE SKIP LOCKED) AS old
        WHERE d.name = old.name AND d.client = old.client;
    is_place := EXISTS (SELECT FROM operator_place AS p WHERE p.name = who AND p.client = whence AND p.at >= places);
    limited := (SELECT count(*) FROM operator_guess AS g WHERE g.name = who AND g.at >= since AND CASE WHEN is_place THEN g.client = whence
            ELSE NOT EXISTS (SELECT FROM operator_place AS p WHERE p.name = g.name AND p.client = g.client AND p.at >= places) END) >= name_most
        OR (SELECT count(*) FROM operator_guess AS g WHERE g.client = whence AND g.at >= since) >= client_most;
    IF NOT limited THEN
        INSERT INTO operator_guess (name, client) VALUES (who, whence) RETURNING number INTO guess;
        SELECT nullif(o.hash, '') INTO hash FROM operator AS o WHERE o.name = who AND operator_has_key(who);
    END IF;
END $f$;

-- It could not be checked: no guess.
CREATE OR REPLACE FUNCTION operator_forgive(guess bigint) RETURNS void LANGUAGE sql AS $f$ DELETE FROM operator_guess WHERE number = guess $f$;

-- It was right, for the hash that was read: false where that is no more the operator's, or its name has no key now. At most 20 sessions of one.
CREATE OR REPLACE FUNCTION operator_enter(guess bigint, who text, read_hash text, a_digest text, whence text) RETURNS boolean LANGUAGE plpgsql AS $f$
BEGIN
    UPDATE operator SET last_used_at = now() WHERE name = who AND hash = read_hash AND operator_has_key(who);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM operator_guess WHERE number = guess;
    INSERT INTO operator_place (name, client) VALUES (who, whence) ON CONFLICT (name, client) DO UPDATE SET at = clock_timestamp();
    DELETE FROM operator_session WHERE digest IN (SELECT s.digest FROM operator_session AS s WHERE s.name = who ORDER BY s.used_at DESC OFFSET 19);
    INSERT INTO operator_session (digest, name, client) VALUES (a_digest, who, whence);
    INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'operator login', 'dashboard', jsonb_build_object('client', whence));
    RETURN true;
END $f$;

-- Whose session it is; NULL: nobody's, or it is over. used: this is something the operator did, and not the page that looks again by itself.
CREATE OR REPLACE FUNCTION operator_of(a_digest text, idle interval, longest interval, used boolean) RETURNS text LANGUAGE plpgsql AS $f$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    found_one operator_session;
BEGIN
    SELECT * INTO found_one FROM operator_session WHERE digest = a_digest;
    IF NOT FOUND OR found_one.used_at < moment - idle OR found_one.began_at < moment - longest OR NOT operator_has_key(found_one.name) THEN
        RETURN NULL;
    END IF;
    IF used AND found_one.used_at < moment - least(interval '10 seconds', idle / 4) THEN
        UPDATE operator_session SET used_at = moment WHERE digest = a_digest;
    END IF;
    RETURN found_one.name;
END $f$;

CREATE OR REPLACE FUNCTION operator_leave(a_digest text) RETURNS void LANGUAGE sql AS $f$
    WITH gone AS (DELETE FROM operator_session WHERE digest = a_digest RETURNING name, client)
    INSERT INTO audit_action (who, action, target, detail) SELECT name, 'operator logout', 'dashboard', jsonb_build_object('client', client) FROM gone
$f$;

CREATE OR REPLACE FUNCTION operator_tidy(idle interval, longest interval) RETURNS void LANGUAGE sql AS $f$
    DELETE FROM operator_session WHERE used_at < clock_timestamp() - idle OR began_at < clock_timestamp() - longest
$f$;

-- What the dashboard has buttons for, as weirctl's verbs do it, with a reason that its rows of audit_action keep.
CREATE OR REPLACE FUNCTION admin_dashboard_act(who text, act text, target text, why text, force boolean, silence interval) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    answer admin_answer;
BEGIN
    IF btrim(why) = '' OR length(why) > 500 THEN
        RETURN (64, 'a reason is needed, of at most 500 characters', NULL)::admin_answer;
    ELSIF act LIKE 'override %' AND target !~ '^[0-9]{1,18}$' THEN
        RETURN (64, 'an override is named by its number', NULL)::admin_answer;
    ELSIF act LIKE 'queue %' AND target = '' THEN
        RETURN (64, 'which message?', NULL)::admin_answer;
    END IF;
    CASE act
    WHEN 'drain' THEN
        answer := admin_drain(who, target, true, force, silence);
    WHEN 'undrain' THEN
        answer := admin_drain(who, target, false, false, silence);
    WHEN 'queue hold', 'queue release' THEN
        answer := admin_queue_act(who, split_part(act, ' ', 2), target, '', '', '', '', '', false, '');
    WHEN 'outbound release' THEN
        answer := admin_outbound_release(who, target, false, why);
    WHEN 'override approve', 'override refuse' THEN
        answer := admin_override_decide(who, target::bigint, act = 'override approve');
    ELSE
        RETURN (64, 'the dashboard cannot do that', NULL)::admin_answer;
    END CASE;
    UPDATE audit_action AS a SET detail = jsonb_build_object('reason', why) || a.detail || jsonb_build_object('via', 'dashboard')
        || CASE WHEN act LIKE 'override %' THEN jsonb_build_object('why', why) ELSE '{}' END
        WHERE a.number > (SELECT max(number) - 1000 FROM audit_action) AND a.xmin = pg_current_xact_id()::xid;
    RETURN answer;
END $f$;
