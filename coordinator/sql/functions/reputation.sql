-- functions/reputation.sql - what is counted of clients and accounts, the score that follows, and what edges hear of it
--
-- score = 100 * bad / (bad + good + proof), with bad = 5 * virus + 3 * spam + 2 * abuse + unknown + auth. proof is what it takes to be believed at all: 10, of
-- a prefix and of a registered host 100: more than one bad address reaches before it is refused. All counts halve in reputation_half_life, so a score falls by itself, as proof does not. From reputation_throttle and reputation_reject on (0:
-- never) an address is throttled or refused. An account, a registered host, and a prefix of IPv4, is throttled at most: its neighbours did nothing, so each address has a bucket of
-- its own then. An IPv4 address is counted for its prefix until it is refused itself, and its wrong passwords never are: alone it is not the prefix.
--
-- Locks are taken in this order: rows of reputation by kind and key, the row of standing_change, rows of standing. Who waits for nobody (SKIP LOCKED) needs none.

-- Of a coordinator's configuration; one of before has none, and judges nobody.
CREATE OR REPLACE FUNCTION reputation_setting(name text, otherwise double precision) RETURNS double precision LANGUAGE sql STABLE AS $f$
    SELECT coalesce(nullif(current_setting('weir.reputation_' || name, true), '')::double precision, otherwise)
$f$;

-- What is left of a count. Never so small that multiplying it again is an error.
CREATE OR REPLACE FUNCTION reputation_faded(amount double precision, since timestamptz, moment timestamptz, half_life double precision)
RETURNS double precision LANGUAGE sql IMMUTABLE AS $f$
    SELECT CASE WHEN amount < 1e-6 THEN 0 ELSE amount * power(0.5::double precision, least(greatest(extract(epoch FROM moment - since)::double precision, 0) / half_life, 900)) END
$f$;

CREATE OR REPLACE FUNCTION reputation_proof(kind text) RETURNS double precision LANGUAGE sql IMMUTABLE AS $f$
    SELECT CASE WHEN kind IN ('prefix', 'host') THEN 100::double precision ELSE 10::double precision END
$f$;

CREATE OR REPLACE FUNCTION reputation_bad(r reputation) RETURNS double precision LANGUAGE sql IMMUTABLE AS $f$
    SELECT 5 * r.virus + 3 * r.spam + 2 * r.abuse + r.unknown + r.auth
$f$;

-- As it is at that moment.
CREATE OR REPLACE FUNCTION reputation_now(r reputation, moment timestamptz) RETURNS reputation LANGUAGE plpgsql STABLE AS $f$
DECLARE
    half_life double precision := reputation_setting('half_life', 86400);
    since timestamptz := r.at;
BEGIN
    r.at := greatest(since, moment);
    r.good := reputation_faded(r.good, since, moment, half_life);
    r.virus := reputation_faded(r.virus, since, moment, half_life);
    r.spam := reputation_faded(r.spam, since, moment, half_life);
    r.unknown := reputation_faded(r.unknown, since, moment, half_life);
    r.auth := reputation_faded(r.auth, since, moment, half_life);
    r.abuse := reputation_faded(r.abuse, since, moment, half_life);
    RETURN r;
END $f$;

CREATE OR REPLACE FUNCTION reputation_score(r reputation) RETURNS double precision LANGUAGE sql IMMUTABLE AS $f$
    SELECT 100 * reputation_bad(r) / (reputation_bad(r) + r.good + reputation_proof(r.kind))
$f$;

-- What follows from the counts as they are in r, and for how long if nothing more comes: a minute at least, so that nobody is told and lifted all the time.
CREATE OR REPLACE FUNCTION reputation_verdict(r reputation, OUT action text, OUT lasts interval) LANGUAGE plpgsql STABLE AS $f$
DECLARE
    score double precision := reputation_score(r);
    reject double precision := reputation_setting('reject', 0);
    throttle double precision := reputation_setting('throttle', 0);
    share double precision;
