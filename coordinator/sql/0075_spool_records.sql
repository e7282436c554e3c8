-- 0075_spool_records.sql - what is stored comes as records: PostgreSQL takes them as they are, where arrays of text are parsed and then put together again for each
-- row; functions: spool_add

-- In the order in which coordinator/spool/store.c fills them.
CREATE TYPE spool_new_message AS (id text COLLATE "C", last boolean, size bigint, recipients integer, scanned boolean, dsn boolean, envelope bytea, node text,
    listener text, client text, helo text, tls text, sender text, message_id text, verdict text, scanner text, engine text, signatures text,
    subject text);      -- to outbound protection; NULL: nobody
CREATE TYPE spool_new_body AS (id text COLLATE "C", data bytea);
CREATE TYPE spool_new_recipient AS (id text COLLATE "C", number integer, destination text COLLATE "C", address text, packed bytea);
CREATE TYPE spool_new_entry AS (id text COLLATE "C", destination text COLLATE "C", scanned boolean, dsn boolean, slot smallint);
