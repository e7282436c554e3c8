-- 0040_blocklist.sql - whether the site's own addresses are in lists of the DNS

-- One row: the leader's rounds.
CREATE TABLE blocklist (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    zones text[] NOT NULL DEFAULT '{}',         -- as the leader's configuration has them; none: nothing is looked up
    every interval NOT NULL DEFAULT interval '0',
    claim bigint NOT NULL DEFAULT 0,            -- grows with each round that begins; the result of an earlier one is late
    claimed_by text,                            -- the coordinator that asks now; NULL: nobody
    claimed_at timestamptz,
    checked_at timestamptz,                     -- the end of the last round; NULL: there was none
    checked_by text NOT NULL DEFAULT '',
    left_out bigint NOT NULL DEFAULT 0,         -- addresses that are too many
    asked bigint NOT NULL DEFAULT 0,            -- rounds that operators asked for
    done bigint NOT NULL DEFAULT 0              -- of these, done
);
INSERT INTO blocklist DEFAULT VALUES;

CREATE TABLE own_address (
    address text NOT NULL,
    zone text NOT NULL,
    listed boolean,                             -- what the list said last; NULL: nothing yet
    since timestamptz,                          -- it has said so since then
    answer text NOT NULL DEFAULT '',            -- by which it said so, as 127.0.0.2
    result text NOT NULL,                       -- of the last lookup: listed, clean, or it is not known: error, failed
    checked_at timestamptz NOT NULL,            -- when that was
    PRIMARY KEY (address, zone)
);
