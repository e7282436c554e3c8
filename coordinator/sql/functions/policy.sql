-- functions/policy.sql - epochs of the policy and their files

-- The digest of all files of an epoch. The migration that added policy.digest computed it for the epochs of before in the same way.
CREATE OR REPLACE FUNCTION policy_digest(which bigint) RETURNS text LANGUAGE sql STABLE AS $f$
    SELECT coalesce(encode(sha256(convert_to(string_agg(format(E'%s %s\n%s', name, octet_length(content), content), '' ORDER BY name COLLATE "C"),
        'UTF8')), 'hex'), '') FROM policy_file WHERE epoch = which
$f$;

-- Files come after their epoch, in any number of statements: each sets the digest of what is there.
CREATE OR REPLACE FUNCTION policy_digest_set() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
    UPDATE policy SET digest = policy_digest(epoch) WHERE epoch IN (SELECT epoch FROM changed);
    RETURN NULL;
END $f$;

-- Lines that one text has and the other has not, in their order, at most 200.
CREATE OR REPLACE FUNCTION lines_without(one text, other text) RETURNS json LANGUAGE sql IMMUTABLE AS $f$
    SELECT coalesce(json_agg(line ORDER BY number), '[]') FROM (
        SELECT line, number FROM string_to_table(one, E'\n') WITH ORDINALITY AS l(line, number)
        WHERE line <> '' AND line NOT IN (SELECT m FROM string_to_table(coalesce(other, ''), E'\n') AS m WHERE m IS NOT NULL)
        ORDER BY number LIMIT 200) AS d
$f$;

