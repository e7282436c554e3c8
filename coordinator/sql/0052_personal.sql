-- 0052_personal.sql - whom recipients let in, or not, themselves

CREATE TABLE personal_list (
    recipient text COLLATE "C" NOT NULL,    -- in lower case
    sender text COLLATE "C" NOT NULL,       -- in lower case: an address, or @DOMAIN
    kind text NOT NULL CHECK (kind IN ('safe', 'block')),
    added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (recipient, sender)
);

-- It takes one thing more.
DROP FUNCTION IF EXISTS quarantine_keep;
