-- 0047_dns_former.sql - names that the edges had in the DNS before

CREATE TABLE dns_former (
    name text PRIMARY KEY,
    zone text NOT NULL,
    server text NOT NULL,              -- that was told of it last
    left_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- since when the edges have another name
    tried_at timestamptz,              -- to take its addresses away
    error text NOT NULL DEFAULT ''
);
