-- functions/acts.sql - what an operator changes is changed once, however often the request comes
--
-- Whoever heard no answer asks another coordinator, with the same token. act_end(..., CASE WHEN act_begin(...) THEN the act END) remembers the answer in
-- the transaction of the act: both are there or none. Without a token (NULL) nothing is remembered.

-- Whether it is to be done. Waits for the same act where that is under way elsewhere, and then knows how it ended.
CREATE OR REPLACE FUNCTION act_begin(requester text, wanted uuid) RETURNS boolean LANGUAGE plpgsql AS $f$
BEGIN
    IF wanted IS NULL THEN
        RETURN true;
    END IF;
    INSERT INTO act (who, token) VALUES (requester, wanted) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $f$;

-- done: the answer, or NULL when act_begin() said no: then the row is committed, and has one.
CREATE OR REPLACE FUNCTION act_end(requester text, wanted uuid, done admin_answer)
RETURNS TABLE (status integer, error text, body json, repeated boolean) LANGUAGE plpgsql AS $f$
BEGIN
    IF done.status IS NULL THEN
        RETURN QUERY SELECT a.status, a.error, a.body, true FROM act a WHERE a.who = requester AND a.token = wanted;
        RETURN;
    END IF;
    UPDATE act a SET status = done.status, error = done.error, body = done.body WHERE a.who = requester AND a.token = wanted;
    RETURN QUERY SELECT done.status, done.error, done.body, false;
END $f$;

-- Forgets what nobody asks for again; at most so many.
CREATE OR REPLACE FUNCTION act_tidy(age interval, most integer) RETURNS bigint LANGUAGE plpgsql AS $f$
DECLARE
    gone bigint;
BEGIN
    DELETE FROM act WHERE ctid = ANY (ARRAY(SELECT ctid FROM act WHERE at < now() - age ORDER BY at LIMIT most FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $f$;
