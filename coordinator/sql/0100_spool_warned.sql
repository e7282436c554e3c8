-- 0100_spool_warned.sql - whose sender was told of a delay is known of each recipient, as they may have several; functions: spool_claim, spool_result

ALTER TABLE spool_recipient ADD COLUMN delay_warned boolean NOT NULL DEFAULT false;