BEGIN
    action := 'allow';
    lasts := interval '0';
    IF reject > 0 AND score >= reject AND (r.kind = 'address' OR r.kind = 'prefix' AND family(r.key::inet) = 6) THEN
        action := 'reject';
        share := reject / (100 - reject);
    ELSIF throttle > 0 AND score >= throttle THEN
        action := 'throttle';
        share := throttle / (100 - throttle);
    ELSE
        RETURN;
    END IF;
    lasts := make_interval(secs => greatest(60, reputation_setting('half_life', 86400)
        * ln((reputation_bad(r) - share * r.good) / (share * reputation_proof(r.kind))) / ln(2::double precision)));
END $f$;

-- What a row of standing by score was counted as.
CREATE OR REPLACE FUNCTION standing_kind(login boolean, key text) RETURNS text LANGUAGE sql IMMUTABLE AS $f$
    SELECT CASE WHEN login THEN 'account' WHEN key LIKE 'host:%' THEN 'host' WHEN position('/' IN key) > 0 THEN 'prefix' ELSE 'address' END
$f$;

-- Tells edges of these, each key once; what has expired then is lifted. Of those that are no operator's word none that is new is told over the limit
-- (reputation_listed); they have the places of those that expired a minute ago, which edges have heard of by now.
CREATE OR REPLACE FUNCTION standing_set(logins boolean[], keys text[], operators boolean, actions text[], until timestamptz[], why text, whom text, says text,
    overrides bigint DEFAULT 0) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    base bigint;
    there bigint;
    put_count bigint;
    added bigint;
    gone bigint;
    highest bigint;
    listed bigint := reputation_setting('listed', 100000);
    moment timestamptz := clock_timestamp();
