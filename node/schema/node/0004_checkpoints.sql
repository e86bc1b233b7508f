-- Ends of blocks that were followed, with the hash that each had: where to go on from when the chain
-- went back behind the cursor's block, as after a backup was put back on its machines. Dense near
-- the cursor, ever sparser before it.

CREATE TABLE checkpoint (
    block INTEGER PRIMARY KEY,
    log_index INTEGER NOT NULL,
    block_hash BLOB NOT NULL
) STRICT;
