-- 0082_audit_records.sql - rows of the audit come as records, as stores do (0075); functions: audit_add

-- In the order in which coordinator/audit.c fills it.
CREATE TYPE audit_new AS (id text COLLATE "C", recipient_index integer, time_ms bigint, node text, worker integer, listener text, client text, helo text, tls text,
    sender text, recipient text, message_id text, size bigint, disposition text, reply_code integer, reply text, verdict text, virus_name text, scanner text,
    engine text, signatures text, next_hop text, next_hop_reply text, duration_ms bigint, policy_epoch bigint, rule text, login text, given text, origin smallint,
    first boolean, host text, override bigint);
