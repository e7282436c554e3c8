-- 0051_outbound_sums.sql - how much is held for whom is read twice a second: from an index alone

CREATE INDEX spool_message_held_sums ON spool_message (held_for) INCLUDE (size) WHERE held_for <> '';
DROP INDEX spool_message_held_for;
