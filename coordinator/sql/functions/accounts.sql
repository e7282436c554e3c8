-- functions/accounts.sql - what operators do with accounts

CREATE OR REPLACE FUNCTION admin_account(target text) RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object('login', login, 'senders', senders, 'disabled', disabled, 'created_at', created_at, 'created_by', created_by,
        'password_at', password_at, 'last_used_at', last_used_at) FROM account WHERE login = target
$f$;

CREATE OR REPLACE FUNCTION admin_account_list() RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(admin_account(login) ORDER BY login) FROM account), '[]')
$f$;

CREATE OR REPLACE FUNCTION admin_account_hash_is_good(given text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $f$
    SELECT given ~ '^\$y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{43}$'
$f$;

-- given: separated by blanks. problem: NULL, or what is wrong with the first that is not right.
CREATE OR REPLACE FUNCTION admin_account_senders_read(given text, OUT list text[], OUT problem text) LANGUAGE plpgsql IMMUTABLE AS $f$
DECLARE
    bad text;
BEGIN
    list := array_remove(regexp_split_to_array(coalesce(given, ''), '\s+'), '');
    SELECT s INTO bad FROM unnest(list) AS s WHERE s !~ '^[^@[:space:]]*@[^@[:space:]]+$' OR s ~ '^[*]@' OR s ~ '@.*[*]' LIMIT 1;
    problem := CASE
        WHEN bad ~ '^[*]@[^*]+$' THEN format('"%s" would match nobody: write %s', bad, substr(bad, 2))
        WHEN bad IS NOT NULL THEN format('"%s" is not an address or @domain', bad)
        WHEN cardinality(list) > 256 THEN 'these are more than 256 senders'
    END;
END $f$;

-- given_senders: none: the login itself, where it is an address.
CREATE OR REPLACE FUNCTION admin_account_add(who text, given_login text, given_hash text, given_senders text) RETURNS admin_answer
LANGUAGE plpgsql AS $f$
DECLARE
    target text := login_fold(given_login);
    senders record := admin_account_senders_read(given_senders);
BEGIN
    IF length(target) = 0 OR octet_length(target) > 255 OR target ~ '[[:space:][:cntrl:]]' THEN
        RETURN (64, 'a login has 1 to 255 bytes and no blanks', NULL)::admin_answer;
    END IF;
    IF NOT coalesce(admin_account_hash_is_good(given_hash), false) THEN
        RETURN (64, 'the password must come as a yescrypt hash, as weirctl makes it', NULL)::admin_answer;
    END IF;
    IF senders.problem IS NOT NULL THEN
        RETURN (65, senders.problem, NULL)::admin_answer;
    END IF;
    IF cardinality(senders.list) = 0 AND target ~ '@.' THEN
        senders.list := ARRAY[target];
    END IF;
    INSERT INTO account (login, hash, senders, created_by) VALUES (target, given_hash, senders.list, who) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN (65, format('there is an account %s already; account passwd changes its password', target), NULL)::admin_answer;
    END IF;
    INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'account add', target, jsonb_build_object('senders', senders.list));
    RETURN (0, NULL, admin_account(target))::admin_answer;
END $f$;

-- From its next login on. given_senders: instead of those it had.
CREATE OR REPLACE FUNCTION admin_account_senders(who text, given_login text, given_senders text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    target text := login_fold(given_login);
    wanted record := admin_account_senders_read(given_senders);
    former text[];
BEGIN
    IF wanted.problem IS NOT NULL OR cardinality(wanted.list) = 0 THEN
        RETURN (65, coalesce(wanted.problem, 'no sender is named'), NULL)::admin_answer;
    END IF;
    SELECT senders INTO former FROM account WHERE login = target FOR UPDATE;
    IF NOT FOUND THEN
        RETURN (65, format('there is no account %s', target), NULL)::admin_answer;
    END IF;
    UPDATE account SET senders = wanted.list WHERE login = target;
    INSERT INTO audit_action (who, action, target, detail)
        VALUES (who, 'account senders', target, jsonb_build_object('senders', wanted.list, 'former', former));
    RETURN (0, NULL, admin_account(target))::admin_answer;
END $f$;

-- A new password forgives what was guessed at the old one, and forgets where that was used: it may have been used by a thief.
CREATE OR REPLACE FUNCTION admin_account_passwd(who text, given_login text, given_hash text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    target text := login_fold(given_login);
BEGIN
    IF NOT coalesce(admin_account_hash_is_good(given_hash), false) THEN
        RETURN (64, 'the password must come as a yescrypt hash, as weirctl makes it', NULL)::admin_answer;
    END IF;
    UPDATE account SET hash = given_hash, password_at = now() WHERE login = target;
    IF NOT FOUND THEN
        RETURN (65, format('there is no account %s', target), NULL)::admin_answer;
    END IF;
    DELETE FROM auth_place WHERE login = target;
    DELETE FROM auth_guess WHERE login = target;
    INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'account passwd', target, '{}');
    RETURN (0, NULL, admin_account(target))::admin_answer;
END $f$;

CREATE OR REPLACE FUNCTION admin_account_disable(who text, given_login text, wanted boolean) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    target text := login_fold(given_login);
BEGIN
    UPDATE account SET disabled = wanted WHERE login = target;
    IF NOT FOUND THEN
        RETURN (65, format('there is no account %s', target), NULL)::admin_answer;
    END IF;
    INSERT INTO audit_action (who, action, target, detail)
        VALUES (who, CASE WHEN wanted THEN 'account disable' ELSE 'account enable' END, target, '{}');
    RETURN (0, NULL, admin_account(target))::admin_answer;
END $f$;

CREATE OR REPLACE FUNCTION admin_account_delete(who text, given_login text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    target text := login_fold(given_login);
    body json := admin_account(target);
BEGIN
    DELETE FROM account WHERE login = target;
    IF NOT FOUND THEN
        RETURN (65, format('there is no account %s', target), NULL)::admin_answer;
    END IF;
    DELETE FROM auth_place WHERE login = target;
    INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'account delete', target, '{}');
    RETURN (0, NULL, body)::admin_answer;
END $f$;
