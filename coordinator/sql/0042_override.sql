-- 0042_override.sql - what operators allow against the cluster's judgement, registered hosts that are judged, and what of that a message met

-- What an operator wants let through, and who agreed. Never deleted: they are few, and rows of the audit name them.
CREATE TABLE override (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,                  -- 'reputation set', 'outbound release'
    subject text NOT NULL,               -- as that has it: "192.0.2.0/24", "account alice@example.edu"
    detail jsonb NOT NULL,               -- what else is to be done with it
    reason text NOT NULL,
    owner text NOT NULL,
    span interval NOT NULL,              -- for so long it holds, from when it takes effect; 0: done once
    state text NOT NULL CHECK (state IN ('pending', 'done', 'refused')),
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    pending_until timestamptz,           -- then nobody may approve it any more; NULL: it needed nobody
    decided_by text,                     -- the second operator
    decided_at timestamptz,
    expires_at timestamptz               -- in force until then
);
CREATE INDEX override_pending ON override (id) WHERE state = 'pending';
CREATE INDEX override_subject ON override (subject, id);

ALTER TABLE standing ADD COLUMN override bigint NOT NULL DEFAULT 0;
ALTER TABLE spool_message ADD COLUMN override bigint NOT NULL DEFAULT 0; -- by which it was let go, after it was held
ALTER TABLE audit ADD COLUMN override bigint NOT NULL DEFAULT 0;         -- the operator's word that decided for the client
ALTER TABLE audit ADD COLUMN host text NOT NULL DEFAULT '';              -- the line of the policy file hosts that an inside client is registered by

-- As judged_row, which coordinators of before use.
CREATE TYPE judged_mail AS (id text, client text, helo text, login text, host text, disposition text, reply text);

-- They have a parameter or a column more.
DROP FUNCTION IF EXISTS standing_set(boolean[], text[], boolean, text[], timestamptz[], text, text, text);
DROP FUNCTION IF EXISTS standing_news(bigint, integer);
DROP FUNCTION IF EXISTS outbound_let_go(text, text, integer);
DROP FUNCTION IF EXISTS admin_outbound_release(text, text, boolean);
