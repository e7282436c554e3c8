-- 0035_outbound.sql - what accounts and inside hosts send, who is slowed down or stopped for it, and the mail that is held

-- Counts on their way into outbound_sender: whoever counts adds rows and waits for nobody; the leader takes them out.
CREATE TABLE outbound_delta (
    subject text COLLATE "C" NOT NULL,
    registered boolean NOT NULL,
    recipients bigint NOT NULL,
    viruses bigint NOT NULL,
    bad bigint NOT NULL,
    late_viruses bigint NOT NULL                   -- those of the viruses that the register has not counted: they were found in the spool
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE TABLE outbound_sender (
    subject text COLLATE "C" PRIMARY KEY,          -- "account alice@example.edu", "host 192.0.2.7"
    registered boolean NOT NULL,                   -- a host that is in the policy file hosts
    hour bigint NOT NULL,                          -- since 1970: what these three are of; behind them the same of the hour before
    recipients bigint NOT NULL DEFAULT 0,          -- that it named, taken or not
    viruses bigint NOT NULL DEFAULT 0,             -- messages
    bad bigint NOT NULL DEFAULT 0,                 -- recipients that next hops refused, in the session or for good in the spool
    last_recipients bigint NOT NULL DEFAULT 0,
    last_viruses bigint NOT NULL DEFAULT 0,
    last_bad bigint NOT NULL DEFAULT 0,
    usual_sum double precision NOT NULL DEFAULT 0, -- recipients an hour, decayed; over usual_weight it is their average
    usual_weight double precision NOT NULL DEFAULT 0,
    hours bigint NOT NULL DEFAULT 0,               -- that ended since it was first seen
    first_seen timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
CREATE INDEX outbound_sender_last ON outbound_sender (last_seen);

CREATE TABLE outbound_stop (
    subject text COLLATE "C" PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('throttled', 'held', 'refused')),
    dry boolean NOT NULL,                          -- nothing is done about it: outbound = dry_run
    full_up boolean NOT NULL DEFAULT false,        -- so much of its mail is held that no more is taken
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason text NOT NULL,
    evidence jsonb NOT NULL                        -- the counts that said so
);

-- Whose mail it was, when it was stored for one who is stopped; '' again when that was lifted.
ALTER TABLE spool_message ADD COLUMN held_for text COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX spool_message_held_for ON spool_message (held_for) WHERE held_for <> '';
