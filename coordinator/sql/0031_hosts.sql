-- 0031_hosts.sql - the register of inside hosts that send mail, and how much

-- Whose mail a row is about (weir.proto: Origin), and whether the row stands for its message; of an edge of before, and of the spool's own rows until the
-- edge reports: 0 and false.
ALTER TABLE audit ADD COLUMN origin smallint NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN first boolean NOT NULL DEFAULT false;

-- What is counted of a row of the audit when it is written.
CREATE TYPE sent_row AS (id text, at timestamptz, listener text, client text, helo text, tls text, size bigint, disposition text, login text,
    origin smallint, first boolean);

CREATE TABLE sending_host (
    client text COLLATE "C" PRIMARY KEY,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    helo text NOT NULL,                      -- these two as they were last
    listener text NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX sending_host_last ON sending_host (last_seen);

-- By days of UTC.
CREATE TABLE sending_host_day (
    client text COLLATE "C" NOT NULL,
    day date NOT NULL,
    messages bigint NOT NULL DEFAULT 0,      -- that were taken
    recipients bigint NOT NULL DEFAULT 0,    -- of these
    bytes bigint NOT NULL DEFAULT 0,
    tls bigint NOT NULL DEFAULT 0,           -- messages that came under TLS
    viruses bigint NOT NULL DEFAULT 0,       -- messages
    refused bigint NOT NULL DEFAULT 0,       -- recipients that were not taken
    unregistered bigint NOT NULL DEFAULT 0,  -- recipients, taken or not, named while the host was not registered
    PRIMARY KEY (client, day)
) WITH (fillfactor = 50);
CREATE INDEX sending_host_day_day ON sending_host_day (day);
