-- functions/web.sql - what the self-service process may do: what a link opens, and nothing else
--
-- It connects as a role of its own (weir_web), which has no right on any table. What it may call (web_grant()) runs as who owns the schema, and takes a link, by the hash of its token: whose copies are meant
-- is found here, never said by who asks. So whoever takes over the process can do no more than the links that it sees, and can make none: tokens are made by coordinators.
-- The functions that take an address (who) run as their caller, and are granted to nobody. Of another one's copies nothing is told, not even that they are there.
-- What a person does is in audit_action as done by "recipient ADDRESS".

-- The newest copies that wait, behind `after` (as web_quarantine_list() gives it, '' for the first page).
CREATE OR REPLACE FUNCTION web_quarantine_list(who text, after text, most integer)
RETURNS TABLE (cursor text, id text, number integer, kept_at timestamptz, sender text, subject bytea, reason text, score integer, size bigint)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $f$
DECLARE
    whose CONSTANT text := lower(who);
    after_at CONSTANT timestamptz := nullif(split_part(after, ' ', 1), '')::timestamptz;
    after_id CONSTANT text := split_part(after, ' ', 2);
    after_number CONSTANT integer := nullif(split_part(after, ' ', 3), '')::integer;
BEGIN
    RETURN QUERY SELECT quarantine_cursor(c.kept_at, c.id, c.number), c.id, c.number, c.kept_at, q.sender, q.subject, c.reason, c.score, q.size
        FROM quarantine_copy c CROSS JOIN LATERAL (SELECT v.sender, v.subject, v.size FROM quarantine_message v WHERE v.id = c.id OFFSET 0) AS q
        WHERE c.recipient = whose AND c.state = 'waiting'
            AND (after_at IS NULL OR c.kept_at <= after_at AND (c.kept_at, c.id, c.number) < (after_at, after_id, after_number))
        ORDER BY c.kept_at DESC, c.id DESC, c.number DESC LIMIT least(most, 1000);
END $f$;

-- This person's copies of a message that wait.
CREATE OR REPLACE FUNCTION web_numbers(who text, wanted text) RETURNS integer[] LANGUAGE sql STABLE AS $f$
    SELECT coalesce(array_agg(c.number), '{}') FROM quarantine_copy c WHERE c.id = wanted AND c.recipient = lower(who) AND c.state = 'waiting'
$f$;

