-- 0077_spool_lane_slot.sql - who writes to thousands of destinations waits behind himself, too

-- Two of the sources (places, as spool_queue.slot) of what is due in a lane: where more lanes are due than a claim takes, those of each source come by turns.
ALTER TABLE spool_lane ADD COLUMN slot smallint NOT NULL DEFAULT -1, ADD COLUMN slot_other smallint NOT NULL DEFAULT -1; -- -1: not known; the same: one
CREATE INDEX spool_lane_slot ON spool_lane (slot, turn_at);
CREATE INDEX spool_lane_slot_other ON spool_lane (slot_other, turn_at) WHERE slot_other <> slot;
ALTER TABLE spool_wake ADD COLUMN slot smallint NOT NULL DEFAULT -1;
-- Of a message whose body comes in parts: its place is known with the first one.
ALTER TABLE spool_message ADD COLUMN slot smallint;
ALTER TYPE spool_new_message ADD ATTRIBUTE slot smallint;
