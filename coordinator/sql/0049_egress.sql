-- 0049_egress.sql - whose mail goes out from other addresses than that of its kind

CREATE TABLE outbound_pool (
    subject text COLLATE "C" PRIMARY KEY,          -- as outbound_stop.subject
    pool text NOT NULL,                            -- the name of an [egress] of the edges
    reason text NOT NULL,
    moved_by text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
