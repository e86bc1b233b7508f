-- What a household node keeps: the life of each slot, from the register to the money.
-- Energy in Wh, prices in credit units per Wh, money in credit units, times in unix seconds.

PRAGMA application_id = 1685278276;

-- Captures of the meter's cumulative registers, in the order in which they were kept.
CREATE TABLE reading (
    number INTEGER PRIMARY KEY,
    meter_id TEXT NOT NULL,
    taken_at_s INTEGER NOT NULL,
    import_wh INTEGER NOT NULL,
    export_wh INTEGER NOT NULL,
    evidence_class INTEGER NOT NULL -- 0 A, 1 B, 2 C, 3 D
) STRICT;

-- Closed slots: what crossed the meter in each.
CREATE TABLE slot_energy (
    slot INTEGER PRIMARY KEY,
    import_wh INTEGER NOT NULL,
    export_wh INTEGER NOT NULL,
    quality INTEGER NOT NULL -- 0 metered, 1 estimated
) STRICT;

-- Orders, with the very bytes that were signed: written before anything is sent.
CREATE TABLE intent (
    slot INTEGER NOT NULL,
    side INTEGER NOT NULL, -- 0 ask, 1 bid, as on chain
    household INTEGER NOT NULL,
    energy_wh INTEGER NOT NULL,
    limit_price INTEGER NOT NULL,
    evidence BLOB, -- NULL stands for 32 zero bytes
    signature BLOB NOT NULL,
    state INTEGER NOT NULL, -- 0 pending, 1 sent, 2 accepted, 3 refused, 4 expired
    reason TEXT NOT NULL,
    PRIMARY KEY (slot, side)
) WITHOUT ROWID, STRICT;

-- The outbox asks for these after every slot; all but a handful of intents are past them.
CREATE INDEX open_intent ON intent (slot, side) WHERE state <= 1;

-- Projection of the chain's clearings; the price is NULL when nothing traded.
CREATE TABLE clearing (
    slot INTEGER PRIMARY KEY,
    price INTEGER,
    matched_wh INTEGER NOT NULL,
    ask_wh INTEGER NOT NULL,
    bid_wh INTEGER NOT NULL,
    block INTEGER NOT NULL,
    log_index INTEGER NOT NULL
) STRICT;

-- Projection of the household's own settlements; amounts are signed from its own view.
CREATE TABLE settlement (
    slot INTEGER NOT NULL,
    side INTEGER NOT NULL,
    household INTEGER NOT NULL,
    filled_wh INTEGER NOT NULL,
    price INTEGER,
    amount_units INTEGER NOT NULL,
    block INTEGER NOT NULL,
    log_index INTEGER NOT NULL,
    PRIMARY KEY (slot, side)
) WITHOUT ROWID, STRICT;

-- One row: the position up to which the chain's events were projected.
CREATE TABLE cursor (
    block INTEGER NOT NULL,
    log_index INTEGER NOT NULL
) STRICT;

INSERT INTO cursor (block, log_index) VALUES (-1, -1);
