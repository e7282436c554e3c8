-- functions/personal.sql - the lists that recipients keep themselves
--
-- An entry is an address or @DOMAIN; of both the address counts. Where a block list knows the envelope's sender and the one in From, an address counts before a domain, and then From's.

-- Whether this recipient wants mail of this sender in spite of what its score is. a_author: who was proved to have written it; '': anybody may say so.
CREATE OR REPLACE FUNCTION personal_is_safe(a_recipient text, a_author text) RETURNS boolean LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN a_author <> '' AND coalesce((SELECT p.kind FROM personal_list p WHERE p.recipient = a_recipient
        AND p.sender IN (lower(a_author), '@' || lower(split_part(a_author, '@', -1))) ORDER BY left(p.sender, 1) = '@' LIMIT 1) = 'safe', false);
END $f$;

-- Of these recipients, who wants mail of a_author in spite of its score, and who wants none of these senders: the envelope's, then From's. Nobody: no row.
CREATE OR REPLACE FUNCTION personal_ask(numbers integer[], addresses text[], senders text[], a_author text)
RETURNS TABLE (recipient integer, safe boolean, blocked boolean) LANGUAGE plpgsql STABLE AS $f$
BEGIN
    RETURN QUERY SELECT e.number, bool_or(e.kind = 'safe' AND e.place = 1), bool_or(e.kind = 'block' AND e.place > 1) FROM (
        SELECT DISTINCT ON (w.number, s.place > 1) w.number, s.place, p.kind FROM unnest(numbers, addresses) AS w(number, address)
        CROSS JOIN unnest(a_author || senders) WITH ORDINALITY AS s(sender, place)
        JOIN personal_list p ON p.recipient = lower(w.address) AND p.sender IN (lower(s.sender), '@' || lower(split_part(s.sender, '@', -1)))
        ORDER BY w.number, s.place > 1, left(p.sender, 1) = '@', s.place DESC) AS e GROUP BY e.number ORDER BY e.number;
END $f$;

-- The first block list of all: from now on edges ask.
CREATE OR REPLACE FUNCTION personal_blocked() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
    UPDATE cluster SET personal_blocks = true, epoch = epoch + 1 WHERE NOT personal_blocks;
    IF FOUND THEN
        PERFORM set_config('synchronous_commit', (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'), true); -- as cluster_changed()
        PERFORM pg_notify('weir_cluster', '');
    END IF;
    RETURN NULL;
END $f$;