BEGIN
    -- A number that an edge has heard must not be given again after a crash.
    PERFORM set_config('synchronous_commit', (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'), true);
    UPDATE standing_change SET number = number + cardinality(keys) RETURNING number - cardinality(keys), standings INTO base, there;
    IF NOT operators AND there + cardinality(keys) > listed THEN
        WITH d AS (DELETE FROM standing WHERE ctid = ANY (ARRAY(SELECT ctid FROM standing WHERE expires_at <= moment - interval '1 minute' AND NOT by_operator
            ORDER BY expires_at LIMIT there + cardinality(keys) - listed)) RETURNING number)
        SELECT count(*), max(number) INTO gone, highest FROM d;
        UPDATE standing_change SET standings = standings - gone, forgotten = greatest(forgotten, highest) WHERE gone > 0;
        there := there - gone;
    END IF;
    WITH put AS (
        INSERT INTO standing AS s (login, key, by_operator, action, at, expires_at, number, reason, owner, who, override)
            SELECT w.l, w.k, operators, w.a, moment, w.u, base + w.place, why, whom, says, overrides
            FROM (SELECT u.*, row_number() OVER (ORDER BY u.l, u.k) AS place,
                      sum((NOT EXISTS (SELECT FROM standing AS t WHERE t.login = u.l AND t.key = u.k AND t.by_operator = operators))::integer)
                          OVER (ORDER BY u.l, u.k) AS novel FROM unnest(logins, keys, actions, until) AS u(l, k, a, u)) AS w
            WHERE operators OR there + w.novel <= listed
                OR EXISTS (SELECT FROM standing AS t WHERE t.login = w.l AND t.key = w.k AND t.by_operator = operators)
            ORDER BY w.l, w.k
            ON CONFLICT (login, key, by_operator) DO UPDATE SET action = excluded.action, at = excluded.at, expires_at = excluded.expires_at,
                number = excluded.number, reason = excluded.reason, owner = excluded.owner, who = excluded.who, override = excluded.override
            RETURNING (s.xmax = 0) AS is_new)
    SELECT count(*), count(*) FILTER (WHERE is_new AND NOT operators) INTO put_count, added FROM put;
    UPDATE standing_change SET standings = standings + added, untold = untold + cardinality(keys) - put_count WHERE added > 0 OR put_count < cardinality(keys);
    PERFORM pg_notify('weir_reputation', '');
END $f$;

-- counted: rows as they are now, locked by this transaction. Edges hear of a change of what follows, and where it lasts noticeably longer.
CREATE OR REPLACE FUNCTION reputation_judge(counted reputation[], moment timestamptz) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    logins boolean[];
    keys text[];
    actions text[];
    until timestamptz[];
BEGIN
    SELECT array_agg(j.login ORDER BY j.login, j.key), array_agg(j.key ORDER BY j.login, j.key), array_agg(j.action ORDER BY j.login, j.key),
            array_agg(moment + j.lasts ORDER BY j.login, j.key) INTO logins, keys, actions, until
        FROM (SELECT c.kind = 'account' AS login, c.key, v.action, v.lasts FROM unnest(counted) AS c, LATERAL reputation_verdict(c) AS v) AS j
        LEFT JOIN standing AS s ON s.login = j.login AND s.key = j.key AND NOT s.by_operator AND s.expires_at > moment AND s.action <> 'allow'
        WHERE CASE WHEN j.action = 'allow' THEN s.key IS NOT NULL
            ELSE s.key IS NULL OR s.action <> j.action OR moment + j.lasts > s.expires_at + (s.expires_at - moment) / 10 + interval '1 minute' END;
    IF keys IS NOT NULL THEN
        PERFORM standing_set(logins, keys, false, actions, until, NULL, NULL, NULL);
    END IF;
END $f$;

-- One place of the arrays is one kind and key, none twice.
CREATE OR REPLACE FUNCTION reputation_count(kinds text[], keys text[], goods double precision[], viruses double precision[], spams double precision[],
    unknowns double precision[], auths double precision[], abuses double precision[]) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    moment timestamptz := clock_timestamp();
    half_life double precision := reputation_setting('half_life', 86400);
    counted reputation[];
BEGIN
    WITH c AS (
        INSERT INTO reputation AS r (kind, key, at, good, virus, spam, unknown, auth, abuse)
            SELECT n.kind, n.key, moment, n.good, n.virus, n.spam, n.unknown, n.auth, n.abuse
            FROM unnest(kinds, keys, goods, viruses, spams, unknowns, auths, abuses) AS n(kind, key, good, virus, spam, unknown, auth, abuse)
            ORDER BY n.kind, n.key -- one order for all: no deadlock
            ON CONFLICT (kind, key) DO UPDATE SET at = greatest(r.at, moment),
                good = reputation_faded(r.good, r.at, moment, half_life) + excluded.good,
                virus = reputation_faded(r.virus, r.at, moment, half_life) + excluded.virus,
                spam = reputation_faded(r.spam, r.at, moment, half_life) + excluded.spam,
                unknown = reputation_faded(r.unknown, r.at, moment, half_life) + excluded.unknown,
                auth = reputation_faded(r.auth, r.at, moment, half_life) + excluded.auth,
                abuse = reputation_faded(r.abuse, r.at, moment, half_life) + excluded.abuse
            RETURNING r AS now)
    SELECT array_agg(c.now) INTO counted FROM c;
    -- In a statement of its own: this one sees what those who had the locks before it have told.
    PERFORM reputation_judge(counted, moment);
END $f$;

CREATE OR REPLACE FUNCTION reputation_prefix(address text) RETURNS text LANGUAGE sql IMMUTABLE AS $f$
    SELECT text(network(set_masklen(address::inet, CASE family(address::inet) WHEN 4 THEN 24 ELSE 64 END)))
$f$;

-- Of IPv4, where it is refused already: what more it does is no news of its network.
CREATE OR REPLACE FUNCTION reputation_is_refused(address text) RETURNS boolean LANGUAGE sql STABLE AS $f$
    SELECT family(address::inet) = 4 AND reputation_setting('reject', 0) > 0 AND EXISTS (SELECT FROM reputation AS r WHERE r.kind = 'address' AND r.key = address
        AND reputation_score(reputation_now(r, clock_timestamp())) >= reputation_setting('reject', 0))
$f$;

-- The key of a registered host, as its line of the policy names it; NULL: it is none.
CREATE OR REPLACE FUNCTION host_key(line text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $f$
BEGIN
    RETURN 'host:' || abbrev(network(line::inet)::inet);
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $f$;

-- Rows of the audit that were not there before; `id` is the message's, and behind a space whom it was for. Recipients who got it are good, each once and at most 20 of a message (in one
-- report), as who names one again and again, or hundreds, is no better for it; those who do not exist are each a guess (5.1.1, 5.1.2, 5.1.6, 5.1.10: other
-- codes are about the sender, or, as 5.0.0, about anything); a virus counts once a message. What DNS lists say is spam. Who has logged in is the account, not the address; rows of inside clients come here only where
-- those are registered, and are that host, whichever of its addresses. Sessions that ended for what they did to the protocol (refused:protocol) are abuse. The cluster's own test of its listeners, from where it asks
-- them, is none. Returns how many rows said something.
CREATE OR REPLACE FUNCTION reputation_report(rows judged_mail[]) RETURNS bigint LANGUAGE plpgsql STRICT AS $f$
DECLARE
    total bigint;
    kinds text[];
    keys text[];
    goods double precision[];
    viruses double precision[];
    spams double precision[];
    unknowns double precision[];
    abuses double precision[];
BEGIN
    WITH said AS (
        SELECT split_part(u.id, ' ', 1) AS id, u.id AS copy, u.client, u.login, CASE WHEN u.login = '' THEN u.host ELSE '' END AS host, CASE
                WHEN u.disposition IN ('delivered', 'spooled') THEN 'good'
                WHEN sent_is_virus(u.disposition) THEN 'virus'
                WHEN u.disposition = 'quarantined:spam' THEN 'spam'
                WHEN u.disposition = 'refused:dnsbl' THEN 'spam'
                WHEN u.disposition = 'refused:protocol' THEN 'abuse'
                WHEN u.disposition = 'refused:relay' AND NOT (u.helo = 'weir-relay-test.invalid' AND relay_test_is_from(u.client)) THEN 'abuse'
                WHEN u.disposition LIKE 'refused:%' AND u.reply ~ '^55[0-9] 5\.1\.(1|2|6|10)($|[^0-9])' THEN 'unknown' END AS what
        FROM unnest(rows) AS u
    ), summed AS (
        SELECT client, login, host, sum(amount) AS amount, sum(least(good, 20)) AS good, sum(virus) AS virus, sum(spam) AS spam, sum(unknown) AS unknown, sum(abuse) AS abuse
        FROM (SELECT client, login, host, count(*) AS amount, count(DISTINCT copy) FILTER (WHERE what = 'good') AS good, max((what = 'virus')::integer) AS virus,
                max((what = 'spam')::integer) AS spam, count(*) FILTER (WHERE what = 'unknown') AS unknown, count(*) FILTER (WHERE what = 'abuse') AS abuse
            FROM said WHERE what IS NOT NULL GROUP BY client, login, host, id) AS message GROUP BY client, login, host
    ), named AS (
        SELECT n.kind, n.key, s.* FROM summed AS s, LATERAL (SELECT CASE WHEN s.login = '' AND s.host = '' THEN client_text(s.client) END AS address) AS a,
            LATERAL (VALUES ('account', nullif(s.login, '')), ('host', CASE WHEN s.host <> '' THEN host_key(s.host) END), ('address', a.address), ('prefix', CASE WHEN NOT reputation_is_refused(a.address) THEN reputation_prefix(a.address) END)) AS n(kind, key)
        WHERE n.key IS NOT NULL
    ), grouped AS (
        SELECT kind, key, sum(good) AS good, sum(virus) AS virus, sum(spam) AS spam, sum(unknown) AS unknown, sum(abuse) AS abuse FROM named GROUP BY kind, key)
    SELECT array_agg(kind), array_agg(key), array_agg(good), array_agg(virus), array_agg(spam), array_agg(unknown), array_agg(abuse), (SELECT sum(amount) FROM summed)
        INTO kinds, keys, goods, viruses, spams, unknowns, abuses, total FROM grouped;
    IF keys IS NOT NULL THEN
        PERFORM reputation_count(kinds, keys, goods, viruses, spams, unknowns, array_fill(0::double precision, ARRAY[cardinality(keys)]), abuses);
    END IF;
    RETURN coalesce(total, 0);
END $f$;

-- A wrong password. address: an IP address. Listeners where people log in judge nobody, so it is never refused there: of IPv4 it would speak for all its network.
CREATE OR REPLACE FUNCTION reputation_guess(address text) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    client text := client_text(address);
BEGIN
    IF family(client::inet) = 4 THEN
        PERFORM reputation_count(ARRAY['address'], ARRAY[client], '{0}', '{0}', '{0}', '{0}', '{1}', '{0}');
    ELSIF client IS NOT NULL THEN
        PERFORM reputation_count(ARRAY['address', 'prefix'], ARRAY[client, reputation_prefix(client)], '{0,0}', '{0,0}', '{0,0}', '{0,0}', '{1,1}', '{0,0}');
    END IF;
END $f$;

-- What an edge must be told that has the changes of `from_source` up to `have`: from which number on; 0 and whole: all there is. loading: it is hearing all
-- there is, from before, and needs not hear of what ended meanwhile.
CREATE OR REPLACE FUNCTION standing_source(from_source text, have bigint, loading boolean, OUT source text, OUT since bigint, OUT whole boolean) LANGUAGE sql STABLE AS $f$
    SELECT i, CASE WHEN w THEN 0 ELSE have END, w
    FROM (SELECT cluster_identity() AS i, cluster_identity() <> from_source OR have < c.forgotten AND NOT loading OR have > c.number AS w FROM standing_change AS c) AS s
$f$;

-- In the order of their changes; of those that an edge cannot have, only what still counts.
CREATE OR REPLACE FUNCTION standing_news(since bigint, most integer)
RETURNS TABLE (number bigint, key text, login boolean, by_operator boolean, action text, left_ms bigint, override bigint) LANGUAGE sql STABLE AS $f$
    SELECT s.number, s.key, s.login, s.by_operator, s.action, greatest(ceil(extract(epoch FROM s.expires_at - clock_timestamp()) * 1000), 0)::bigint, s.override
    FROM standing AS s WHERE s.number > since AND (since > 0 OR s.expires_at > clock_timestamp()) ORDER BY s.number LIMIT most
$f$;

-- Those of whom edges were told by their scores are judged anew, as they are now: edges hear what is noticeably otherwise. Of whom nothing is counted any more
-- nothing is known. One whose time is over says nothing any more, and as edges have forgotten it by themselves that is no news.
CREATE OR REPLACE FUNCTION standing_judge(some_logins boolean[], some_keys text[]) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
    moment timestamptz;
    logins boolean[];
    keys text[];
    actions text[];
    until timestamptz[];
BEGIN
    PERFORM FROM reputation AS r JOIN unnest(some_logins, some_keys) AS u(l, k) ON r.kind = standing_kind(u.l, u.k) AND r.key = u.k
        ORDER BY r.kind, r.key FOR UPDATE OF r;
    moment := clock_timestamp();
    SELECT array_agg(j.login), array_agg(j.key), array_agg(j.verdict), array_agg(j.ends) INTO logins, keys, actions, until
        FROM (SELECT s.login, s.key, s.action, s.expires_at, v.action AS verdict, moment + v.lasts AS ends
            FROM unnest(some_logins, some_keys) AS u(l, k) JOIN standing AS s ON s.login = u.l AND s.key = u.k AND NOT s.by_operator
            LEFT JOIN reputation AS r ON r.kind = standing_kind(u.l, u.k) AND r.key = u.k,
            LATERAL reputation_verdict(CASE WHEN r.key IS NULL THEN (standing_kind(u.l, u.k), u.k, moment, 0, 0, 0, 0, 0, 0)::reputation
                ELSE reputation_now(r, moment) END) AS v) AS j
        WHERE CASE WHEN j.verdict = 'allow' THEN j.action <> 'allow' AND j.expires_at > moment
            ELSE j.action <> j.verdict OR j.expires_at <= moment OR greatest(j.ends - j.expires_at, j.expires_at - j.ends) > (j.expires_at - moment) / 10 + interval '1 minute' END;
    IF keys IS NOT NULL THEN
        PERFORM standing_set(logins, keys, false, actions, until, NULL, NULL, NULL);
    END IF;
    PERFORM FROM standing_change FOR UPDATE;
    UPDATE standing AS s SET action = 'allow' FROM unnest(some_logins, some_keys) AS u(l, k)
        WHERE s.login = u.l AND s.key = u.k AND NOT s.by_operator AND s.expires_at <= moment;
END $f$;

-- The leader's turn with those whom edges were told of: judges anew whose time is over and, after thresholds or the half-life changed, everybody; forgets what
-- has expired for a day: at most so many of each. more: there are more to be judged. untold: how many were over reputation_listed since the last turn.
CREATE OR REPLACE FUNCTION standing_tidy(most integer, OUT more boolean, OUT untold bigint) LANGUAGE plpgsql AS $f$
DECLARE
    moment timestamptz := clock_timestamp();
    rules_now text := concat_ws(' ', reputation_setting('throttle', 0), reputation_setting('reject', 0), reputation_setting('half_life', 86400));
    c standing_change;
    reached bigint;
    logins boolean[];
    keys text[];
    gone bigint;
    operators bigint;
    highest bigint;
BEGIN
    untold := 0;
    more := true;
    SELECT * INTO c FROM standing_change;
    IF c.rules <> rules_now THEN
        UPDATE standing_change SET rules = rules_now, judged = 0, to_judge = number;
        RETURN; -- its row is locked, and those of reputation come before it
    END IF;
    reached := coalesce((SELECT s.number FROM standing AS s WHERE s.number > c.judged AND s.number <= c.to_judge AND NOT s.by_operator AND s.action <> 'allow'
        ORDER BY s.number OFFSET most - 1 LIMIT 1), c.to_judge);
    SELECT array_agg(u.login), array_agg(u.key) INTO logins, keys FROM (
        (SELECT login, key FROM standing WHERE expires_at <= moment AND action <> 'allow' AND NOT by_operator ORDER BY expires_at LIMIT most)
        UNION SELECT login, key FROM standing WHERE number > c.judged AND number <= reached AND NOT by_operator AND action <> 'allow') AS u;
    more := reached < c.to_judge OR cardinality(keys) >= most;
    IF keys IS NOT NULL THEN
        PERFORM standing_judge(logins, keys);
    END IF;
    IF c.untold > 0 OR reached > c.judged OR EXISTS (SELECT FROM standing WHERE expires_at <= moment - interval '1 day') THEN
        SELECT s.untold INTO untold FROM standing_change AS s FOR UPDATE;
        WITH d AS (DELETE FROM standing WHERE ctid = ANY (ARRAY(SELECT ctid FROM standing WHERE expires_at <= moment - interval '1 day'
            ORDER BY expires_at LIMIT most)) RETURNING number, by_operator)
        SELECT count(*), count(*) FILTER (WHERE by_operator), max(number) INTO gone, operators, highest FROM d;
        UPDATE standing_change AS s SET standings = s.standings - gone + operators, forgotten = greatest(s.forgotten, highest), judged = reached, untold = 0;
    END IF;
    more := coalesce(more, false) OR coalesce(gone >= most, false);
END $f$;

-- The leader's turn with what was counted: forgets what has faded and what is over the limit, at most so many of each. It looks at all rows, as the index that would spare
-- that were one more for each report to write: so it runs on a connection that nobody waits for. It waits for nobody's lock, and has
-- none but those of rows that it deletes. A report adds 1 at the least, which takes 3.3 half-lives to be no more than a tenth: what is younger need not be looked at.
CREATE OR REPLACE FUNCTION reputation_tidy(entries bigint, most integer, OUT faded bigint, OUT over bigint, OUT counted bigint, OUT listed bigint)
LANGUAGE plpgsql AS $f$
DECLARE
    moment timestamptz := clock_timestamp();
    half_life double precision := reputation_setting('half_life', 86400);
    old timestamptz := moment - make_interval(secs => 3 * half_life);
BEGIN
    SELECT count(*) INTO listed FROM standing WHERE expires_at > moment AND action <> 'allow';
    SELECT count(*) INTO counted FROM (SELECT FROM reputation LIMIT entries + most) AS l;
    DELETE FROM reputation WHERE ctid = ANY (ARRAY(SELECT r.ctid FROM reputation AS r
        WHERE r.at < old AND reputation_faded(r.good + reputation_bad(r), r.at, moment, half_life) < 0.1 LIMIT most FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS faded = ROW_COUNT;
    -- FOR UPDATE beside the LIMIT would sort all of them for the oldest few.
    DELETE FROM reputation WHERE ctid = ANY (ARRAY(SELECT ctid FROM reputation WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM reputation ORDER BY at LIMIT greatest(least(counted - faded - entries, most), 0))) FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS over = ROW_COUNT;
    counted := counted - faded - over;
END $f$;
