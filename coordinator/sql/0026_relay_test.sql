-- 0026_relay_test.sql - which edges' listeners were asked whether they are open relays, when, and what came of it

-- As worker 0 of an edge tells: [{"name", "endpoint", "outbound"}]; of an edge of before: empty.
ALTER TABLE node_process ADD COLUMN listeners jsonb NOT NULL DEFAULT '[]';

CREATE TABLE relay_test (
    node text NOT NULL,
    listener text NOT NULL,
    endpoint text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    jitter double precision NOT NULL DEFAULT random(), -- when the next one is due, within a twenty-fourth of the interval; another one each time
    claim bigint NOT NULL DEFAULT 0,                   -- grows with each test that begins; the result of an earlier one is late
    claimed_by text,                                   -- the coordinator that tests it now; NULL: nobody
    claimed_at timestamptz,
    tested_at timestamptz,                             -- NULL: never
    tested_by text NOT NULL DEFAULT '',
    verdict text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (node, listener, endpoint)
);
