-- 0027_spelling.sql - what next hops said of a recipient is found without regard to case, as audit rows are

CREATE INDEX verified_by_recipient ON verified (lower(recipient));
-- address_spellings() does it.
DROP FUNCTION IF EXISTS verify_recipient;
