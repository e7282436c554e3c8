-- 0062_learn.sql - what the native spam engine is taught: by whom, as what, and the model that comes of it

-- Mail that a scanner is still to look at: features of it are taken there, in the sandbox (kind spam, ham), or its score is explained (score).
CREATE TABLE learn_queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('spam', 'ham', 'score')),
    who text NOT NULL,                  -- an operator's name, or the address of the user whose word it is
    personal boolean NOT NULL,          -- a user's word, which is bounded; else an operator's
    source text NOT NULL,               -- weirctl, quarantine
    origin text NOT NULL DEFAULT '',    -- the copy, ID/NUMBER; or the file
    facts jsonb NOT NULL DEFAULT '{}',  -- of the envelope, as far as they are known
    digest bytea NOT NULL,              -- SHA-256 of the body: the same message is learned once
    body bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'given', 'done', 'failed')),
    given_to text NOT NULL DEFAULT '',
    given_at timestamptz,
    tries integer NOT NULL DEFAULT 0,
    result jsonb                        -- of a score; or why it failed
);
CREATE INDEX learn_queue_open ON learn_queue (id) WHERE state IN ('waiting', 'given');
CREATE INDEX learn_queue_who ON learn_queue (who, at) WHERE personal;

-- One word about one message. The model is made of those that are 'counted', and of nothing else.
CREATE TABLE learn_event (
    id bigint PRIMARY KEY,              -- of learn_queue
    at timestamptz NOT NULL,
    who text NOT NULL,
    personal boolean NOT NULL,
    part smallint NOT NULL,             -- of the model: 0 is the operators', 1 to 3 those of users, each of whom is in one of them
    label text NOT NULL CHECK (label IN ('spam', 'ham')),
    source text NOT NULL,
    origin text NOT NULL,
    digest bytea NOT NULL,
    version integer NOT NULL,           -- NATIVE_MODEL_VERSION of the features
    features bytea NOT NULL,            -- numbers of 4 bytes, the lowest first: language, words, buckets
    state text NOT NULL CHECK (state IN ('counted', 'repeat', 'conflict', 'undone')),
    counted bigint NOT NULL DEFAULT 0,  -- learn_control.changes when it last began to count
    undone_at timestamptz,
    undone_by text NOT NULL DEFAULT ''
);
CREATE INDEX learn_event_digest ON learn_event (digest);
CREATE INDEX learn_event_who ON learn_event (lower(who), at);
CREATE INDEX learn_event_counted ON learn_event (counted, id) WHERE state = 'counted';

CREATE TABLE learn_model (
    hash text PRIMARY KEY,              -- SHA-256 of its bytes
    number bigint GENERATED ALWAYS AS IDENTITY,
    size integer NOT NULL,
    version integer NOT NULL,           -- NATIVE_MODEL_VERSION
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by text NOT NULL,
    ham integer NOT NULL,
    spam integer NOT NULL
);
CREATE TABLE learn_model_chunk (
    hash text NOT NULL REFERENCES learn_model ON DELETE CASCADE,
    position integer NOT NULL,          -- of 1 MiB each, from 0
    data bytea NOT NULL,
    PRIMARY KEY (hash, position)
);

CREATE TABLE learn_control (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    on_ boolean NOT NULL DEFAULT true,
    changes bigint NOT NULL DEFAULT 0,      -- grows with every event that begins or ceases to count
    ceased bigint NOT NULL DEFAULT 0,       -- `changes` when one last ceased: a model of before is made anew
    built bigint NOT NULL DEFAULT 0,        -- `changes` that the newest model was made of, or refused for
    model text NOT NULL DEFAULT '',         -- which scanners are to use; '': none
    refused_at timestamptz, refused text NOT NULL DEFAULT '', -- the newest was not published, and why
    -- as the leader is configured
    queue_max integer NOT NULL DEFAULT 1000,
    message_size integer NOT NULL DEFAULT 1048576,
    user_daily integer NOT NULL DEFAULT 50,
    messages_max integer NOT NULL DEFAULT 20000
);
INSERT INTO learn_control DEFAULT VALUES;
