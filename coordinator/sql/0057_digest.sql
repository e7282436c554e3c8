-- 0057_digest.sql - recipients are told what the quarantine keeps from them, and given links with which they look after it

-- Whether its recipient was told of it. The index has what there may be to tell of, as digest_tells() and digest_due() (functions/digest.sql) say it.
ALTER TABLE quarantine_copy ADD COLUMN digested boolean NOT NULL DEFAULT false;
CREATE INDEX quarantine_copy_untold ON quarantine_copy (recipient, kept_at) WHERE state = 'waiting' AND NOT digested AND reason NOT IN ('blocklist', 'outbreak');

-- One for each recipient and slot, made in the transaction that stores the message: so there is one message, whoever leads.
CREATE TABLE digest (
    recipient text COLLATE "C" NOT NULL,    -- in lower case
    slot text COLLATE "C" NOT NULL,         -- the site's own time: 2026-03-29 09:00
    id text COLLATE "C" NOT NULL,           -- of the message; '': none was sent, as the address is not in a domain of ours
    told integer NOT NULL,                  -- messages that it tells of
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (recipient, slot)
);
CREATE INDEX digest_made ON digest (made_at);

-- What links and addresses of commands have in them, as a hash of it: who reads the database can make no link.
CREATE TABLE web_token (
    hash bytea PRIMARY KEY,                 -- SHA-256 of the token
    recipient text COLLATE "C" NOT NULL,    -- in lower case: whose copies it opens
    id text COLLATE "C" NOT NULL,           -- the message; '': all that wait
    expires_at timestamptz NOT NULL
);
CREATE INDEX web_token_expires ON web_token (expires_at);

-- Answers to commands that came by mail, to be made into messages by who leads.
CREATE TABLE web_answer (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient text COLLATE "C" NOT NULL,
    command text NOT NULL,
    id text COLLATE "C" NOT NULL,
    outcome text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Who was answered in the last hour, however that answer went.
CREATE TABLE web_answered (
    recipient text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX web_answered_recipient ON web_answered (recipient, at);
CREATE INDEX web_answered_at ON web_answered (at);

-- It tells one thing more.
DROP FUNCTION IF EXISTS web_quarantine_show;
