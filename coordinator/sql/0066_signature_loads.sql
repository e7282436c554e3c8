-- 0066_signature_loads.sql - several scanners load a set that has passed its trial at once

-- They have a parameter more.
DROP FUNCTION IF EXISTS signature_spread(text, text, interval, interval);
DROP FUNCTION IF EXISTS signature_step(interval, interval, interval, integer, integer);
