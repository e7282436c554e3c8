-- 0044_quarantine.sql - the quarantine: copies of messages that are kept from their recipients, one for each
--
-- A message's body is stored once (spool_body), whoever still needs it: the spool (it has a row of spool_message) or the quarantine (needed > 0). Whoever
-- is the last to need it deletes it. A recipient is in spool_recipient, or has a copy that waits, never both.

CREATE TABLE quarantine_message (
    id text COLLATE "C" PRIMARY KEY,
    arrived_at timestamptz NOT NULL,
    size bigint NOT NULL,
    needed integer NOT NULL DEFAULT 0,  -- copies that need the body: those that wait, or are held
    dsn boolean NOT NULL,
    envelope bytea NOT NULL,            -- SpoolEnvelope as it came: a release has it again
    node text NOT NULL,
    listener text NOT NULL,
    client text NOT NULL,
    helo text NOT NULL,
    tls text NOT NULL,
    sender text NOT NULL,
    message_id text NOT NULL,
    verdict text NOT NULL,
    scanner text NOT NULL,
    engine text NOT NULL,
    signatures text NOT NULL,
    subject bytea NOT NULL              -- the header field as it came, unfolded, at most 998 bytes
) WITH (fillfactor = 90);
CREATE INDEX quarantine_message_sender ON quarantine_message (lower(sender), id);

CREATE TABLE quarantine_copy (
    id text COLLATE "C" NOT NULL,
    number integer NOT NULL,            -- of the recipient in the message
    recipient text NOT NULL,            -- the address, in lower case: whose copy it is
    address text NOT NULL,
    destination text COLLATE "C" NOT NULL,
    packed bytea NOT NULL,              -- SpoolRecipient as it came
    state text NOT NULL CHECK (state IN ('incoming', 'waiting', 'released', 'deleted', 'expired')),
    reason text NOT NULL,               -- spam, virus, unscannable, policy, blocklist, ...
    score integer,                      -- hundredths; NULL: nobody scored it
    symbols text NOT NULL,
    signature text NOT NULL,            -- of the virus
    kept_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text NOT NULL DEFAULT '',
    why text NOT NULL DEFAULT '',
    hold_by text NOT NULL DEFAULT '',   -- who put a legal hold on it; '': nobody
    hold_why text NOT NULL DEFAULT '',
    hold_at timestamptz,
    PRIMARY KEY (id, number)
) WITH (fillfactor = 90);
CREATE INDEX quarantine_copy_recipient ON quarantine_copy (recipient, kept_at, id, number) WHERE state = 'waiting';
CREATE INDEX quarantine_copy_kept ON quarantine_copy (state, kept_at, id, number);
CREATE INDEX quarantine_copy_reason ON quarantine_copy (reason, kept_at, id, number) WHERE state = 'waiting';
CREATE INDEX quarantine_copy_expiry ON quarantine_copy (kept_at) WHERE state = 'waiting' AND hold_by = '';
CREATE INDEX quarantine_copy_settled ON quarantine_copy (changed_at) WHERE state IN ('released', 'deleted', 'expired') AND hold_by = '';
CREATE INDEX quarantine_copy_held ON quarantine_copy (hold_at) WHERE hold_by <> '';

-- What is in the quarantine and what went through it, one row for each connection's name and reason, so that nobody waits for another. Sums are exact.
CREATE TABLE quarantine_usage (
    slot text NOT NULL,
    reason text NOT NULL,
    messages bigint NOT NULL DEFAULT 0,     -- whose bodies are kept
    bytes bigint NOT NULL DEFAULT 0,
    kept bigint NOT NULL DEFAULT 0,         -- copies that ever came
    released bigint NOT NULL DEFAULT 0,
    deleted bigint NOT NULL DEFAULT 0,
    expired bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (slot, reason)
) WITH (fillfactor = 20);

-- The leader's last count of what waits, against these sums; and of what is held.
CREATE TABLE quarantine_counted (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    at timestamptz NOT NULL,
    difference bigint NOT NULL,
    held bigint NOT NULL
);

-- It takes two things more.
DROP FUNCTION IF EXISTS spool_result;
