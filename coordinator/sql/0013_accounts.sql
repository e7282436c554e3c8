-- 0013_accounts.sql - who may send as whom, and how often somebody may guess a password
--
-- An account is a login with a yescrypt hash. A guess is a row from the moment a check begins until it turns out right: so checks under way
-- count, and any number of them at once cannot pass a limit together. The number is the question's, so a repeated question is one guess.

CREATE TABLE account (
    login text PRIMARY KEY, -- in lower case
    hash text NOT NULL,
    senders text[] NOT NULL, -- addresses, or @domain
    disabled boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    password_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz
);

CREATE TABLE auth_guess (
    request bigint PRIMARY KEY,
    login text NOT NULL,
    client text NOT NULL, -- an IPv4 address, or an IPv6 network of 64 bits
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX auth_guess_login ON auth_guess (login, at);
CREATE INDEX auth_guess_client ON auth_guess (client, at);
CREATE INDEX auth_guess_at ON auth_guess (at);

-- Begins a check. limited: "account" or "client" when there were too many guesses, then nothing else is told; hash: NULL when there is no such
-- account, with "!" in front when it is disabled. Those who guess at one account or from one client queue up here, so the limits are exact. A crash of PostgreSQL may
-- forget the last guesses, which nobody has to wait for.
CREATE FUNCTION auth_begin(ask bigint, who text, whence text, account_most integer, client_most integer, span interval)
RETURNS TABLE (limited text, hash text, senders text[]) LANGUAGE plpgsql AS $f$
DECLARE
    since timestamptz := clock_timestamp() - span;
    first_lock bigint := hashtextextended('account ' || who, 0);
    second_lock bigint := hashtextextended('client ' || whence, 0);
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(least(first_lock, second_lock));
    PERFORM pg_advisory_xact_lock(greatest(first_lock, second_lock));
    DELETE FROM auth_guess WHERE request IN (SELECT g.request FROM auth_guess g WHERE g.at < since ORDER BY g.at LIMIT 20 FOR UPDATE SKIP LOCKED);
    limited := CASE
        WHEN (SELECT count(*) FROM (SELECT FROM auth_guess g WHERE g.login = who AND g.at >= since AND g.request <> ask LIMIT account_most) AS n)
            >= account_most THEN 'account'
        WHEN (SELECT count(*) FROM (SELECT FROM auth_guess g WHERE g.client = whence AND g.at >= since AND g.request <> ask LIMIT client_most) AS n)
            >= client_most THEN 'client'
    END;
    IF limited IS NULL THEN
        INSERT INTO auth_guess (request, login, client) VALUES (ask, who, whence) ON CONFLICT DO NOTHING;
        SELECT CASE WHEN a.disabled THEN '!' ELSE '' END || a.hash, a.senders INTO hash, senders FROM account a WHERE a.login = who;
    END IF;
    RETURN NEXT;
END $f$;

-- It was right, or could not be checked: no guess.
CREATE FUNCTION auth_forgive(ask bigint, who text, used boolean) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF used THEN -- first: operators lock the account before its guesses
        UPDATE account SET last_used_at = now()
            WHERE login = who AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute');
    END IF;
    DELETE FROM auth_guess WHERE request = ask;
END $f$;

-- ---- operators ----

CREATE FUNCTION admin_account(target text) RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object('login', login, 'senders', senders, 'disabled', disabled, 'created_at', created_at, 'created_by', created_by,
        'password_at', password_at, 'last_used_at', last_used_at) FROM account WHERE login = target
$f$;

CREATE FUNCTION admin_account_list() RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(admin_account(login) ORDER BY login) FROM account), '[]')
$f$;

CREATE FUNCTION admin_account_hash_is_good(given text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $f$
    SELECT given ~ '^\$y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{43}$'
$f$;

-- given_senders: separated by blanks; none: the login itself, where it is an address.
CREATE FUNCTION admin_account_add(who text, given_login text, given_hash text, given_senders text) RETURNS admin_answer
LANGUAGE plpgsql AS $f$
DECLARE
    target text := lower(given_login);
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

-- A new password forgives what was guessed at the old one.
CREATE FUNCTION admin_account_passwd(who text, given_login text, given_hash text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    target text := lower(given_login);
BEGIN
    IF NOT coalesce(admin_account_hash_is_good(given_hash), false) THEN
        RETURN (64, 'the password must come as a yescrypt hash, as weirctl makes it', NULL)::admin_answer;
    END IF;
    UPDATE account SET hash = given_hash, password_at = now() WHERE login = target;
    IF NOT FOUND THEN
        RETURN (65, format('there is no account %s', target), NULL)::admin_answer;
    END IF;
    DELETE FROM auth_guess WHERE login = target;
    INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'account passwd', target, '{}');
    RETURN (0, NULL, admin_account(target))::admin_answer;
END $f$;

CREATE FUNCTION admin_account_disable(who text, given_login text, wanted boolean) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    target text := lower(given_login);
BEGIN
    UPDATE account SET disabled = wanted WHERE login = target;
    IF NOT FOUND THEN
        RETURN (65, format('there is no account %s', target), NULL)::admin_answer;
    END IF;
    INSERT INTO audit_action (who, action, target, detail)
        VALUES (who, CASE WHEN wanted THEN 'account disable' ELSE 'account enable' END, target, '{}');
    RETURN (0, NULL, admin_account(target))::admin_answer;
END $f$;

CREATE FUNCTION admin_account_delete(who text, given_login text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    target text := lower(given_login);
    body json := admin_account(target);
BEGIN
    DELETE FROM account WHERE login = target;
    IF NOT FOUND THEN
        RETURN (65, format('there is no account %s', target), NULL)::admin_answer;
    END IF;
    INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'account delete', target, '{}');
    RETURN (0, NULL, body)::admin_answer;
END $f$;
