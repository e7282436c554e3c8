-- 0038_outbound_more.sql - outbound protection: an IPv6 host is its network of 64 bits, stops that rest while it is off, and what a release forgives

ALTER TABLE outbound_delta ADD COLUMN client text COLLATE "C" NOT NULL DEFAULT ''; -- the host whose late viruses these are: the subject may be a network
ALTER TABLE outbound_sender ADD COLUMN released_at timestamptz;                    -- by an operator, last: what arrived before counts no more
ALTER TABLE outbound_stop ADD COLUMN idle boolean NOT NULL DEFAULT false;          -- outbound = off: nothing is done about it, but what was held stays held

DELETE FROM outbound_delta WHERE subject LIKE 'host %:%' AND subject NOT LIKE '%/64';
DELETE FROM outbound_sender WHERE subject LIKE 'host %:%' AND subject NOT LIKE '%/64';
UPDATE spool_message SET held_for = 'host ' || text(network(set_masklen(substr(held_for, 6)::inet, 64)))
    WHERE held_for <> '' AND held_for LIKE 'host %:%' AND held_for NOT LIKE '%/64';
INSERT INTO outbound_stop (subject, state, dry, full_up, since, reason, evidence)
    SELECT 'host ' || text(network(set_masklen(substr(subject, 6)::inet, 64))), state, dry, full_up, since, reason, evidence FROM outbound_stop
    WHERE subject LIKE 'host %:%' AND subject NOT LIKE '%/64' ORDER BY dry, state = 'throttled' ON CONFLICT DO NOTHING;
DELETE FROM outbound_stop WHERE subject LIKE 'host %:%' AND subject NOT LIKE '%/64';

DROP FUNCTION IF EXISTS outbound_counts();                                         -- they have more columns, and one parameter more, now
DROP FUNCTION IF EXISTS outbound_count(sent_row[], boolean);
