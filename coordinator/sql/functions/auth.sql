-- functions/auth.sql - who may log in, and how often somebody may guess

-- Logins are folded as coordinators fold them: ASCII only, whatever the database's locale.
CREATE OR REPLACE FUNCTION login_fold(login text) RETURNS text LANGUAGE sql IMMUTABLE AS $f$ SELECT lower(login COLLATE "C") $f$;

-- Begins a check of the login `who` (folded) from the client `whence`. cuts: a directory looks only at what stands before its last @, so all logins with that
-- are one, which an account of that name answers for, and which a disabled account of it shuts out.
-- account: the one name that it is counted under. limited: "account" or "client" when there were too many wrong passwords, "busy" when those under way might
-- become too many; then nothing is told of hash and senders. hash: NULL when there is no such account, with "!" in front when it is disabled.
-- known: the name may be logged. What was typed where the login belongs may be a password; it is a name where there is such an account, or where somebody
-- logged in so (the directory has it) and that is still remembered.
-- Those who guess at one account or from one client queue up here, so the limits are exact. A crash of PostgreSQL may forget the last guesses,
-- which nobody has to wait for.
CREATE OR REPLACE FUNCTION auth_begin(ask bigint, who text, cuts boolean, whence text, account_most integer, client_most integer, span interval,
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
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT * INTO holder FROM account AS a WHERE a.login IN (who, name) ORDER BY a.login = who DESC LIMIT 1;
    IF NOT FOUND AND cuts THEN
        SELECT * INTO holder FROM account AS a WHERE login_cut(a.login) = name AND a.disabled LIMIT 1;
    END IF;
    auth_begin.account := coalesce(holder.login, name);
    -- In this order always. Of two integers, as the account is a peer's word: in the space of one somebody could choose one whose lock is the leader's.
    PERFORM pg_advisory_xact_lock(hashtext('weir account'), hashtext(auth_begin.account));
    PERFORM pg_advisory_xact_lock(hashtext('weir client'), hashtext(whence));
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

-- It was wrong, whatever another coordinator that was asked the same says, or said. address: whom it speaks against (reputation.sql), once; "": nobody.
CREATE OR REPLACE FUNCTION auth_wrong(ask bigint, who text, whence text, address text DEFAULT '') RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    known boolean := false;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT g.wrong INTO known FROM auth_guess AS g WHERE g.request = ask FOR UPDATE;
    INSERT INTO auth_guess (request, login, client, wrong) VALUES (ask, who, whence, true) ON CONFLICT (request) DO UPDATE SET wrong = true;
    IF known IS NOT TRUE AND address <> '' THEN
        PERFORM reputation_guess(address);
    END IF;
END $f$;

-- It was right (used), or could not be checked: no guess, unless another coordinator that was asked the same found it wrong.
CREATE OR REPLACE FUNCTION auth_forgive(ask bigint, who text, whence text, used boolean) RETURNS void LANGUAGE plpgsql AS $f$
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
