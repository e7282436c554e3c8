-- 0015_guesses.sql - one name for who guesses are made at, wrong apart from under way, and an owner's own places apart from strangers
--
-- A guess is a row from the moment a check begins until it turned out right; `wrong` once it is known to be. One that nobody has called
-- anything for as long as a check may take was begun by a coordinator that died: it counts as wrong.
-- Those that guess at an account from where it never logged in share one allowance; each place from which it did has its own. So strangers, however
-- many, cannot shut an owner out from its usual places, and get no more guesses than before.

ALTER TABLE auth_guess ADD COLUMN wrong boolean NOT NULL DEFAULT false;

CREATE TABLE auth_place ( -- where an account logged in from
    login text NOT NULL,
    client text NOT NULL, -- as in auth_guess
    at timestamptz NOT NULL DEFAULT clock_timestamp(), -- to the hour
    PRIMARY KEY (login, client)
);
CREATE INDEX auth_place_at ON auth_place (at);

-- A login without what stands behind its last @: what a directory that looks at no more takes it for.
CREATE FUNCTION login_cut(login text) RETURNS text LANGUAGE sql IMMUTABLE AS $f$ SELECT regexp_replace(login, '@[^@]*$', '') $f$;
CREATE INDEX account_cut ON account (login_cut(login));

-- Logins are folded as coordinators fold them: ASCII only, whatever the database's locale.
CREATE FUNCTION login_fold(login text) RETURNS text LANGUAGE sql IMMUTABLE AS $f$ SELECT lower(login COLLATE "C") $f$;

-- Begins a check of the login `who` (folded) from the client `whence`. cuts: a directory looks only at what stands before its last @, so all logins with that
-- are one, which an account of that name answers for, and which a disabled account of it shuts out.
-- account: the one name that it is counted under. limited: "account" or "client" when there were too many wrong passwords, "busy" when those under way might
-- become too many; then no more is told. hash: NULL when there is no such account, with "!" in front when it is disabled.
-- Those who guess at one account or from one client queue up here, so the limits are exact. A crash of PostgreSQL may forget the last guesses,
-- which nobody has to wait for.
DROP FUNCTION auth_begin(bigint, text, text, integer, integer, interval);
CREATE FUNCTION auth_begin(ask bigint, who text, cuts boolean, whence text, account_most integer, client_most integer, span interval,
    check_span interval, place_span interval)
RETURNS TABLE (account text, limited text, hash text, senders text[]) LANGUAGE plpgsql AS $f$
DECLARE
    moment timestamptz := clock_timestamp();
    since timestamptz := moment - span;
    places timestamptz := moment - place_span;
    name text := CASE WHEN cuts THEN login_cut(who) ELSE who END;
    holder account;
    is_place boolean;
    by_account record;
    by_client record;
    first_lock bigint;
    second_lock bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT * INTO holder FROM account AS a WHERE a.login IN (who, name) ORDER BY a.login = who DESC LIMIT 1;
    IF NOT FOUND AND cuts THEN
        SELECT * INTO holder FROM account AS a WHERE login_cut(a.login) = name AND a.disabled LIMIT 1;
    END IF;
    auth_begin.account := coalesce(holder.login, name);
    first_lock := hashtextextended('account ' || auth_begin.account, 0);
    second_lock := hashtextextended('client ' || whence, 0);
    PERFORM pg_advisory_xact_lock(least(first_lock, second_lock));
    PERFORM pg_advisory_xact_lock(greatest(first_lock, second_lock));
    DELETE FROM auth_guess WHERE request IN (SELECT g.request FROM auth_guess AS g WHERE g.at < since ORDER BY g.at LIMIT 20 FOR UPDATE SKIP LOCKED);
    DELETE FROM auth_place AS d USING (SELECT p.login, p.client FROM auth_place AS p WHERE p.at < places ORDER BY p.at LIMIT 20 FOR UPDATE SKIP LOCKED) AS old
        WHERE d.login = old.login AND d.client = old.client;
    is_place := EXISTS (SELECT FROM auth_place AS p WHERE p.login = auth_begin.account AND p.client = whence AND p.at >= places);
    SELECT count(*) AS begun, count(*) FILTER (WHERE g.wrong OR g.at < moment - check_span) AS wrong INTO by_account FROM auth_guess AS g
        WHERE g.login = auth_begin.account AND g.at >= since AND g.request <> ask AND CASE WHEN is_place THEN g.client = whence
            ELSE NOT EXISTS (SELECT FROM auth_place AS p WHERE p.login = g.login AND p.client = g.client AND p.at >= places) END;
    SELECT count(*) AS begun, count(*) FILTER (WHERE g.wrong OR g.at < moment - check_span) AS wrong INTO by_client FROM auth_guess AS g
        WHERE g.client = whence AND g.at >= since AND g.request <> ask;
    limited := CASE
        WHEN by_account.wrong >= account_most THEN 'account'
        WHEN by_client.wrong >= client_most THEN 'client'
        WHEN by_account.begun >= account_most OR by_client.begun >= client_most THEN 'busy'
    END;
    IF limited IS NULL THEN
        INSERT INTO auth_guess (request, login, client) VALUES (ask, auth_begin.account, whence) ON CONFLICT DO NOTHING;
        hash := CASE WHEN holder.disabled THEN '!' ELSE '' END || holder.hash;
        senders := holder.senders;
    END IF;
    RETURN NEXT;
END $f$;

-- It was wrong, whatever another coordinator that was asked the same says, or said.
CREATE FUNCTION auth_wrong(ask bigint, who text, whence text) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO auth_guess (request, login, client, wrong) VALUES (ask, who, whence, true) ON CONFLICT (request) DO UPDATE SET wrong = true;
END $f$;

-- It was right (used), or could not be checked: no guess, unless another coordinator that was asked the same found it wrong.
DROP FUNCTION auth_forgive(bigint, text, boolean);
CREATE FUNCTION auth_forgive(ask bigint, who text, whence text, used boolean) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF used THEN -- first: operators lock the account before its places and guesses
        UPDATE account SET last_used_at = now()
            WHERE login = who AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute');
        INSERT INTO auth_place AS p (login, client) VALUES (who, whence) ON CONFLICT (login, client) DO UPDATE SET at = clock_timestamp()
            WHERE p.at < clock_timestamp() - interval '1 hour';
    END IF;
    DELETE FROM auth_guess WHERE request = ask AND NOT wrong;
END $f$;

-- ---- operators ----

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
