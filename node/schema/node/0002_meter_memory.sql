-- What a real meter adds: readings that were estimated, the state from which its source goes on,
-- raw samples; and where in the chain an order was accepted, so that a reorganisation can be undone.

-- 0 metered, 1 estimated.
ALTER TABLE reading ADD COLUMN quality INTEGER NOT NULL DEFAULT 0;

-- What each source of readings (by name) must not forget: guards, open series, as its own text.
CREATE TABLE meter_state (
    source TEXT PRIMARY KEY,
    state TEXT NOT NULL
) WITHOUT ROWID, STRICT;

-- Raw samples between two slots' ends, packed by the meter's room. Pruned after some months.
CREATE TABLE sample_batch (
    number INTEGER PRIMARY KEY,
    meter_id TEXT NOT NULL,
    from_s INTEGER NOT NULL,
    to_s INTEGER NOT NULL,
    count INTEGER NOT NULL,
    packed BLOB NOT NULL
) STRICT;

-- Batches come and go in the order of time; by meter they would be spread.
CREATE UNIQUE INDEX sample_batch_start ON sample_batch (from_s, meter_id);

-- Position of the acceptance; NULL while there is none, or where version 1 did not note it: such
-- an acceptance is taken for older than any reorganisation.
ALTER TABLE intent ADD COLUMN accepted_block INTEGER;
ALTER TABLE intent ADD COLUMN accepted_index INTEGER;
