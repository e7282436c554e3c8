-- functions/override.sql - what operators allow against the cluster's judgement: asked for by one, and, with approvals = 2, agreed to by another
--
-- An override has a number, a reason and who wanted it; messages that it let through name it (audit.override, spool_message.override). With approvals = 2 it is
-- `pending` and does nothing until a second operator, by his key's name, approves it; after approval_wait nobody can any more.

-- Of a coordinator's configuration; one of before has none.
CREATE OR REPLACE FUNCTION override_needs_two() RETURNS boolean LANGUAGE sql STABLE AS $f$
    SELECT coalesce(nullif(current_setting('weir.approvals', true), ''), '1') = '2'
$f$;

CREATE OR REPLACE FUNCTION override_json(o override) RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object('id', o.id, 'kind', o.kind, 'subject', o.subject, 'detail', o.detail, 'reason', o.reason, 'owner', o.owner, 'requested_by', o.requested_by,
        'requested_at', o.requested_at, 'pending_until', CASE WHEN o.state = 'pending' THEN o.pending_until END, 'decided_by', o.decided_by, 'decided_at', o.decided_at,
        'expires_at', o.expires_at, 'state', CASE
            WHEN o.state = 'pending' AND o.pending_until <= clock_timestamp() THEN 'lapsed'
            WHEN o.state = 'done' AND o.expires_at <= clock_timestamp() THEN 'expired'
            WHEN o.state = 'done' AND o.kind = 'reputation set' AND NOT EXISTS (SELECT FROM standing AS s WHERE s.by_operator AND s.override = o.id
                AND s.expires_at > clock_timestamp()) THEN 'ended'
            WHEN o.state = 'done' AND o.kind = 'reputation set' THEN 'in force'
            ELSE o.state END)
$f$;

-- The new override's number; it is in force at once where no second operator is needed, else pending. The caller does it, or does nothing.
CREATE OR REPLACE FUNCTION override_ask(by text, a_kind text, a_subject text, a_detail jsonb, why text, whom text, lasts interval) RETURNS override LANGUAGE plpgsql AS $f$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    two CONSTANT boolean := override_needs_two();
    made override;
BEGIN
    INSERT INTO override (kind, subject, detail, reason, owner, span, state, requested_by, requested_at, pending_until, expires_at)
        VALUES (a_kind, a_subject, a_detail, why, whom, lasts, CASE WHEN two THEN 'pending' ELSE 'done' END, by, moment,
            CASE WHEN two THEN moment + coalesce(nullif(current_setting('weir.approval_wait', true), '')::interval, interval '1 day') END,
            CASE WHEN NOT two AND lasts > interval '0' THEN moment + lasts END)
        RETURNING * INTO made;
    IF two THEN
        INSERT INTO audit_action (who, action, target, detail)
            VALUES (by, 'override request', made.id::text, a_detail || jsonb_build_object('kind', a_kind, 'subject', a_subject, 'reason', why, 'owner', whom));
    END IF;
    RETURN made;
END $f$;

CREATE OR REPLACE FUNCTION override_pending_answer(o override) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, json_build_object('pending', o.id, 'kind', o.kind, 'subject', o.subject, 'until', o.pending_until)
$f$;