-- Whether a line begins behind so many bytes.
CREATE OR REPLACE FUNCTION begins_line(content bytea, at integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS $f$
    SELECT CASE WHEN at = 0 THEN true ELSE get_byte(content, at - 1) = 10 END
$f$;

-- lines_without() both ways. Most of a large file is as it was: what both texts begin and end with is found by halving, and only the rest taken apart.
CREATE OR REPLACE FUNCTION text_difference(before text, after text, OUT removed json, OUT added json) LANGUAGE plpgsql STABLE SET work_mem = '64MB' AS $f$
DECLARE
    old bytea := convert_to(before, 'UTF8');
    new bytea := convert_to(after, 'UTF8');
    head integer := 0; -- bytes in common, whole lines
    tail integer := 0;
    longest CONSTANT integer := 65536; -- of a line that is looked for byte by byte; where it is longer, all is taken apart
    too_many integer;
    half integer;
    kept text; -- lines of the rest that are in what is in common, too
BEGIN
    too_many := least(length(old), length(new)) + 1;
    WHILE too_many - head > 1 LOOP
        half := (too_many - head) / 2;
        IF substring(old FROM head + 1 FOR half) = substring(new FROM head + 1 FOR half) THEN
            head := head + half;
        ELSE
            too_many := head + half;
        END IF;
    END LOOP;
    FOR step IN 1..longest LOOP
        EXIT WHEN begins_line(old, head);
        head := head - 1;
    END LOOP;
    IF NOT begins_line(old, head) THEN
        head := 0;
    END IF;

    too_many := least(length(old), length(new)) - head + 1;
    WHILE too_many - tail > 1 LOOP
        half := (too_many - tail) / 2;
        IF substring(old FROM length(old) - tail - half + 1 FOR half) = substring(new FROM length(new) - tail - half + 1 FOR half) THEN
            tail := tail + half;
        ELSE
            too_many := tail + half;
        END IF;
    END LOOP;
    FOR step IN 1..longest LOOP
        EXIT WHEN tail = 0 OR (begins_line(old, length(old) - tail) AND begins_line(new, length(new) - tail));
        tail := tail - 1;
    END LOOP;
    IF NOT (begins_line(old, length(old) - tail) AND begins_line(new, length(new) - tail)) THEN
        tail := 0;
    END IF;

    before := convert_from(substring(old FROM head + 1 FOR length(old) - head - tail), 'UTF8');
    after := convert_from(substring(new FROM head + 1 FOR length(new) - head - tail), 'UTF8');
    IF head + tail > 0 THEN
        SELECT string_agg(line, E'\n') INTO kept
            FROM string_to_table(convert_from(substring(old FOR head) || substring(old FROM length(old) - tail + 1), 'UTF8'), E'\n') AS line
            WHERE line IN (SELECT string_to_table(before, E'\n') UNION ALL SELECT string_to_table(after, E'\n'));
    END IF;
    removed := lines_without(before, concat_ws(E'\n', after, kept));
    added := lines_without(after, concat_ws(E'\n', before, kept));
END $f$;

-- A new epoch, unless these files are those of the newest.
CREATE OR REPLACE FUNCTION policy_store(requester text, why text, names text[], contents text[]) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    current bigint := coalesce((SELECT max(epoch) FROM policy), 0);
    changes json;
BEGIN
    SELECT json_agg(json_build_object('file', coalesce(n.name, o.name), 'added', d.added, 'removed', d.removed) ORDER BY coalesce(n.name, o.name))
        INTO changes
        FROM unnest(names, contents) AS n(name, content)
        FULL JOIN (SELECT name, content FROM policy_file WHERE epoch = current) AS o ON o.name = n.name
        CROSS JOIN LATERAL text_difference(coalesce(o.content, ''), coalesce(n.content, '')) AS d
        WHERE n.content IS DISTINCT FROM o.content;
    IF changes IS NOT NULL OR current = 0 THEN
        INSERT INTO policy (epoch, applied_by, comment) VALUES (current + 1, requester, why);
        INSERT INTO policy_file (epoch, name, content) SELECT current + 1, n.name, n.content FROM unnest(names, contents) AS n(name, content);
        INSERT INTO audit_action (who, action, target, detail)
            VALUES (requester, 'policy apply', (current + 1)::text, jsonb_build_object('comment', why));
        current := current + 1;
    END IF;
    RETURN (0, NULL, json_build_object('epoch', current, 'changes', coalesce(changes, '[]')))::admin_answer;
END $f$;

CREATE OR REPLACE FUNCTION admin_policy_apply(requester text, why text, names text[], contents text[]) RETURNS admin_answer
LANGUAGE plpgsql AS $f$
BEGIN
    PERFORM admin_begin();
    RETURN policy_store(requester, why, names, contents);
END $f$;

CREATE OR REPLACE FUNCTION admin_policy_rollback(requester text, wanted bigint) RETURNS admin_answer LANGUAGE plpgsql AS $f$
BEGIN
    PERFORM admin_begin();
    IF NOT EXISTS (SELECT FROM policy WHERE epoch = wanted) THEN
        RETURN (65, format('there is no policy epoch %s; the newest is %s', wanted, coalesce((SELECT max(epoch) FROM policy), 0)),
                NULL)::admin_answer;
    END IF;
    RETURN policy_store(requester, format('back to epoch %s', wanted),
        coalesce((SELECT array_agg(name ORDER BY name) FROM policy_file WHERE epoch = wanted), '{}'),
        coalesce((SELECT array_agg(content ORDER BY name) FROM policy_file WHERE epoch = wanted), '{}'));
END $f$;

-- wanted: NULL for the newest.
CREATE OR REPLACE FUNCTION admin_policy_show(wanted bigint) RETURNS admin_answer LANGUAGE plpgsql STABLE AS $f$
DECLARE
    body json;
BEGIN
    SELECT json_build_object('epoch', p.epoch, 'applied_at', p.applied_at, 'applied_by', p.applied_by, 'comment', p.comment,
        'files', coalesce((SELECT json_agg(json_build_object('name', f.name, 'content', f.content) ORDER BY f.name)
                           FROM policy_file f WHERE f.epoch = p.epoch), '[]'))
        INTO body FROM policy p WHERE p.epoch = coalesce(wanted, (SELECT max(epoch) FROM policy));
    IF body IS NULL THEN
        RETURN (65, CASE WHEN wanted IS NULL THEN 'no policy was applied yet: weirctl policy apply DIR'
                         ELSE format('there is no policy epoch %s', wanted) END, NULL)::admin_answer;
    END IF;
    RETURN (0, NULL, body)::admin_answer;
END $f$;

CREATE OR REPLACE FUNCTION admin_policy_history() RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(h ORDER BY h.epoch DESC) FROM (
        SELECT epoch, applied_at, applied_by, comment FROM policy ORDER BY epoch DESC LIMIT 200) AS h), '[]')
$f$;