-- What recipients may release themselves. A reason that is new is an operator's to decide until it stands here.
CREATE OR REPLACE FUNCTION web_may_release(a_reason text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $f$
    SELECT a_reason IN ('spam', 'blocklist')
$f$;

-- Who is known to have written a message, for personal lists, which go by the author in From: of several, or without one, or where that is no UTF-8, the
-- envelope's sender.
CREATE OR REPLACE FUNCTION web_author(wanted text) RETURNS text LANGUAGE plpgsql STABLE AS $f$
DECLARE
    found text[] := '{}';
BEGIN
    BEGIN
        found := ARRAY(SELECT lower(m[1]) FROM regexp_matches(
            regexp_replace(convert_from(quarantine_field(wanted, 'From'), 'UTF8'), '"(?:[^"\\]|\\.)*"|\([^()]*\)', '', 'g'),
            '([^@[:space:]<>(),;:"\\]+@[^@[:space:]<>(),;:"\\]+)', 'g') AS m);
    EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
        NULL;
    END;
    RETURN CASE WHEN cardinality(found) = 1 AND length(found[1]) <= 320 THEN found[1]
        ELSE coalesce((SELECT lower(q.sender) FROM quarantine_message q WHERE q.id = wanted), '') END;
END $f$;

-- What there is to see of one message; author: whom a personal list would name; no row: this person has no copy of it. releasable: web_quarantine_release() would not refuse it.
CREATE OR REPLACE FUNCTION web_quarantine_show(who text, wanted text)
RETURNS TABLE (kept_at timestamptz, sender text, subject bytea, reason text, score integer, symbols text, size bigint, releasable boolean, author text)
LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN QUERY SELECT c.kept_at, q.sender, q.subject, c.reason, c.score, c.symbols, q.size, web_may_release(c.reason), web_author(c.id)
        FROM quarantine_copy c JOIN quarantine_message q ON q.id = c.id
        WHERE c.id = wanted AND c.recipient = lower(who) AND c.state = 'waiting' ORDER BY c.number LIMIT 1;
END $f$;

-- Its body from start to the end of the chunk that has it; no row: none there.
CREATE OR REPLACE FUNCTION web_quarantine_body(who text, wanted text, start bigint) RETURNS TABLE (size bigint, data bytea)
LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN QUERY SELECT q.size, CASE WHEN b.position = start THEN b.data ELSE substr(b.data, (start - b.position)::integer + 1) END
        FROM quarantine_message q, LATERAL (SELECT v.position, v.data FROM spool_body v WHERE v.id = q.id AND v.position <= start ORDER BY v.position DESC LIMIT 1) AS b
        WHERE q.id = wanted AND web_numbers(who, wanted) <> '{}' AND b.position + octet_length(b.data) > start;
END $f$;

-- Teaches the spam engine that it is none. 'released', 'refused' (it is not spam, but a virus or the like: an operator's to decide), or 'gone': there is no copy that waits.
CREATE OR REPLACE FUNCTION web_quarantine_release(who text, wanted text) RETURNS text LANGUAGE plpgsql AS $f$
DECLARE
    numbers integer[] := web_numbers(who, wanted);
    mine text := 'recipient ' || lower(who);
BEGIN
    IF numbers = '{}' THEN
        RETURN 'gone';
    ELSIF EXISTS (SELECT FROM quarantine_copy c WHERE c.id = wanted AND c.number = ANY (numbers) AND NOT web_may_release(c.reason)) THEN
        RETURN 'refused';
    END IF;
    PERFORM learn_from_quarantine(wanted, numbers[1], who, 'ham') FROM quarantine_copy c WHERE c.id = wanted AND c.number = numbers[1] AND c.reason = 'spam';
    IF quarantine_release(wanted, numbers, mine, '', false) = 0 THEN
        RETURN 'gone';
    END IF;
    INSERT INTO audit_action (who, action, target, detail) VALUES (mine, 'quarantine release', wanted, '{}');
    RETURN 'released';
END $f$;

-- 'deleted' or 'gone'.
CREATE OR REPLACE FUNCTION web_quarantine_delete(who text, wanted text) RETURNS text LANGUAGE plpgsql AS $f$
DECLARE
    mine text := 'recipient ' || lower(who);
BEGIN
    IF quarantine_end(wanted, web_numbers(who, wanted), 'deleted', mine, '') = 0 THEN
        RETURN 'gone';
    END IF;
    INSERT INTO audit_action (who, action, target, detail) VALUES (mine, 'quarantine delete', wanted, '{}');
    RETURN 'deleted';
END $f$;

-- Deleted, and the spam engine is taught that it is spam: 'reported', 'deleted' (a virus or the like, of which nothing is learned), or 'gone'.
CREATE OR REPLACE FUNCTION web_quarantine_report(who text, wanted text) RETURNS text LANGUAGE plpgsql AS $f$
DECLARE
    numbers CONSTANT integer[] := web_numbers(who, wanted);
BEGIN
    IF NOT EXISTS (SELECT FROM quarantine_copy c WHERE c.id = wanted AND c.number = ANY (numbers) AND web_may_release(c.reason)) THEN
        RETURN web_quarantine_delete(who, wanted);
    END IF;
    PERFORM learn_from_quarantine(wanted, numbers[1], who, 'spam');
    RETURN CASE web_quarantine_delete(who, wanted) WHEN 'deleted' THEN 'reported' ELSE 'gone' END;
END $f$;

CREATE OR REPLACE FUNCTION web_personal_list(who text) RETURNS TABLE (sender text, kind text, added_at timestamptz)
LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN QUERY SELECT p.sender, p.kind, p.added_at FROM personal_list p WHERE p.recipient = lower(who) ORDER BY p.sender;
END $f$;

-- a_kind: 'safe', 'block', or '' to forget the sender (an address or @DOMAIN). 'done', 'full' (most entries are there), 'gone' (it was not on the list), or
-- 'wrong': that is no sender, or has what no person could see (controls, and marks that change the direction of text).
CREATE OR REPLACE FUNCTION web_personal_set(who text, a_sender text, a_kind text, most integer) RETURNS text
LANGUAGE plpgsql AS $f$
DECLARE
    whose CONSTANT text := lower(who);
    whom CONSTANT text := lower(btrim(a_sender));
BEGIN
    IF whom !~ '^[^@[:space:]]*@[^@[:space:]]+$' OR length(whom) > 320 OR a_kind NOT IN ('safe', 'block', '')
        OR a_kind <> '' AND whom ~ '[\u0001-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]' THEN
        RETURN 'wrong';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('weir personal ' || whose, 0)); -- two at once could pass the limit together
    IF a_kind = '' THEN
        DELETE FROM personal_list p WHERE p.recipient = whose AND p.sender = whom;
        IF NOT FOUND THEN
            RETURN 'gone';
        END IF;
    ELSIF NOT EXISTS (SELECT FROM personal_list p WHERE p.recipient = whose AND p.sender = whom)
        AND (SELECT count(*) FROM personal_list p WHERE p.recipient = whose) >= most THEN
        RETURN 'full';
    ELSE
        INSERT INTO personal_list AS p (recipient, sender, kind) VALUES (whose, whom, a_kind)
            ON CONFLICT (recipient, sender) DO UPDATE SET kind = EXCLUDED.kind, added_at = clock_timestamp();
    END IF;
    INSERT INTO audit_action (who, action, target, detail) VALUES ('recipient ' || whose, 'personal ' || CASE a_kind WHEN '' THEN 'forget' ELSE a_kind END, whom, '{}');
    RETURN 'done';
END $f$;

-- This person's word on a message, of whose author a list is to say so: as web_personal_set(), and 'gone'.
CREATE OR REPLACE FUNCTION web_list_author(who text, wanted text, a_kind text, most integer) RETURNS text LANGUAGE plpgsql AS $f$
BEGIN
    IF web_numbers(who, wanted) = '{}' THEN
        RETURN 'gone';
    END IF;
    RETURN web_personal_set(who, web_author(wanted), a_kind, most);
END $f$;

-- What a person does with a message, by the name of it.
CREATE OR REPLACE FUNCTION web_act(who text, wanted text, act text, most integer) RETURNS text LANGUAGE plpgsql AS $f$
BEGIN
    CASE act
    WHEN 'release' THEN RETURN web_quarantine_release(who, wanted);
    WHEN 'delete' THEN RETURN web_quarantine_delete(who, wanted);
    WHEN 'spam' THEN RETURN web_quarantine_report(who, wanted);
    WHEN 'safe', 'block' THEN RETURN web_list_author(who, wanted, act, most);
    END CASE;
END $f$;

-- What a link's token opens; no row: nothing, be it unknown, over, or its message's that does not wait any more. id '': all that waits for `who`.
CREATE OR REPLACE FUNCTION web_open(hash text) RETURNS TABLE (who text, id text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $f$
BEGIN
    RETURN QUERY SELECT t.recipient, t.id FROM web_token t
        WHERE t.hash = CASE WHEN $1 ~ '^[0-9a-f]{64}$' THEN decode($1, 'hex') END AND t.expires_at > clock_timestamp() AND (t.id = '' OR EXISTS (
            SELECT FROM quarantine_copy c WHERE c.id = t.id AND c.recipient = t.recipient AND c.state = 'waiting'));
END $f$;

-- Whose copies a link opens where it opens this message; wanted '': where it opens all of them. NULL: it does not.
CREATE OR REPLACE FUNCTION web_whose(link text, wanted text) RETURNS text LANGUAGE sql STABLE AS $f$
    SELECT o.who FROM web_open(link) AS o WHERE o.id IN ('', wanted)
$f$;

-- What follows is what was above, of whoever has the link. One that does not open it is answered as where nothing is there. What a caller says that there may be at
-- most (most, waiting) is never taken for more than the keys web_list_entries and web_answers can say.
CREATE OR REPLACE FUNCTION web_link_list(link text, after text, most integer)
RETURNS TABLE (cursor text, id text, number integer, kept_at timestamptz, sender text, subject bytea, reason text, score integer, size bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $f$
BEGIN
    RETURN QUERY SELECT * FROM web_quarantine_list(web_whose(link, ''), after, most);
END $f$;

CREATE OR REPLACE FUNCTION web_link_show(link text, wanted text)
RETURNS TABLE (kept_at timestamptz, sender text, subject bytea, reason text, score integer, symbols text, size bigint, releasable boolean, author text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $f$
BEGIN
    RETURN QUERY SELECT * FROM web_quarantine_show(web_whose(link, wanted), wanted);
END $f$;

CREATE OR REPLACE FUNCTION web_link_body(link text, wanted text, start bigint) RETURNS TABLE (size bigint, data bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $f$
BEGIN
    RETURN QUERY SELECT * FROM web_quarantine_body(web_whose(link, wanted), wanted, start);
END $f$;

-- act: 'release', 'delete', 'spam' (delete, and learn that it is), or to have its author on a list 'safe' or 'block'.
CREATE OR REPLACE FUNCTION web_link_act(link text, wanted text, act text, most integer) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $f$
DECLARE
    who CONSTANT text := web_whose(link, wanted);
BEGIN
    RETURN CASE WHEN who IS NULL THEN 'gone' ELSE web_act(who, wanted, act, least(most, 1000000)) END;
END $f$;

CREATE OR REPLACE FUNCTION web_link_senders(link text) RETURNS TABLE (sender text, kind text, added_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $f$
BEGIN
    RETURN QUERY SELECT * FROM web_personal_list(web_whose(link, ''));
END $f$;

CREATE OR REPLACE FUNCTION web_link_sender(link text, a_sender text, a_kind text, most integer) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $f$
DECLARE
    who CONSTANT text := web_whose(link, '');
BEGIN
    RETURN CASE WHEN who IS NULL THEN 'gone' ELSE web_personal_set(who, a_sender, a_kind, least(most, 1000000)) END;
END $f$;

-- A command that came by mail; hash: of the token in its address, which opens no page, nor a page's this. Its answer goes to whose token it is, whoever sent it. 'unknown': the token opens nothing, and nobody is answered.
-- 'silent': as many answers as three times may wait were asked for within an hour; what a command does is done, but there is no answer to it.
-- attached: a message that came to this person, of which the spam engine is to learn (spam, ham), as bounded as all that one person says; empty: something that is none,
-- so of neither kind of report it is known what was meant, and nothing is done.
DROP FUNCTION IF EXISTS web_mail(text, text, integer, integer);
CREATE OR REPLACE FUNCTION web_mail(hash text, command text, most integer, waiting integer, attached bytea DEFAULT NULL) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $f$
DECLARE
    t record;
    what text := command;
    outcome text := '';
    silent boolean;
    room CONSTANT integer := least(waiting, 10000);
    given CONSTANT bytea := CASE WHEN $1 ~ '^[0-9a-f]{64}$' THEN decode($1, 'hex') END;
BEGIN
    SELECT o.who, o.id INTO t FROM web_token k, web_open(encode(k.hash, 'hex')) AS o WHERE k.mail_hash = given OR k.hash = given AND k.mail_hash IS NULL;
    IF NOT FOUND THEN
        RETURN 'unknown';
    ELSIF (SELECT count(*) FROM (SELECT FROM web_answer a WHERE a.recipient = t.who LIMIT room) AS l) >= room THEN
        RETURN 'busy';
    END IF;
    silent := (SELECT count(*) FROM (SELECT FROM web_answered a WHERE a.recipient = t.who AND a.at > clock_timestamp() - interval '1 hour' LIMIT 3 * room) AS l) >= 3 * room;
    CASE
    WHEN what IN ('spam', 'ham') AND (attached IS NOT NULL OR what = 'ham' OR t.id = '') THEN
        outcome := CASE WHEN attached IS NULL THEN 'nothing' WHEN attached = '' THEN 'unusable' ELSE (SELECT p.became FROM learn_put(what, t.who, true, 'mail', '', jsonb_build_object('recipient', t.who), attached) AS p) END;
        t.id := '';
    WHEN t.id = '' OR what NOT IN ('release', 'delete', 'spam', 'safe', 'block') THEN what := 'list';
    ELSE outcome := web_act(t.who, t.id, what, least(most, 1000000));
    END CASE;
    IF silent THEN
        RETURN 'silent';
    END IF;
    INSERT INTO web_answered (recipient) VALUES (t.who);
    INSERT INTO web_answer (recipient, command, id, outcome) VALUES (t.who, what,
        CASE WHEN t.id <> '' THEN t.id ELSE coalesce((SELECT c.id FROM quarantine_copy c WHERE c.recipient = t.who ORDER BY c.kept_at DESC LIMIT 1), '') END, outcome);
    RETURN what || ' ' || outcome;
END $f$;

CREATE OR REPLACE FUNCTION web_identity() RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $f$
BEGIN
    RETURN cluster_identity();
END $f$;

-- Nobody but coordinators may make anything in this schema: of two functions that a call fits, the one that fits better is called, and web_* would call it as its owner. A schema "public" of
-- PostgreSQL 14 or older lets everybody, coordinators only as one of these. Returns who still may ('': nobody).
CREATE OR REPLACE FUNCTION web_close_schema(role_name text) RETURNS text LANGUAGE plpgsql AS $f$
DECLARE
    schema CONSTANT text := current_schema();
    owner CONSTANT text := (SELECT p.proowner::regrole FROM pg_proc p WHERE p.proname = 'web_close_schema' AND p.pronamespace = quote_ident(schema)::regnamespace);
    may_close CONSTANT boolean := (SELECT pg_has_role(n.nspowner, 'USAGE') FROM pg_namespace n WHERE n.nspname = schema);
BEGIN
    IF may_close AND has_schema_privilege('public', schema, 'CREATE') THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %I TO %s', schema, owner);
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', schema);
    END IF;
    IF may_close AND role_name <> '' AND has_schema_privilege(role_name, schema, 'CREATE') THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM %I', schema, role_name);
    END IF;
    RETURN CASE WHEN has_schema_privilege('public', schema, 'CREATE') THEN 'everybody' WHEN role_name <> '' AND has_schema_privilege(role_name, schema, 'CREATE') THEN role_name ELSE '' END;
END $f$;

-- Lets a role do this and nothing else of what is in this schema, whatever it was granted before; operators make the role and call this once. Everybody else may do none of it.
CREATE OR REPLACE FUNCTION web_grant(role_name text) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    schema CONSTANT regnamespace := current_schema()::regnamespace;
    makers CONSTANT text := web_close_schema(role_name);
    one record;
BEGIN
    IF makers <> '' THEN
        RAISE WARNING '% may make functions in the schema %, which run with the rights of its owner: let who owns it say REVOKE CREATE ON SCHEMA % FROM PUBLIC, %', makers, schema, schema, quote_ident(role_name);
    END IF;
    FOR one IN SELECT format('ROUTINE %s', p.oid::regprocedure) AS name FROM pg_proc p, aclexplode(p.proacl) AS a
            WHERE p.pronamespace = schema AND a.grantee = to_regrole(quote_ident(role_name)) AND p.proowner <> a.grantee
        UNION SELECT format('TABLE %s', c.oid::regclass) FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(c.relacl || t.attacl) AS a
            WHERE c.relnamespace = schema AND a.grantee = to_regrole(quote_ident(role_name)) AND c.relowner <> a.grantee
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %I', one.name, role_name);
    END LOOP;
    FOR one IN SELECT p.oid::regprocedure AS name FROM pg_proc p WHERE p.prosecdef AND p.proname LIKE 'web\_%' AND p.pronamespace = schema LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', one.name, role_name);
    END LOOP;
    FOR one IN SELECT p.proowner::regrole AS owner FROM pg_proc p WHERE p.proname = 'web_grant' AND p.pronamespace = schema AND pg_has_role(role_name, p.proowner, 'MEMBER') LOOP
        RAISE WARNING '% may do all that % may, as its member or a superuser: weir-web is to have a role that is neither', role_name, one.owner;
    END LOOP;
    -- PostgreSQL lets everybody take advisory locks and make large objects. Keys of ours are no secret (pg_locks shows them), and who holds them stops mail.
    FOR one IN SELECT p.oid::regprocedure AS name, w.proowner::regrole AS owner
        FROM pg_proc p JOIN pg_proc w ON w.proname = 'web_grant' AND w.pronamespace = current_schema()::regnamespace
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND (p.proname ~ '^pg_(try_)?advisory_' OR p.proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import'))
            AND (has_function_privilege('public', p.oid, 'EXECUTE') OR NOT has_function_privilege(w.proowner, p.oid, 'EXECUTE')) ORDER BY 1
    LOOP
        IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
            RAISE WARNING '% may take locks that coordinators wait for, as everybody may in this database: let a superuser say SELECT web_grant(''%'')', role_name, role_name;
            EXIT;
        END IF;
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', one.name, one.owner);
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', one.name);
    END LOOP;
END $f$;

REVOKE EXECUTE ON FUNCTION web_quarantine_list, web_quarantine_show, web_quarantine_body, web_quarantine_release, web_quarantine_delete, web_quarantine_report, web_personal_list, web_personal_set,
    web_list_author, web_act, web_whose, web_close_schema, web_grant, web_open, web_link_list, web_link_show, web_link_body, web_link_act, web_link_senders, web_link_sender, web_mail,
    web_identity FROM PUBLIC;

-- Who could do what was here before may do what is new, and nothing else.
DO $do$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT DISTINCT r.rolname FROM pg_proc p, aclexplode(p.proacl) AS a JOIN pg_roles r ON r.oid = a.grantee
        WHERE p.proname IN ('web_quarantine_list', 'web_open') AND p.pronamespace = current_schema()::regnamespace AND a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner
    LOOP
        PERFORM web_grant(one.rolname);
    END LOOP;
END $do$;

-- What runs as the owner finds nothing that its caller made. Where a search_path does not name pg_temp, tables are looked for there first, and a database lets
-- everybody make some. FROM CURRENT above has no better one.
DO $do$
DECLARE
    one record;
BEGIN
    IF web_close_schema('') <> '' THEN
        RAISE WARNING 'everybody may make functions in the schema %, and weir-web with them be its owner: let who owns it say REVOKE CREATE ON SCHEMA % FROM PUBLIC', current_schema(), quote_ident(current_schema());
    END IF;
    FOR one IN SELECT p.oid::regprocedure AS name FROM pg_proc p WHERE p.prosecdef AND p.pronamespace = current_schema()::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', one.name, current_schema());
    END LOOP;
    IF has_database_privilege('public', current_database(), 'TEMPORARY')
        AND (SELECT pg_has_role(d.datdba, 'USAGE') FROM pg_database d WHERE d.datname = current_database()) THEN
        EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    END IF;
END $do$;