-- What was asked for is done, in this transaction.
CREATE OR REPLACE FUNCTION override_do(o override, by text) RETURNS admin_answer LANGUAGE plpgsql AS $f$
BEGIN
    IF o.kind = 'reputation set' THEN
        PERFORM standing_set(ARRAY[(o.detail->>'login')::boolean], ARRAY[o.subject], true, ARRAY[o.detail->>'action'], ARRAY[o.expires_at], o.reason, o.owner,
            o.requested_by, o.id);
        INSERT INTO audit_action (who, action, target, detail) VALUES (by, 'reputation set', o.subject, jsonb_strip_nulls(jsonb_build_object('override', o.id,
            'action', o.detail->>'action', 'reason', o.reason, 'owner', o.owner, 'expires_at', o.expires_at, 'requested_by', nullif(o.requested_by, by))));
        RETURN (0, NULL, json_build_object('override', o.id, 'key', o.subject, 'action', o.detail->>'action', 'expires_at', o.expires_at))::admin_answer;
    END IF;
    CASE o.kind
    WHEN 'reputation forget' THEN
        RETURN reputation_forget(by, o.detail->>'kind', o.subject, o.id, o.reason);
    WHEN 'reputation forget-all' THEN
        RETURN admin_reputation_forget_all(by, (o.detail->>'within')::interval, ' '); -- from the start
    WHEN 'outbreak release' THEN
        RETURN outbreak_release(by, decode(o.subject, 'hex'), o.reason, o.id);
    WHEN 'quarantine release' THEN
        RETURN quarantine_act(by, 'release', o.subject, coalesce(o.detail->>'from', ''), coalesce(o.detail->>'to', ''), coalesce(o.detail->>'state', ''),
            coalesce(o.detail->>'older', ''), coalesce(o.detail->>'reason', ''), coalesce(o.detail->>'score', ''), jsonb_build_object('why', o.reason, 'virus', true), o.id);
    WHEN 'keys add' THEN
        RETURN keys_add(o.requested_by, o.subject, o.detail->>'role', o.detail->>'key', o.id, o.reason);
    WHEN 'operator add', 'operator passwd' THEN
        RETURN operator_password(o.requested_by, o.kind, o.subject, '', o.id);
    ELSE
        RETURN outbound_release(by, o.subject, (o.detail->>'deletes')::boolean, o.id);
    END CASE;
END $f$;

CREATE OR REPLACE FUNCTION admin_override_list(everything boolean, most integer) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, coalesce((SELECT json_agg(override_json(l) ORDER BY l.id) FROM (SELECT o.* FROM override AS o
        WHERE everything OR (o.state = 'pending' AND o.pending_until > clock_timestamp()) ORDER BY o.id DESC LIMIT most) AS l), '[]')
$f$;

CREATE OR REPLACE FUNCTION admin_override_decide(by text, wanted bigint, approves boolean) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    o override;
BEGIN
    PERFORM admin_begin();
    SELECT * INTO o FROM override AS v WHERE v.id = wanted FOR UPDATE;
    IF NOT FOUND THEN
        RETURN (65, format('there is no override %s', wanted), NULL)::admin_answer;
    ELSIF o.state <> 'pending' THEN
        RETURN (65, format('override %s is decided: %s, by %s', o.id, CASE o.state WHEN 'done' THEN 'approved' ELSE o.state END, coalesce(o.decided_by, o.requested_by)), NULL)::admin_answer;
    ELSIF o.pending_until <= clock_timestamp() THEN
        RETURN (65, format('override %s was to be approved before %s: ask for it anew', o.id, to_char(o.pending_until, 'YYYY-MM-DD HH24:MI')), NULL)::admin_answer;
    ELSIF approves AND o.requested_by = by THEN
        RETURN (77, format('override %s was asked for by %s: another operator has to approve it', o.id, by), NULL)::admin_answer;
    END IF;
    UPDATE override AS v SET state = CASE WHEN approves THEN 'done' ELSE 'refused' END, decided_by = by, decided_at = clock_timestamp(),
        expires_at = CASE WHEN approves AND v.span > interval '0' THEN clock_timestamp() + v.span END WHERE v.id = o.id RETURNING v.* INTO o;
    INSERT INTO audit_action (who, action, target, detail) VALUES (by, CASE WHEN approves THEN 'override approve' ELSE 'override refuse' END, o.id::text,
        jsonb_build_object('kind', o.kind, 'subject', o.subject, 'reason', o.reason, 'requested_by', o.requested_by));
    IF approves THEN
        RETURN override_do(o, by);
    END IF;
    RETURN (0, NULL, override_json(o))::admin_answer;
END $f$;

-- What operators said of a message's client, or when they let it go, beside its rows of the audit; NULL: nothing.
CREATE OR REPLACE FUNCTION override_said(wanted bigint) RETURNS json LANGUAGE sql STABLE AS $f$
    SELECT json_build_object('id', o.id, 'kind', o.kind, 'subject', o.subject, 'action', o.detail->>'action', 'reason', o.reason, 'requested_by', o.requested_by,
        'approved_by', o.decided_by) FROM override AS o WHERE o.id = wanted
$f$;
