-- 0060_outbreak.sql - which attachments came, whether many suddenly send one that was never seen, and which messages wait for that

-- The memory of what was seen. Of those that are no outbreak nothing is written down while they keep coming, but now and then that they do.
CREATE TABLE outbreak_hash (
    hash bytea PRIMARY KEY,             -- SHA-256 of the decoded attachment
    kind integer NOT NULL,              -- AttachmentKind
    size bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,       -- to an hour
    messages bigint NOT NULL DEFAULT 0, -- until it was known
    state text NOT NULL DEFAULT 'counted' CHECK (state IN ('counted', 'suspect', 'good')),
    since timestamptz,                  -- of the state, where it is not counted
    blocked_until timestamptz,          -- an operator's word: as a virus
    dropped_at timestamptz,             -- the same: what was held until then is to be deleted
    who text NOT NULL DEFAULT '',
    why text NOT NULL DEFAULT ''
) WITH (fillfactor = 80);
CREATE INDEX outbreak_hash_last ON outbreak_hash (last_at) WHERE state = 'counted';
CREATE INDEX outbreak_hash_judged ON outbreak_hash (since) WHERE state <> 'counted' OR blocked_until IS NOT NULL;

-- Who sent one that is not known yet: senders and networks of clients, as many as it takes.
CREATE TABLE outbreak_sight (
    hash bytea NOT NULL,
    network boolean NOT NULL,
    who bigint NOT NULL,                -- a digest
    at timestamptz NOT NULL,
    PRIMARY KEY (hash, network, who)
);
CREATE INDEX outbreak_sight_at ON outbreak_sight (at);

-- A message that waits, or did, and each attachment for which; its copies are in the quarantine. Written by the answer to its edge, which may never have stored it.
CREATE TABLE outbreak_message (
    id text COLLATE "C" NOT NULL,
    hash bytea NOT NULL,
    held_at timestamptz NOT NULL,
    until timestamptz NOT NULL,
    signatures text NOT NULL,           -- the version of the set that found it clean last
    looked text NOT NULL DEFAULT '',    -- what half of the scanners had when it was last sent to be scanned again
    looks integer NOT NULL DEFAULT 0,   -- how often that was
    PRIMARY KEY (id, hash)
);
CREATE INDEX outbreak_message_hash ON outbreak_message (hash, until);
CREATE INDEX outbreak_message_until ON outbreak_message (until);

-- Which message brought which attachment, for weirctl hunt.
CREATE TABLE attachment_seen (
    hash bytea NOT NULL,
    id text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    kind smallint NOT NULL,
    PRIMARY KEY (hash, id)
);
CREATE INDEX attachment_seen_id ON attachment_seen (id);
CREATE INDEX attachment_seen_at ON attachment_seen (at);
