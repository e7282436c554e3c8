-- 0055_dashboard.sql - operators who log in at the dashboard, their sessions, and what the dashboard draws of the last hour

-- An operator of the dashboard is the one whose key has the same name. Not an account: those are for mail.
CREATE TABLE operator (
    name text PRIMARY KEY,
    hash text NOT NULL DEFAULT '',       -- yescrypt; '': nobody logs in until a second operator approved it
    new_hash text NOT NULL DEFAULT '',   -- that waits for `override`
    override bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    password_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz
);

-- A session is known by the SHA-256 of its cookie: who reads the table can use none.
CREATE TABLE operator_session (
    digest text PRIMARY KEY,
    name text NOT NULL REFERENCES operator (name) ON DELETE CASCADE,
    client text NOT NULL,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    used_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX operator_session_name ON operator_session (name, used_at);

-- As auth_guess: a row from when a check begins until it was right.
CREATE TABLE operator_guess (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    client text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX operator_guess_name ON operator_guess (name, at);
CREATE INDEX operator_guess_client ON operator_guess (client, at);

-- As auth_place: from where an operator logged in. Guesses from there are counted apart, so strangers keep nobody out.
CREATE TABLE operator_place (
    name text NOT NULL REFERENCES operator (name) ON DELETE CASCADE,
    client text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, client)
);
CREATE INDEX operator_place_at ON operator_place (at);

-- What all nodes had counted at that moment.
CREATE TABLE dashboard_sample (
    at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    totals jsonb NOT NULL
);
