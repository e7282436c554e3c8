-- 0022_auth_known.sql - whether the account that a check is of is known, so that a name may be logged
--
-- What was typed where the login belongs may be a password. It is a name where there is such an account, or where somebody logged in so
-- (the directory has it) and that is still remembered.

DROP FUNCTION auth_begin(bigint, text, boolean, text, integer, integer, interval, interval, interval);
-- Begins a check, as before. known: as above, told whatever limited says.
CREATE FUNCTION auth_begin(ask bigint, who text, cuts boolean, whence text, account_most integer, client_most integer, span interval,
    check_span interval, place_span interval)
RETURNS TABLE (account text, limited text, hash text, senders text[], known boolean) LANGUAGE plpgsql AS $f$
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
    known := holder.login IS NOT NULL OR EXISTS (SELECT FROM auth_place AS p WHERE p.login = auth_begin.account);
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
