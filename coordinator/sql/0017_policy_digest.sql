-- 0017_policy_digest.sql - which policy it is, beside its number
--
-- Another database, or a backup that was restored, counts epochs from where it stands and comes to the same number with other files. What says
-- which policy it is, is the digest of its files; the database makes it, so that every coordinator tells the same.

ALTER TABLE policy ADD COLUMN digest text NOT NULL DEFAULT '';

CREATE FUNCTION policy_digest(which bigint) RETURNS text LANGUAGE sql STABLE AS $f$
    SELECT coalesce(encode(sha256(convert_to(string_agg(format(E'%s %s\n%s', name, octet_length(content), content), '' ORDER BY name COLLATE "C"),
        'UTF8')), 'hex'), '') FROM policy_file WHERE epoch = which
$f$;

UPDATE policy SET digest = policy_digest(epoch);

CREATE FUNCTION policy_digest_set() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
    UPDATE policy SET digest = policy_digest(epoch) WHERE epoch IN (SELECT epoch FROM changed);
    RETURN NULL;
END $f$;
CREATE TRIGGER policy_digest_added AFTER INSERT ON policy_file REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION policy_digest_set();
CREATE TRIGGER policy_digest_changed AFTER UPDATE ON policy_file REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION policy_digest_set();

CREATE OR REPLACE FUNCTION cluster_state() RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object('epoch', c.epoch, 'identity', cluster_identity(),
        'policy_epoch', coalesce((SELECT max(epoch) FROM policy), 0),
        'policy_digest', coalesce((SELECT digest FROM policy ORDER BY epoch DESC LIMIT 1), ''),
        'nodes', coalesce((SELECT json_agg(json_build_object('name', name, 'role', role, 'state', state, 'drain', drain,
            'drain_number', drain_number, 'gc', gc, 'lost', lost, 'endpoint', endpoint, 'public_key', public_key) ORDER BY name) FROM node_known), '[]'),
        'keys', coalesce((SELECT json_agg(json_build_object('key', key, 'name', name, 'role', role) ORDER BY name, key)
            FROM node_key WHERE revoked_at IS NULL), '[]'))
    FROM cluster c
$f$;
