-- 0048_spool_speed.sql - what is stored costs less; functions: spool_take, audit_take

-- Mail comes to go again, and is vacuumed then. That rows came is no reason to read them all: where mail waits, that is most of what the disk and the processor do.
ALTER TABLE spool_message SET (autovacuum_vacuum_insert_threshold = -1);
ALTER TABLE spool_recipient SET (autovacuum_vacuum_insert_threshold = -1);
ALTER TABLE spool_body SET (autovacuum_vacuum_insert_threshold = -1);
