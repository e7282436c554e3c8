-- 0002_operators.sql - what an operator's verb (an admin_* function) answers

-- status: 0, or an exit code of sysexits.h; error: words; body: what weirctl prints, or --json gives as it is.
CREATE TYPE admin_answer AS (status integer, error text, body json);
