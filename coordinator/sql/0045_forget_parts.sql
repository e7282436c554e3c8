-- 0045_forget_parts.sql - what was counted of everybody is forgotten in parts

-- It has two parameters more.
DROP FUNCTION IF EXISTS admin_reputation_forget_all(text, interval);
