-- functions/views.sql - nodes that may take part, and processes that count
--
-- A view is made again under a lock that its readers wait for, and end in a deadlock with: so views are by themselves, and name their columns. A column
-- more is the last one.

-- Nodes that may take part: with a valid key, and coordinators, which register themselves.
CREATE OR REPLACE VIEW node_known AS
    SELECT name, role, drain, drain_by, drain_at, gc, gc_by, gc_at, state, lost, endpoint, public_key, created_at, drain_number, signature_set, signature_number,
        drain_held, dns_in_at, dns_out_at
    FROM node n WHERE role = 'coordinator'
        OR EXISTS (SELECT FROM node_key k WHERE k.name = n.name AND k.role = n.role AND k.revoked_at IS NULL);

-- The process that speaks for each worker: the newest of those heard within the last minute, else the newest. A second process under a node's name (started
-- by hand to look at something, or on the machine a node was to move to) counts no longer than it is heard; and for as long a restart's predecessor,
-- which may have hung and go on for a moment, does not count again. One whose last word was that it is drained counts for node_timeout only (a
-- coordinator's session has it as weir.node_timeout): it most likely ended, as it was told to.
CREATE OR REPLACE VIEW node_worker AS
    SELECT DISTINCT ON (node, worker) node, worker, boot, first_seen_at, seen_at, state, version, pid, in_flight, gc_done, policy_epoch, generation, signatures,
        endpoint, public_key, coordinator, sequence, drain_number, skew_ms, listeners, scanner_use, signature_state, leases, reports, passed_on,
        over_budget, addresses
    FROM node_process
    ORDER BY node, worker, seen_at > clock_timestamp() - CASE WHEN state = 'drained'
        THEN coalesce(nullif(current_setting('weir.node_timeout', true), ''), '1 minute')::interval ELSE interval '1 minute' END DESC, first_seen_at DESC;
