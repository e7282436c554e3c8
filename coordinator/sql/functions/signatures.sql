-- functions/signatures.sql - sets of virus signatures: stored, and brought to the scanners one tries them, then the others
--
-- The leader calls signature_step() every few seconds; all it knows is in rows, so the next leader goes on where one ended. Whatever changes the course of a
-- set holds signature_control's row.

-- --- storing ---

-- Begins files, or goes on: how many chunks of each are there. Those that are whole are left out.
CREATE OR REPLACE FUNCTION signature_missing(hashes text[], sizes bigint[], times bigint[]) RETURNS TABLE (file text, chunks bigint) LANGUAGE sql AS $f$
    INSERT INTO signature_file AS f (hash, size, made_at)
        SELECT DISTINCT ON (h) h, s, to_timestamp(t / 1000.0) FROM unnest(hashes, sizes, times) AS u(h, s, t) ORDER BY h
        ON CONFLICT (hash) DO UPDATE SET touched_at = clock_timestamp();
    SELECT f.hash, count(c.position) FROM signature_file f LEFT JOIN signature_chunk c ON c.hash = f.hash
        WHERE f.hash = ANY (hashes) GROUP BY f.hash, f.size HAVING coalesce(sum(octet_length(c.data)), 0) < f.size
$f$;

CREATE OR REPLACE FUNCTION signature_put(file text, place integer, bytes bytea) RETURNS void LANGUAGE sql AS $f$
    INSERT INTO signature_chunk (hash, position, data) VALUES (file, place, bytes) ON CONFLICT DO NOTHING
$f$;

