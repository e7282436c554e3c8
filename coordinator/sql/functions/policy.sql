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

-- A new epoch, unless these files are those of the newest.
CREATE OR REPLACE FUNCTION policy_store(requester text, why text, names text[], contents text[]) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    current bigint := coalesce((SELECT max(epoch) FROM policy), 0);
    changes json;
BEGIN
    SELECT json_agg(json_build_object('file', coalesce(n.name, o.name), 'added', lines_without(coalesce(n.content, ''), o.content),
               'removed', lines_without(coalesce(o.content, ''), n.content)) ORDER BY coalesce(n.name, o.name))
        INTO changes
        FROM unnest(names, contents) AS n(name, content)
        FULL JOIN (SELECT name, content FROM policy_file WHERE epoch = current) AS o ON o.name = n.name
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
