-- 0032_turns.sql - scanners make new generations in turn

-- As a scanner tells (ScannerUse of weir.proto); of one of before, and of edges: empty.
ALTER TABLE node_process ADD COLUMN scanner_use jsonb NOT NULL DEFAULT '{}';

-- What a scanner is to have its turn for. One row for each reason that it ever had one for; it is not made anew, so that its numbers only grow.
CREATE TABLE turn (
    node text NOT NULL,
    reason text NOT NULL CHECK (reason IN ('gc', 'signatures')),
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'idle')),
    asked bigint NOT NULL DEFAULT 1,          -- number of the last request
    given bigint NOT NULL DEFAULT 0,          -- and of that which the last turn was for
    cause text NOT NULL,                      -- who or what asked: operator, schedule, memory, messages, ...
    subject text NOT NULL DEFAULT '',         -- what for: of the last request,
    subject_given text NOT NULL DEFAULT '',   -- and of that which the last turn was for
    asked_at timestamptz NOT NULL DEFAULT now(), -- the same for all that were asked for together: then the name decides
    held text NOT NULL DEFAULT '',            -- why it waits
    gc bigint NOT NULL DEFAULT 0,             -- node.gc of the last turn: it ends when the scanner has done that
    began_at timestamptz,
    ended_at timestamptz,
    result text NOT NULL DEFAULT '' CHECK (result IN ('', 'done', 'lost', 'timeout', 'cancelled')), -- of the last one that ended
    PRIMARY KEY (node, reason)
);
