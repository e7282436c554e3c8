-- 0034_signatures.sql - sets of virus signatures: stored once, and which of them each scanner is to use

CREATE TABLE signature_file (
    hash text PRIMARY KEY,             -- SHA-256 of its bytes
    size bigint NOT NULL,
    made_at timestamptz NOT NULL,      -- as its mirror says; where several say otherwise, the first
    touched_at timestamptz NOT NULL DEFAULT clock_timestamp()  -- when it was last begun to be stored: one of no set goes an hour later
);
CREATE TABLE signature_chunk (
    hash text NOT NULL REFERENCES signature_file ON DELETE CASCADE,
    position integer NOT NULL,         -- of 1 MiB each, from 0
    data bytea NOT NULL,
    PRIMARY KEY (hash, position)
);
ALTER TABLE signature_chunk ALTER COLUMN data SET STORAGE EXTERNAL; -- they are compressed already

-- new -> canary -> rolling -> current -> retired; canary, rolling -> failed. One is canary or rolling, one current.
CREATE TABLE signature_set (
    id text PRIMARY KEY,               -- common/signature_set.h
    number bigint GENERATED ALWAYS AS IDENTITY, -- in their order
    state text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'canary', 'rolling', 'current', 'retired', 'failed')),
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- its state
    passed_at timestamptz,             -- its canary has worked with it for signature_canary_time; NULL: none has
    canary text,
    canary_loaded_at timestamptz,
    why text NOT NULL DEFAULT ''
);
CREATE TABLE signature_set_file (
    set text NOT NULL REFERENCES signature_set ON DELETE CASCADE,
    name text NOT NULL,
    hash text NOT NULL REFERENCES signature_file,
    PRIMARY KEY (set, name)
);
CREATE INDEX signature_set_file_by_hash ON signature_set_file (hash);

CREATE TABLE signature_control (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    pinned text, pinned_by text, pinned_at timestamptz,        -- the only set to be used
    wanted bigint NOT NULL DEFAULT 0,  -- grows when an operator wants the mirrors looked at now
    done bigint NOT NULL DEFAULT 0,
    started_at timestamptz, started_by text,                   -- of the last look
    done_at timestamptz, success_at timestamptz,
    result text NOT NULL DEFAULT '',   -- ok, failed, off
    words text NOT NULL DEFAULT ''
);
INSERT INTO signature_control DEFAULT VALUES;

ALTER TABLE node ADD COLUMN signature_set text NOT NULL DEFAULT '';       -- which a scanner is to use; '': what it has
ALTER TABLE node ADD COLUMN signature_number bigint NOT NULL DEFAULT 0;   -- grows with each change of it
ALTER TABLE node ADD COLUMN signature_since timestamptz;
ALTER TABLE node_process ADD COLUMN signature_state jsonb NOT NULL DEFAULT '{}'; -- as a scanner that follows tells
