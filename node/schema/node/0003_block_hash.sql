-- Which block the cursor stands on, and not only its number: a chain may replace its last blocks.
-- NULL where version 2 did not note it, and on chains that never take a block back.

ALTER TABLE cursor ADD COLUMN block_hash BLOB;
