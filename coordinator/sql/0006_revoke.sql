-- 0006_revoke.sql - revoking says when it changes nothing, or stops mail

-- target: a name (all its keys) or one key. What needs force: the last operator's key, without which nobody can talk to the cluster; the
-- keys of the last active node of a role, without which no mail flows; a coordinator's key, as that by itself shuts nobody out.
CREATE OR REPLACE FUNCTION admin_keys_revoke(requester text, target text, force boolean) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    wanted text[];
    named text;
    ending record;
BEGIN
    PERFORM admin_begin();
    SELECT array_agg(key) INTO wanted FROM node_key WHERE revoked_at IS NULL AND (name = target OR key = lower(target));
    IF wanted IS NULL THEN
        RETURN (65, format('no valid key belongs to "%s"', target), NULL)::admin_answer;
    END IF;
    IF NOT force AND NOT EXISTS (SELECT FROM node_key WHERE role = 'operator' AND revoked_at IS NULL AND key <> ALL (wanted)) THEN
        RETURN (77, format('%s has the last operator''s key: without it nobody can use weirctl; add --force to revoke it anyway', target),
                NULL)::admin_answer;
    END IF;
    SELECT name INTO named FROM node_key WHERE role = 'coordinator' AND key = ANY (wanted) LIMIT 1;
    IF NOT force AND FOUND THEN
        RETURN (77, format('nodes trust %1$s by public_key of [coordinator "%1$s"] in their configuration: take the section out, or give it '
                'a new key, and restart them; add --force to strike the key off this list, which changes nothing else', named),
                NULL)::admin_answer;
    END IF;
    SELECT n.name, n.role INTO ending FROM node_known n
        WHERE n.role IN ('edge', 'scanner') AND NOT n.drain AND NOT n.lost AND n.state = 'active'
          AND NOT EXISTS (SELECT FROM node_key k WHERE k.name = n.name AND k.role = n.role AND k.revoked_at IS NULL AND k.key <> ALL (wanted))
          AND NOT EXISTS (SELECT FROM node_known o WHERE o.role = n.role AND o.name <> n.name AND NOT o.drain AND NOT o.lost
                          AND o.state = 'active')
        LIMIT 1;
    IF NOT force AND FOUND THEN
        RETURN (77, format('%s is the last active %s: without it no mail flows; add --force to revoke its key anyway', ending.name, ending.role),
                NULL)::admin_answer;
    END IF;
    UPDATE node_key SET revoked_at = now(), revoked_by = requester WHERE key = ANY (wanted);
    INSERT INTO audit_action (who, action, target, detail) VALUES (requester, 'keys revoke', target, jsonb_build_object('keys', wanted));
    RETURN (0, NULL, (SELECT json_agg(k) FROM node_key AS k WHERE key = ANY (wanted)))::admin_answer;
END $f$;
