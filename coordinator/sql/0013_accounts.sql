-- 0013_accounts.sql - who may send as whom, and how often somebody may guess a password
--
-- An account is a login with a yescrypt hash. A guess is a row from the moment a check begins until it turns out right: so checks under way
-- count, and any number of them at once cannot pass a limit together. The number is the question's, so a repeated question is one guess.

CREATE TABLE account (
    login text PRIMARY KEY, -- in lower case
    hash text NOT NULL,
    senders text[] NOT NULL, -- addresses, or @domain
    disabled boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    password_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz
);

CREATE TABLE auth_guess (
    request bigint PRIMARY KEY,
    login text NOT NULL,
    client text NOT NULL, -- an IPv4 address, or an IPv6 network of 64 bits
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX auth_guess_login ON auth_guess (login, at);
CREATE INDEX auth_guess_client ON auth_guess (client, at);
CREATE INDEX auth_guess_at ON auth_guess (at);
