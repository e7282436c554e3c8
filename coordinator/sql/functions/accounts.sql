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

-- given_senders: separated by blanks; none: the login itself, where it is an address.
CREATE OR REPLACE FUNCTION admin_account_add(who text, given_login text, given_hash text, given_senders text) RETURNS admin_answer
LANGUAGE plpgsql AS $f$
DECLARE
    target text := login_fold(given_login);
    list text[] := array_remove(regexp_split_to_array(coalesce(given_senders, ''), '\s+'), '');
    bad text;
BEGIN
    IF length(target) = 0 OR octet_length(target) > 255 OR target ~ '[[:space:][:cntrl:]]' THEN
        RETURN (64, 'a login has 1 to 255 bytes and no blanks', NULL)::admin_answer;
    END IF;
    IF NOT coalesce(admin_account_hash_is_good(given_hash), false) THEN
        RETURN (64, 'the password must come as a yescrypt hash, as weirctl makes it', NULL)::admin_answer;
    END IF;
    IF cardinality(list) = 0 AND target ~ '@.' THEN
        list := ARRAY[target];
    END IF;
    SELECT s INTO bad FROM unnest(list) AS s WHERE s !~ '^[^@[:space:]]*@[^@[:space:]]+$' LIMIT 1;
    IF bad IS NOT NULL OR cardinality(list) > 256 THEN
        RETURN (65, format('"%s" is not an address or @domain', bad), NULL)::admin_answer;
    END IF;
    INSERT INTO account (login, hash, senders, created_by) VALUES (target, given_hash, list, who) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN (65, format('there is an account %s already; account passwd changes its password', target), NULL)::admin_answer;
    END IF;
    INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'account add', target, jsonb_build_object('senders', list));
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
