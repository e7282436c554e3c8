-- 0017_guesses.sql - guesses: wrong apart from under way, and an owner's own places apart from strangers
--
-- A guess is a row from the moment a check begins until it turned out right; `wrong` once it is known to be. One that nobody has called
-- anything for as long as a check may take was begun by a coordinator that died: it counts as wrong.
-- Those that guess at an account from where it never logged in share one allowance; each place from which it did has its own. So strangers, however
-- many, cannot shut an owner out from its usual places, and get no more guesses than before.

ALTER TABLE auth_guess ADD COLUMN wrong boolean NOT NULL DEFAULT false;

CREATE TABLE auth_place ( -- where an account logged in from
    login text NOT NULL,
    client text NOT NULL, -- as in auth_guess
    at timestamptz NOT NULL DEFAULT clock_timestamp(), -- to the hour
    PRIMARY KEY (login, client)
);
CREATE INDEX auth_place_at ON auth_place (at);

-- A login without what stands behind its last @: what a directory that looks at no more takes it for. An index is made of it, so it is part of the tables:
-- where it is to say something else, a migration gives it another name and makes another index.
CREATE FUNCTION login_cut(login text) RETURNS text LANGUAGE sql IMMUTABLE AS $f$ SELECT regexp_replace(login, '@[^@]*$', '') $f$;
CREATE INDEX account_cut ON account (login_cut(login));
