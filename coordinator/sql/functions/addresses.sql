-- functions/addresses.sql - addresses as operators type them
--
-- Coordinators hand over one spelling a line, as typed first; those of the version before only that. In brackets, as log lines have them, or without.

CREATE OR REPLACE FUNCTION address_typed(given text) RETURNS text LANGUAGE sql IMMUTABLE AS $f$
    SELECT regexp_replace(split_part(given, E'\n', 1), '^<(.+)>$', '\1')
$f$;

-- All of them in lower case, each once.
CREATE OR REPLACE FUNCTION address_spellings(given text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $f$
    SELECT coalesce(array_agg(DISTINCT lower(regexp_replace(line, '^<(.+)>$', '\1'))), '{}') FROM string_to_table(given, E'\n') AS line
$f$;
