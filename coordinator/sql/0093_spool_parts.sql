-- 0093_spool_parts.sql - bodies that are stored come in one piece, not as records, which PostgreSQL copies five times before they are rows; functions: spool_add. And those
-- in which nodes are heard and told keep their plans: node_refresh, cluster_state

-- In the order in which coordinator/spool/store.c fills it: the part that is a message's, from 0.
CREATE TYPE spool_new_part AS (id text COLLATE "C", at integer, len integer);
