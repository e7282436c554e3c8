-- 0037_reputation.sql - what was counted of clients and accounts, and who is throttled or refused

-- As of the moment `at`: each count halves in reputation_half_life.
CREATE TABLE reputation (
    kind text NOT NULL, -- address, prefix (of IPv4 /24, of IPv6 /64), account
    key text NOT NULL,
    at timestamptz NOT NULL,
    good double precision NOT NULL,
    virus double precision NOT NULL,
    spam double precision NOT NULL,
    unknown double precision NOT NULL,
    auth double precision NOT NULL,
    abuse double precision NOT NULL,
    PRIMARY KEY (kind, key)
) WITH (fillfactor = 50); -- no index but the key's: all that is written stays on its page

-- What edges hear. What has expired says nothing; it is kept for a day, so that an edge that was away for less hears that it was lifted.
CREATE TABLE standing (
    login boolean NOT NULL, -- the key is one; else an address or a prefix
    key text NOT NULL,
    by_operator boolean NOT NULL,
    action text NOT NULL, -- allow, throttle, reject
    at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    number bigint NOT NULL, -- of the last change
    reason text, -- by_operator: why, whom to ask about it, and who said so
    owner text,
    who text,
    PRIMARY KEY (login, key, by_operator)
);
CREATE INDEX standing_by_number ON standing (number);
CREATE INDEX standing_by_expiry ON standing (expires_at);

-- One row, which who changes standings holds until the commit: so nobody reads a number before a smaller one.
CREATE TABLE standing_change (
    number bigint NOT NULL,
    forgotten bigint NOT NULL, -- the highest one of a row that is gone
    standings bigint NOT NULL  -- how many rows there are
);
INSERT INTO standing_change VALUES (0, 0, 0);

-- What of a row of the audit speaks for or against somebody.
CREATE TYPE judged_row AS (id text, client text, helo text, login text, disposition text, reply text);

-- It has one parameter more: whom it speaks against.
DROP FUNCTION IF EXISTS auth_wrong(bigint, text, text);
