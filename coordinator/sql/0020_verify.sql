-- 0020_verify.sql - what next hops said of recipients, for all edges
--
-- An edge asks here before it asks the next hop, and tells what it heard there. A crash of PostgreSQL may forget the last answers: they are asked for
-- again.

CREATE TABLE verified (
    recipient text NOT NULL,
    next_hop text NOT NULL, -- "[host]:port" or "domain:port": with another route it is another question
    known boolean NOT NULL, -- there is such a recipient
    code integer NOT NULL,
    enhanced text NOT NULL,
    words text NOT NULL,
    asked_at timestamptz NOT NULL,
    asked_by text NOT NULL,
    refresh_at timestamptz NOT NULL, -- asked anew from then on, by one edge
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (recipient, next_hop)
);
CREATE INDEX verified_expires ON verified (expires_at);
