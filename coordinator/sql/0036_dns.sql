-- 0036_dns.sql - edges' addresses in the DNS, and a drain that begins with taking them out

-- Of worker processes of edges; of an edge of before: none.
ALTER TABLE node_process ADD COLUMN leases bigint NOT NULL DEFAULT 0;      -- of the spool
ALTER TABLE node_process ADD COLUMN reports bigint NOT NULL DEFAULT 0;     -- audit rows not acknowledged
ALTER TABLE node_process ADD COLUMN passed_on bigint NOT NULL DEFAULT 0;   -- connections passed on while drained
ALTER TABLE node_process ADD COLUMN over_budget boolean NOT NULL DEFAULT false;
ALTER TABLE node_process ADD COLUMN addresses jsonb NOT NULL DEFAULT '[]'; -- where the world reaches it

-- It is to be drained once it has been out of the DNS for drain_dns_wait: till then it hears nothing of it, and serves.
ALTER TABLE node ADD COLUMN drain_held boolean NOT NULL DEFAULT false;
ALTER TABLE node ADD COLUMN dns_in_at timestamptz;  -- its addresses are in the DNS since then
ALTER TABLE node ADD COLUMN dns_out_at timestamptz; -- they are not, since then; both NULL: nobody knows, as nothing was pushed

-- One row: what the leader keeps in the DNS.
CREATE TABLE dns (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    name text NOT NULL DEFAULT '',
    zone text NOT NULL DEFAULT '',
    server text NOT NULL DEFAULT '',   -- empty: nothing is pushed
    ttl bigint NOT NULL DEFAULT 0,     -- seconds
    pushed text[],                     -- the addresses that the server has; NULL: not known
    pushed_at timestamptz,
    pushed_by text NOT NULL DEFAULT '',
    failed_at timestamptz,             -- of the last try, if it failed
    error text NOT NULL DEFAULT '',
    asked bigint NOT NULL DEFAULT 0,   -- pushes that operators asked for
    done bigint NOT NULL DEFAULT 0     -- of these, tried
);
INSERT INTO dns DEFAULT VALUES;

-- Their columns, or parameters, are others now.
DROP FUNCTION IF EXISTS node_summary(interval);
DROP FUNCTION IF EXISTS admin_drain(text, text, boolean, boolean, interval);
