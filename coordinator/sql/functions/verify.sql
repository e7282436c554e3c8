-- functions/verify.sql - what next hops said of recipients

-- What is known, at most one row. Who is told to refresh has a minute for it before another one is told, too.
CREATE OR REPLACE FUNCTION verify_ask(given text, hop text)
RETURNS TABLE (known boolean, code integer, enhanced text, words text, refresh boolean) LANGUAGE plpgsql AS $f$
DECLARE
    found_at timestamptz;
BEGIN
    SELECT v.known, v.code, v.enhanced, v.words, v.refresh_at INTO known, code, enhanced, words, found_at
        FROM verified v WHERE v.recipient = given AND v.next_hop = hop AND v.expires_at > clock_timestamp();
    IF NOT FOUND THEN
        RETURN;
    END IF;
    refresh := false;
    IF found_at <= clock_timestamp() THEN
        PERFORM set_config('synchronous_commit', 'off', true);
        UPDATE verified v SET refresh_at = clock_timestamp() + interval '1 minute'
            WHERE v.recipient = given AND v.next_hop = hop AND v.refresh_at <= clock_timestamp();
        refresh := FOUND;
    END IF;
    RETURN NEXT;
END $f$;

-- What a next hop said. expire, fresh: for how long it counts, and after how long it is asked anew.
CREATE OR REPLACE FUNCTION verify_tell(given text, hop text, is_there boolean, reply integer, status text, said text, who text, expire interval, fresh interval)
RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    at timestamptz := clock_timestamp();
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO verified VALUES (given, hop, is_there, reply, status, said, at, who, at + fresh, at + expire)
        ON CONFLICT (recipient, next_hop) DO UPDATE SET known = excluded.known, code = excluded.code, enhanced = excluded.enhanced,
            words = excluded.words, asked_at = excluded.asked_at, asked_by = excluded.asked_by, refresh_at = excluded.refresh_at,
            expires_at = excluded.expires_at;
END $f$;

-- Takes out what has expired, and what is over the limit; at most so many rows of each.
CREATE OR REPLACE FUNCTION verify_tidy(entries bigint, most integer) RETURNS TABLE (expired bigint, over bigint) LANGUAGE plpgsql AS $f$
DECLARE
    there bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    DELETE FROM verified WHERE ctid = ANY (ARRAY(SELECT ctid FROM verified WHERE expires_at <= clock_timestamp() ORDER BY expires_at LIMIT most
        FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS expired = ROW_COUNT;
    SELECT count(*) INTO there FROM (SELECT FROM verified LIMIT entries + most) AS v;
    DELETE FROM verified WHERE there > entries AND ctid = ANY (ARRAY(SELECT ctid FROM verified ORDER BY expires_at
        LIMIT greatest(least(there - entries, most), 0) FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS over = ROW_COUNT;
    RETURN NEXT;
END $f$;

-- An address, or all of "@domain". The spellings are made once, not for each row.
CREATE OR REPLACE FUNCTION verify_rows(given text) RETURNS SETOF verified LANGUAGE sql STABLE AS $f$
    SELECT * FROM verified WHERE left(given, 1) <> '@' AND lower(recipient) = ANY ((SELECT address_spellings(given))::text[])
    UNION ALL
    SELECT * FROM verified WHERE left(given, 1) = '@' AND lower(substring(recipient FROM '@[^@]*$')) = ANY ((SELECT address_spellings(given))::text[])
$f$;

CREATE OR REPLACE FUNCTION admin_verify_show(given text) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, json_build_object('count', (SELECT count(*) FROM verify_rows(given) WHERE expires_at > now()),
        'recipients', coalesce((SELECT json_agg(v) FROM (SELECT recipient, next_hop, known AS "exists", code, enhanced, words, asked_at, asked_by, refresh_at,
            expires_at FROM verify_rows(given) WHERE expires_at > now() ORDER BY recipient, next_hop LIMIT 1000) AS v), '[]'))
$f$;

CREATE OR REPLACE FUNCTION admin_verify_forget(who text, given text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    amount bigint;
BEGIN
    DELETE FROM verified v USING verify_rows(given) AS r WHERE v.recipient = r.recipient AND v.next_hop = r.next_hop;
    GET DIAGNOSTICS amount = ROW_COUNT;
    IF amount > 0 THEN
        INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'verify forget', address_typed(given), jsonb_build_object('forgotten', amount));
    END IF;
    RETURN (0, NULL, json_build_object('forgotten', amount))::admin_answer;
END $f$;
