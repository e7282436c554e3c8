-- 0068_personal_blocks.sql - whether edges have to ask about block lists at all

-- Once anybody had one: it never turns back, so that no two transactions can be of different opinions.
ALTER TABLE cluster ADD COLUMN personal_blocks boolean NOT NULL DEFAULT false;
UPDATE cluster SET personal_blocks = true, epoch = epoch + 1 WHERE EXISTS (SELECT FROM personal_list WHERE kind = 'block');
