-- 0087_web_mail_hash.sql - addresses of commands have a token that opens no page: it stands in clear where mail is logged; functions: web_mail, web_tokens

-- SHA-256 of the token in the address that belongs to the link; NULL: of a digest of before, whose addresses have the link's own.
ALTER TABLE web_token ADD COLUMN mail_hash bytea;
CREATE UNIQUE INDEX web_token_mail ON web_token (mail_hash);
