-- 0064_sent_sums.sql - rows of the audit are counted by what they have in common; functions: audit_take, hosts_count, outbound_count, outbound_late

-- What rows of one report have in common that hosts and outbound protection count, and how many they are. at: of the first and of the last of them.
CREATE TYPE sent_sum AS (client text, login text, origin smallint, disposition text, first boolean, tls boolean, helo text, listener text, day date,
    recipients bigint, bytes bigint, first_at timestamptz, last_at timestamptz);

-- Only functions called them.
DROP FUNCTION IF EXISTS hosts_count(sent_row[]);
DROP FUNCTION IF EXISTS outbound_count(sent_row[], boolean, timestamptz);
