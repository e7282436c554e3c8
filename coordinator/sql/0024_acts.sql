-- 0024_acts.sql - what operators changed, as they were told, for those who were not

CREATE TABLE act (
    who text NOT NULL,
    token uuid NOT NULL, -- made by weirctl, the same in every repetition
    at timestamptz NOT NULL DEFAULT now(),
    status integer, -- with error and body the answer; NULL only within the transaction
    error text,
    body json,
    PRIMARY KEY (who, token)
);
CREATE INDEX act_by_time ON act (at);
