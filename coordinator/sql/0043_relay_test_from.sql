-- 0043_relay_test_from.sql - where the tests of listeners come from

-- Addresses that the last test may have been seen by: its connections', and the one it told by XCLIENT. Empty: of a coordinator of before.
ALTER TABLE relay_test ADD COLUMN asked_from text[] NOT NULL DEFAULT '{}';