-- main.cvd and main.cld are one and the same thing, the latter what an incremental update made of it.
CREATE OR REPLACE FUNCTION signature_source(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $f$
    SELECT regexp_replace(name, '\.(cvd|cld)$', '')
$f$;

-- Makes a set of files that are whole: new, known (nothing is to be done), again (it was used before, and is to be used again), failed (it failed before, and
-- is not tried again), incomplete, stale. doubts: names whose mirror failed. What a coordinator has of them may be of when it led last, or missing if it
-- never did: a set with older ones than the newest set's, or without, is stale, and not made.
CREATE OR REPLACE FUNCTION signature_add(who text, wanted text, names text[], hashes text[], doubts text[] DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $f$
DECLARE
    s record;
BEGIN
    PERFORM FROM signature_control FOR UPDATE;
    IF EXISTS (SELECT FROM unnest(hashes) AS h LEFT JOIN signature_file f ON f.hash = h
               WHERE f.hash IS NULL OR f.size <> (SELECT coalesce(sum(octet_length(c.data)), 0) FROM signature_chunk c WHERE c.hash = h)) THEN
        RETURN 'incomplete';
    END IF;
    SELECT * INTO s FROM signature_set WHERE id = wanted;
    IF s.state = 'failed' THEN
        RETURN 'failed';
    ELSIF s.id IS NOT NULL AND s.state <> 'retired' THEN
        RETURN 'known';
    ELSIF EXISTS (SELECT FROM signature_set_file l JOIN signature_file f USING (hash)
            WHERE l.set = signature_newest()
                AND signature_source(l.name) IN (SELECT signature_source(d) FROM unnest(doubts) AS d)
                AND NOT EXISTS (SELECT FROM unnest(names, hashes) AS u(n, h) JOIN signature_file m ON m.hash = u.h
                    WHERE signature_source(u.n) = signature_source(l.name) AND m.made_at >= f.made_at)) THEN
        RETURN 'stale';
    ELSIF s.id IS NOT NULL THEN
        -- Its mirror went back to it: as any other, it waits for its turn.
        DELETE FROM signature_set WHERE id = wanted;
        INSERT INTO signature_set (id, made_at, made_by, passed_at) VALUES (wanted, s.made_at, s.made_by, s.passed_at);
    ELSE
        INSERT INTO signature_set (id, made_by) VALUES (wanted, who);
    END IF;
    INSERT INTO signature_set_file (set, name, hash) SELECT wanted, n, h FROM unnest(names, hashes) AS u(n, h);
    RETURN CASE WHEN s.id IS NULL THEN 'new' ELSE 'again' END;
END $f$;

-- --- what scanners ask ---

CREATE OR REPLACE FUNCTION signature_list(wanted text) RETURNS TABLE (name text, hash text, size bigint, time_ms bigint) LANGUAGE sql STABLE AS $f$
    SELECT s.name, f.hash, f.size, (extract(epoch FROM f.made_at) * 1000)::bigint
    FROM signature_set_file s JOIN signature_file f USING (hash) WHERE s.set = wanted ORDER BY s.name
$f$;

-- The set that was made last, of those that have not failed.
CREATE OR REPLACE FUNCTION signature_newest() RETURNS text LANGUAGE sql STABLE AS $f$
    SELECT id FROM signature_set WHERE state <> 'failed' ORDER BY number DESC LIMIT 1
$f$;

CREATE OR REPLACE FUNCTION signature_fetch(wanted text, place integer) RETURNS TABLE (size bigint, data bytea) LANGUAGE sql STABLE AS $f$
    SELECT f.size, c.data FROM signature_file f JOIN signature_chunk c USING (hash) WHERE f.hash = wanted AND c.position = place
    UNION ALL SELECT m.size, c.data FROM learn_model m JOIN learn_model_chunk c USING (hash) WHERE m.hash = wanted AND c.position = place
    LIMIT 1
$f$;

-- --- looking at the mirrors ---

-- Whether the leader, who has no look under way, is to look now: the number to answer with, or NULL. One that ended in the middle is done again.
CREATE OR REPLACE FUNCTION signature_look(who text, every interval) RETURNS bigint LANGUAGE sql AS $f$
    UPDATE signature_control SET started_at = clock_timestamp(), started_by = who
    WHERE wanted > done OR started_at IS NULL OR started_at + every <= clock_timestamp()
        OR (coalesce(done_at, '-infinity') < started_at AND started_at + interval '5 s' < clock_timestamp())
    RETURNING wanted
$f$;

CREATE OR REPLACE FUNCTION signature_looked(number bigint, how text, said text) RETURNS void LANGUAGE sql AS $f$
    UPDATE signature_control SET done = greatest(done, number), done_at = clock_timestamp(), result = how, words = said,
        success_at = CASE WHEN how = 'ok' THEN clock_timestamp() ELSE success_at END
$f$;

-- --- bringing a set to the scanners ---

-- Scanners that follow, and can be heard. failed: what they say is of the set they were last told to take. since: from when on its time to load it is
-- counted: a database that was away, or a cluster without a leader, is not the scanner's fault.
CREATE OR REPLACE FUNCTION signature_scanners(silence interval)
RETURNS TABLE (node text, serves boolean, loaded text, target text, failed boolean, why text, since timestamptz, in_flight bigint, credits numeric, boot bigint)
LANGUAGE sql STABLE AS $f$
    SELECT n.name, w.state = 'active' AND NOT n.drain, w.signature_state->>'set', n.signature_set,
        (w.signature_state->>'failed')::boolean AND (w.signature_state->>'number')::bigint = n.signature_number, w.signature_state->>'why',
        greatest(n.signature_since, (SELECT steps_since FROM signature_control)), w.in_flight, coalesce((SELECT (e->>'v')::numeric FROM node_metrics m, jsonb_array_elements(m.metrics) AS e
            WHERE (m.node, m.worker, m.boot) = (w.node, w.worker, w.boot) AND e->>'n' = 'weir_scanner_credits' LIMIT 1), 0),
        w.boot
    FROM node n JOIN node_worker w ON w.node = n.name
    WHERE n.role = 'scanner' AND NOT n.lost AND w.worker = 0 AND w.signature_state ? 'set' AND w.seen_at > clock_timestamp() - silence
        AND EXISTS (SELECT FROM node_known k WHERE k.name = n.name)
$f$;

-- Those that serve, and load a set: turns of housekeeping count them as in change.
CREATE OR REPLACE FUNCTION signature_changing(silence interval, patience interval) RETURNS TABLE (node text) LANGUAGE sql STABLE AS $f$
    SELECT s.node FROM signature_scanners(silence) s
        WHERE s.serves AND s.target <> '' AND s.loaded <> s.target AND NOT coalesce(s.failed, false) AND s.since + patience > clock_timestamp()
$f$;

-- Whether a scanner that could load a set now is to wait for one that has its turn (functions/turns.sql). The next turn then waits for it.
CREATE OR REPLACE FUNCTION signature_waits(silence interval, patience interval) RETURNS boolean LANGUAGE plpgsql AS $f$
BEGIN
    IF NOT EXISTS (SELECT FROM turn_scanners(silence, patience) t WHERE t.changing) THEN
        RETURN false;
    END IF;
    UPDATE signature_control SET turn_wanted_at = clock_timestamp();
    RETURN true;
END $f$;

CREATE OR REPLACE FUNCTION signature_tell(target text, wanted text) RETURNS void LANGUAGE sql AS $f$
    UPDATE node SET signature_set = wanted, signature_number = signature_number + 1, signature_since = clock_timestamp()
        WHERE name = target AND signature_set <> wanted
$f$;

CREATE OR REPLACE FUNCTION signature_state_set(wanted text, new_state text, words text) RETURNS void LANGUAGE sql AS $f$
    UPDATE signature_set SET state = new_state, why = words, changed_at = clock_timestamp(), canary = CASE WHEN new_state = 'canary' THEN canary END,
        canary_loaded_at = NULL, canary_ends = CASE WHEN state = 'failed' THEN 0 ELSE canary_ends END, passed_at = CASE new_state WHEN 'rolling' THEN coalesce(passed_at, clock_timestamp()) WHEN 'failed' THEN NULL ELSE passed_at END
        WHERE id = wanted
$f$;

-- Who has not taken it yet is told to stay with, or go back to, the current set at once; who has goes back in turn.
CREATE OR REPLACE FUNCTION signature_fail(wanted text, words text) RETURNS void LANGUAGE sql AS $f$
    SELECT signature_state_set(wanted, 'failed', words);
    SELECT signature_tell(n.name, coalesce((SELECT id FROM signature_set WHERE state = 'current'), '')) FROM node n
        WHERE n.signature_set = wanted AND NOT EXISTS (SELECT FROM node_worker w WHERE w.node = n.name AND w.signature_state->>'set' = wanted)
$f$;

-- Scanners that take mail with their old generation while they load this set beside it.
CREATE OR REPLACE FUNCTION signature_loading(wanted text, except_for text, silence interval, patience interval) RETURNS TABLE (node text, in_flight bigint)
LANGUAGE sql STABLE AS $f$
    SELECT s.node, s.in_flight FROM signature_scanners(silence) s WHERE s.node IS DISTINCT FROM except_for AND s.serves AND s.target = wanted AND s.loaded <> wanted
        AND NOT coalesce(s.failed, false) AND s.since + patience > clock_timestamp()
$f$;

-- Who is to load it next; NULL: nobody can now. All that load go on scanning, but it costs them; so the free slots of those that do not must hold what those that
-- do have at work, and the next one. The only one there is has nobody to wait for.
CREATE OR REPLACE FUNCTION signature_next(wanted text, except_for text, silence interval, patience interval, loads bigint) RETURNS text LANGUAGE sql STABLE AS $f$
    WITH s AS MATERIALIZED (SELECT * FROM signature_scanners(silence)),
    l AS MATERIALIZED (SELECT * FROM signature_loading(wanted, except_for, silence, patience)),
    sums AS (SELECT count(*) AS loading, coalesce(sum(in_flight), 0) AS at_work FROM l)
    SELECT s.node FROM s, sums WHERE sums.loading < loads AND s.node IS DISTINCT FROM except_for AND s.target <> wanted
        AND (SELECT CASE WHEN count(*) = 0 THEN sums.loading = 0 ELSE sum(o.credits) >= sums.at_work + s.in_flight END
            FROM s AS o WHERE o.node <> s.node AND o.serves AND o.node NOT IN (SELECT node FROM l))
        ORDER BY length(s.node), s.node LIMIT 1
$f$;

-- Takes a set further. except_for: who tries another one, or NULL. At most `loads` are in change, and only while the others could do their work (signature_next()), and
-- none has its turn of housekeeping; one that serves nobody has nothing to wait for. true: every scanner that can be heard has it, or has said that it cannot.
CREATE OR REPLACE FUNCTION signature_spread(wanted text, except_for text, silence interval, patience interval, loads bigint) RETURNS boolean LANGUAGE plpgsql AS $f$
DECLARE
    next text;
BEGIN
    PERFORM signature_tell(s.node, wanted) FROM signature_scanners(silence) s
        WHERE s.node IS DISTINCT FROM except_for AND s.target <> wanted AND (NOT s.serves OR s.loaded = wanted);
    LOOP
        next := signature_next(wanted, except_for, silence, patience, loads);
        EXIT WHEN next IS NULL OR signature_waits(silence, patience);
        PERFORM signature_tell(next, wanted);
    END LOOP;
    RETURN NOT EXISTS (SELECT FROM signature_scanners(silence) s WHERE s.node IS DISTINCT FROM except_for
        AND (s.target <> wanted OR (s.loaded <> wanted AND NOT coalesce(s.failed, false) AND s.since + patience > clock_timestamp())));
END $f$;

-- The canary ended, or is away: maybe by the set. Counted for all canaries together, so that no set goes from one to the next and ends them all; true: it has
-- failed by that. One that was told to end, and did, ended by no set.
CREATE OR REPLACE FUNCTION signature_canary_ended(t signature_set, ends_most integer, how text) RETURNS boolean LANGUAGE plpgsql AS $f$
DECLARE
    ends integer := t.canary_ends + 1;
BEGIN
    IF EXISTS (SELECT FROM node_process p WHERE p.node = t.canary AND p.worker = 0 AND p.boot = t.canary_boot AND p.state IN ('draining', 'drained')) THEN
        RETURN false;
    END IF;
    UPDATE signature_set SET canary_ends = ends WHERE id = t.id;
    IF ends >= ends_most THEN
        PERFORM signature_fail(t.id, format('%s %s with it%s', t.canary, how, CASE WHEN ends > 1 THEN format(', after %s that did', ends - 1) ELSE '' END));
    END IF;
    RETURN ends >= ends_most;
END $f$;

-- The canary's turn: chosen, loaded, worked with for a while. Returns what is to be logged, or NULL.
CREATE OR REPLACE FUNCTION signature_canary(t signature_set, silence interval, trial interval, patience interval, ends_most integer) RETURNS text LANGUAGE plpgsql AS $f$
DECLARE
    c record;
    chosen record;
BEGIN
    SELECT * INTO c FROM signature_scanners(silence) AS s WHERE s.node = t.canary;
    IF NOT FOUND THEN
        IF t.canary IS NOT NULL AND (SELECT steps_since + silence > clock_timestamp() FROM signature_control) THEN
            RETURN NULL; -- nobody could be heard until now
        END IF;
        -- None yet, or it went: another one, which serves if one does. One that is alone comes back, or not.
        SELECT s.node, s.boot INTO chosen FROM signature_scanners(silence) s
            WHERE NOT s.serves OR (SELECT count(*) = 0 OR sum(o.credits) >= s.in_flight FROM signature_scanners(silence) o WHERE o.node <> s.node AND o.serves)
            ORDER BY s.serves DESC, length(s.node), s.node LIMIT 1;
        IF NOT FOUND OR signature_waits(silence, patience) THEN
            RETURN NULL;
        END IF;
        IF t.canary IS NOT NULL THEN
            PERFORM signature_tell(t.canary, coalesce((SELECT id FROM signature_set WHERE state = 'current'), ''));
            IF signature_canary_ended(t, ends_most, 'went away') THEN
                RETURN format('set %s is refused: %s went away with it', left(t.id, 12), t.canary);
            END IF;
        END IF;
        UPDATE signature_set SET canary = chosen.node, canary_boot = chosen.boot, canary_loaded_at = NULL WHERE id = t.id;
        PERFORM signature_tell(chosen.node, t.id);
        RETURN format('set %s: %s tries it', left(t.id, 12), chosen.node);
    ELSIF c.failed THEN
        PERFORM signature_fail(t.id, format('%s: %s', t.canary, c.why));
        RETURN format('set %s is refused by %s: %s', left(t.id, 12), t.canary, c.why);
    ELSIF c.boot <> t.canary_boot THEN
        -- The set may have ended it, or somebody has: the trial begins again.
        IF signature_canary_ended(t, ends_most, 'ended') THEN
            RETURN format('set %s is refused: %s ended with it', left(t.id, 12), t.canary);
        END IF;
        UPDATE signature_set SET canary_boot = c.boot, canary_loaded_at = NULL WHERE id = t.id;
        UPDATE node SET signature_since = clock_timestamp() WHERE name = t.canary;
        RETURN format('set %s: %s was started again, and tries it once more', left(t.id, 12), t.canary);
    ELSIF c.loaded = t.id AND t.canary_loaded_at IS NULL THEN
        UPDATE signature_set SET canary_loaded_at = clock_timestamp() WHERE id = t.id;
    ELSIF c.loaded = t.id AND t.canary_loaded_at + trial <= clock_timestamp() THEN
        PERFORM signature_state_set(t.id, 'rolling', '');
        RETURN format('set %s: %s works with it, the others follow', left(t.id, 12), t.canary);
    ELSIF c.loaded <> t.id AND c.since + patience <= clock_timestamp() THEN
        PERFORM signature_fail(t.id, format('%s has not loaded it in time: %s', t.canary, coalesce(nullif(c.why, ''), 'it says nothing')));
        RETURN format('set %s is refused: %s has not loaded it in time', left(t.id, 12), t.canary);
    END IF;
    RETURN NULL;
END $f$;

-- One step of the leader. trial: signature_canary_time; patience: signature_load_time; keep: sets that are neither used nor to be used; ends_most:
-- signature_canary_ends; loads: signature_loads. One row: a line for the log or NULL, and whether a set is on its way.
CREATE OR REPLACE FUNCTION signature_step(silence interval, trial interval, patience interval, keep integer, ends_most integer DEFAULT 2, loads bigint DEFAULT 1) RETURNS TABLE (failed boolean, words text, under_way boolean)
LANGUAGE plpgsql AS $f$
DECLARE
    control signature_control;
    t signature_set;
    current_id text;
    refused record;
BEGIN
    UPDATE signature_control SET stepped_at = clock_timestamp(),
        steps_since = CASE WHEN stepped_at + silence + interval '10 s' > clock_timestamp() THEN steps_since ELSE clock_timestamp() END
        RETURNING * INTO control;
    SELECT id INTO current_id FROM signature_set s WHERE s.state = 'current';
    SELECT * INTO t FROM signature_set s WHERE s.state IN ('canary', 'rolling');
    PERFORM signature_state_set(s.id, 'retired', 'a newer one came first') FROM signature_set s
        WHERE s.state = 'new' AND EXISTS (SELECT FROM signature_set o WHERE o.state = 'new' AND o.number > s.number) AND s.id IS DISTINCT FROM control.pinned;
    IF t.id IS NULL THEN
        SELECT * INTO t FROM signature_set s WHERE CASE WHEN control.pinned IS NULL THEN s.state = 'new' ELSE s.id = control.pinned AND s.state IN ('new', 'retired') END
            ORDER BY s.number DESC LIMIT 1;
        IF t.id IS NOT NULL THEN
            PERFORM signature_state_set(t.id, CASE WHEN t.passed_at IS NULL THEN 'canary' ELSE 'rolling' END, '');
            SELECT * INTO t FROM signature_set s WHERE s.id = t.id;
        END IF;
    END IF;
    failed := false;
    IF t.state = 'canary' THEN
        words := signature_canary(t, silence, trial, patience, ends_most);
        SELECT * INTO t FROM signature_set s WHERE s.id = t.id;
        failed := t.state = 'failed';
        IF t.state = 'canary' AND current_id IS NOT NULL THEN -- who came back meanwhile
            PERFORM signature_spread(current_id, t.canary, silence, patience, loads);
        END IF;
    ELSIF t.state = 'rolling' THEN
        SELECT count(*) AS amount, string_agg(s.node || ': ' || s.why, '; ' ORDER BY s.node) AS said INTO refused
            FROM signature_scanners(silence) s WHERE s.failed AND s.target = t.id;
        IF refused.amount > 1 THEN -- one may have a trouble of its own
            PERFORM signature_fail(t.id, refused.said);
            failed := true;
            words := format('set %s is refused by %s scanners: %s', left(t.id, 12), refused.amount, refused.said);
        ELSIF signature_spread(t.id, NULL, silence, patience, loads) AND EXISTS (SELECT FROM signature_scanners(silence) s WHERE s.loaded = t.id) THEN
            PERFORM signature_state_set(current_id, 'retired', '');
            PERFORM signature_state_set(t.id, 'current', '');
            words := format('set %s is current', left(t.id, 12));
        END IF;
    ELSIF current_id IS NOT NULL THEN
        PERFORM signature_spread(current_id, NULL, silence, patience, loads);
    END IF;
    PERFORM signature_tidy(keep);
    under_way := EXISTS (SELECT FROM signature_set s WHERE s.state IN ('canary', 'rolling'));
    RETURN NEXT;
END $f$;

CREATE OR REPLACE FUNCTION signature_tidy(keep integer) RETURNS void LANGUAGE sql AS $f$
    DELETE FROM signature_set s WHERE s.state IN ('retired', 'failed')
        AND (SELECT count(*) FROM signature_set o WHERE o.state IN ('retired', 'failed') AND o.number > s.number) >= keep
        AND NOT EXISTS (SELECT FROM signature_control WHERE pinned = s.id) AND NOT EXISTS (SELECT FROM node WHERE signature_set = s.id);
    DELETE FROM signature_file f WHERE f.touched_at < clock_timestamp() - interval '1 hour'
        AND NOT EXISTS (SELECT FROM signature_set_file s WHERE s.hash = f.hash)
$f$;

-- --- what operators see and do ---

CREATE OR REPLACE FUNCTION admin_signatures_status(silence interval) RETURNS admin_answer LANGUAGE sql STABLE AS $f$
    SELECT 0, NULL::text, json_build_object(
        'look', (SELECT row_to_json(c) FROM (SELECT started_at, started_by, done_at, success_at, result, words, wanted > done OR coalesce(done_at, '-infinity') < started_at
            AS under_way FROM signature_control) AS c),
        'pinned', (SELECT CASE WHEN pinned IS NOT NULL THEN json_build_object('id', pinned, 'by', pinned_by, 'at', pinned_at) END FROM signature_control),
        'sets', coalesce((SELECT json_agg(s ORDER BY s.number DESC) FROM (
            SELECT id, number, state, made_at, made_by, changed_at, passed_at, canary, canary_ends, why,
                (SELECT count(*) FROM signature_set_file f WHERE f.set = x.id) AS files,
                (SELECT sum(f.size) FROM signature_set_file l JOIN signature_file f USING (hash) WHERE l.set = x.id) AS bytes,
                (SELECT max(f.made_at) FROM signature_set_file l JOIN signature_file f USING (hash) WHERE l.set = x.id) AS newest
            FROM signature_set x) AS s), '[]'),
        'scanners', coalesce((SELECT json_agg(s ORDER BY length(s.node), s.node) FROM (
            SELECT w.node, w.state, w.signatures AS version, NOT n.lost AND w.seen_at > clock_timestamp() - silence AS heard, w.signature_state ? 'set' AS follows,
                coalesce(w.signature_state->>'set', '') AS loaded, n.signature_set AS target, coalesce((w.signature_state->>'failed')::boolean, false) AS failed,
                coalesce(w.signature_state->>'why', '') AS why,
                (SELECT round((e->>'v')::numeric) FROM node_metrics m, jsonb_array_elements(m.metrics) AS e
                    WHERE (m.node, m.worker, m.boot) = (w.node, w.worker, w.boot) AND e->>'n' = 'weir_signature_age_seconds' LIMIT 1) AS age_seconds
            FROM node_worker w JOIN node n ON n.name = w.node JOIN node_known k ON k.name = w.node WHERE n.role = 'scanner' AND w.worker = 0) AS s), '[]'))
$f$;

-- The one set whose name begins so; several or none: words.
CREATE OR REPLACE FUNCTION signature_named(prefix text, OUT id text, OUT words text) LANGUAGE plpgsql STABLE AS $f$
DECLARE
    amount bigint;
BEGIN
    SELECT count(*), min(s.id) INTO amount, id FROM signature_set s WHERE starts_with(s.id, lower(prefix)) AND length(prefix) >= 4;
    IF amount <> 1 THEN
        id := NULL;
        words := format('%s sets have a name that begins with "%s"; weirctl signatures status lists them, four digits or more will do', amount, prefix);
    END IF;
END $f$;

CREATE OR REPLACE FUNCTION admin_signatures_update(who text, retry boolean, silence interval) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    again text;
BEGIN
    PERFORM admin_begin();
    PERFORM FROM signature_control FOR UPDATE;
    IF retry THEN
        SELECT id INTO again FROM signature_set WHERE state = 'failed' ORDER BY number DESC LIMIT 1;
        IF NOT FOUND THEN
            RETURN (65, 'no set has failed', NULL)::admin_answer;
        END IF;
        PERFORM signature_state_set(again, 'new', '');
    END IF;
    UPDATE signature_control SET wanted = wanted + 1;
    INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'signatures update', coalesce(again, ''), jsonb_build_object('retry', retry));
    RETURN admin_signatures_status(silence);
END $f$;

-- Back to a set that worked, without its trial; what is left is not taken again by itself. wanted: NULL the one before.
CREATE OR REPLACE FUNCTION admin_signatures_rollback(who text, wanted text, silence interval) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    control signature_control;
    left_one record;
    back record;
    named_id text;
    named_words text;
BEGIN
    PERFORM admin_begin();
    SELECT * INTO control FROM signature_control FOR UPDATE;
    IF control.pinned IS NOT NULL THEN
        RETURN (65, format('set %s is pinned by %s: unpin it first', left(control.pinned, 12), control.pinned_by), NULL)::admin_answer;
    END IF;
    IF wanted IS NOT NULL THEN
        SELECT id, words INTO named_id, named_words FROM signature_named(wanted);
        IF named_id IS NULL THEN
            RETURN (65, named_words, NULL)::admin_answer;
        END IF;
    END IF;
    SELECT * INTO left_one FROM signature_set WHERE state IN ('canary', 'rolling', 'current') ORDER BY state = 'current' LIMIT 1;
    SELECT * INTO back FROM signature_set WHERE id = coalesce(named_id, (SELECT s.id FROM signature_set s
        WHERE s.state = 'current' AND s.id <> left_one.id OR s.state = 'retired' AND s.passed_at IS NOT NULL AND s.number < left_one.number
        ORDER BY s.state = 'current' DESC, s.number DESC LIMIT 1));
    IF back.id IS NULL THEN
        RETURN (65, 'there is no earlier set that worked', NULL)::admin_answer;
    ELSIF back.id = left_one.id OR back.state NOT IN ('current', 'retired') OR back.passed_at IS NULL THEN
        RETURN (65, format('set %s is %s: only one that worked can be gone back to', left(back.id, 12), back.state), NULL)::admin_answer;
    END IF;
    PERFORM signature_fail(s.id, format('rolled back by %s', who)) FROM signature_set s
        WHERE s.state IN ('canary', 'rolling', 'new') OR s.state = 'current' AND s.id <> back.id;
    IF back.state <> 'current' THEN
        PERFORM signature_state_set(back.id, 'rolling', '');
    END IF;
    INSERT INTO audit_action (who, action, target, detail) VALUES (who, 'signatures rollback', back.id, jsonb_build_object('from', left_one.id));
    RETURN admin_signatures_status(silence);
END $f$;

CREATE OR REPLACE FUNCTION admin_signatures_pin(who text, wanted text, silence interval) RETURNS admin_answer LANGUAGE plpgsql AS $f$
DECLARE
    named_id text;
    named_words text;
BEGIN
    PERFORM admin_begin();
    PERFORM FROM signature_control FOR UPDATE;
    IF wanted IS NULL THEN
        UPDATE signature_control SET pinned = NULL, pinned_by = NULL, pinned_at = NULL, wanted = signature_control.wanted + 1;
    ELSE
        SELECT id, words INTO named_id, named_words FROM signature_named(wanted);
        IF named_id IS NULL THEN
            RETURN (65, named_words, NULL)::admin_answer;
        ELSIF EXISTS (SELECT FROM signature_set WHERE id = named_id AND state = 'failed') THEN
            RETURN (65, format('set %s has failed; weirctl signatures update --retry tries it again', left(named_id, 12)), NULL)::admin_answer;
        END IF;
        UPDATE signature_control SET pinned = named_id, pinned_by = who, pinned_at = clock_timestamp();
        PERFORM signature_state_set(id, 'new', '') FROM signature_set WHERE state IN ('canary', 'rolling') AND id <> named_id;
    END IF;
    INSERT INTO audit_action (who, action, target, detail)
        VALUES (who, CASE WHEN wanted IS NULL THEN 'signatures unpin' ELSE 'signatures pin' END, coalesce(named_id, ''), '{}');
    RETURN admin_signatures_status(silence);
END $f$;

-- Series of the cluster as a whole: what http.c calls them, labels, value.
CREATE OR REPLACE FUNCTION signature_gauges() RETURNS TABLE (name text, labels text, value double precision) LANGUAGE sql STABLE AS $f$
    SELECT 'sets', format('state="%s"', state), count(s.id)::double precision
        FROM unnest(ARRAY['new', 'canary', 'rolling', 'current', 'retired', 'failed']) AS state LEFT JOIN signature_set s USING (state) GROUP BY state
    UNION ALL SELECT 'refused', '', coalesce((SELECT (state = 'failed' AND why NOT LIKE 'rolled back by %')::integer FROM signature_set ORDER BY number DESC LIMIT 1), 0)
    UNION ALL SELECT 'canary_ends', '', coalesce((SELECT canary_ends FROM signature_set WHERE state = 'canary'), 0)
    UNION ALL SELECT 'loading', '', count(*) FROM node n JOIN node_worker w ON w.node = n.name AND w.worker = 0
        WHERE n.role = 'scanner' AND NOT n.lost AND n.signature_set <> '' AND w.signature_state->>'set' <> n.signature_set
            AND NOT ((w.signature_state->>'failed')::boolean AND (w.signature_state->>'number')::bigint = n.signature_number)
    UNION ALL SELECT 'pinned', '', (pinned IS NOT NULL)::integer FROM signature_control
    UNION ALL SELECT 'look_failed', '', (result = 'failed')::integer FROM signature_control
    UNION ALL SELECT 'look_at', '', extract(epoch FROM success_at) FROM signature_control WHERE success_at IS NOT NULL
$f$;
