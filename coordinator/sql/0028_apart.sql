-- 0028_apart.sql - recipients of one entry that go on in another

-- Where the tokens of such an entry begin: above all that are counted up from 0, and a million leases from the next one's.
CREATE SEQUENCE spool_token AS bigint START 1000000000000 INCREMENT 1000000;

DROP FUNCTION IF EXISTS queue_delete(text, text, text); -- it is told which recipients now
