-- 0021_audit_login.sql - who handed a message in, by the name it logged in with
--
-- Empty: nobody logged in, or the row is of an edge of before. Where the spool's row of a recipient is first, the edge's report adds what only it
-- knows: the policy that decided, its line, and the login.

ALTER TABLE audit ADD COLUMN login text NOT NULL DEFAULT '';
CREATE INDEX audit_login ON audit (login, time) WHERE login <> '';

-- wanted: a queue id, a Message-ID with or without its angle brackets, an address, a login, or a client. The newest rows, oldest of them first.
CREATE OR REPLACE FUNCTION admin_trace(wanted text, most integer) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    found json;
    ip text := client_text(wanted);
BEGIN
    SELECT json_agg(r ORDER BY r.time, r.id, r.recipient_index) INTO found FROM (
        SELECT l.*, CASE WHEN row_number() OVER (PARTITION BY l.id ORDER BY l.time, l.recipient_index) = 1 THEN
                (SELECT json_agg(e ORDER BY e.at) FROM (SELECT v.at, v.destination, v.who, v.what, v.recipients, v.reply FROM spool_event v
                 WHERE v.id = l.id ORDER BY v.at DESC LIMIT 200) AS e) END AS attempts
        FROM (
            SELECT * FROM (
                SELECT * FROM audit WHERE id = upper(wanted)
                UNION (SELECT * FROM audit WHERE message_id <> '' AND message_id IN (wanted, '<' || wanted || '>') ORDER BY time DESC LIMIT most)
                UNION (SELECT * FROM audit WHERE sender <> '' AND lower(sender) = lower(wanted) ORDER BY lower(sender) DESC, time DESC LIMIT most)
                UNION (SELECT * FROM audit WHERE lower(recipient) = lower(wanted) ORDER BY lower(recipient) DESC, time DESC LIMIT most)
                UNION (SELECT * FROM audit WHERE client = ip ORDER BY client DESC, time DESC LIMIT most)
                UNION (SELECT * FROM audit WHERE login <> '' AND login = login_fold(wanted) ORDER BY login DESC, time DESC LIMIT most)) AS a
            ORDER BY a.time DESC, a.id, a.recipient_index LIMIT most) AS l) AS r;
    IF found IS NULL THEN
        RETURN (65, format('nothing is known of "%s": give a queue id, a Message-ID, a mail address, a login or a client''s IP address; the oldest row is from %s',
                wanted, coalesce((SELECT to_char(min(time), 'YYYY-MM-DD HH24:MI') FROM audit), 'never')), NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, found)::admin_answer;
END $f$;
