-- What a market's chain said, for a whole community: append-only, one table for each kind of event.
-- Energy in Wh, prices in credit units per Wh, money in credit units. (block, log_index) is the
-- place of an event in its chain; the order of all tables together is the order of the chain.

PRAGMA application_id = 1685277767;

CREATE TABLE order_accepted (
    block INTEGER NOT NULL,
    log_index INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    household INTEGER NOT NULL,
    side INTEGER NOT NULL, -- 0 ask, 1 bid
    energy_wh INTEGER NOT NULL,
    limit_price INTEGER NOT NULL,
    prefix_wh INTEGER NOT NULL,
    evidence BLOB, -- NULL stands for 32 zero bytes
    PRIMARY KEY (block, log_index)
) WITHOUT ROWID, STRICT;

CREATE INDEX order_accepted_of_slot ON order_accepted (slot);

CREATE INDEX order_accepted_of_household ON order_accepted (household, slot);

CREATE TABLE order_refused (
    block INTEGER NOT NULL,
    log_index INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    household INTEGER NOT NULL,
    side INTEGER NOT NULL, -- as it was sent
    reason INTEGER NOT NULL, -- the market's own number
    PRIMARY KEY (block, log_index)
) WITHOUT ROWID, STRICT;

CREATE TABLE slot_cleared (
    block INTEGER NOT NULL,
    log_index INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    price INTEGER, -- NULL: nothing traded
    matched_wh INTEGER NOT NULL,
    ask_wh INTEGER NOT NULL,
    bid_wh INTEGER NOT NULL,
    PRIMARY KEY (block, log_index)
) WITHOUT ROWID, STRICT;

CREATE INDEX slot_cleared_of_slot ON slot_cleared (slot);

CREATE TABLE order_settled (
    block INTEGER NOT NULL,
    log_index INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    household INTEGER NOT NULL,
    side INTEGER NOT NULL,
    filled_wh INTEGER NOT NULL,
    price INTEGER,
    amount_units INTEGER NOT NULL, -- signed from the household's view
    PRIMARY KEY (block, log_index)
) WITHOUT ROWID, STRICT;

CREATE INDEX order_settled_of_slot ON order_settled (slot);

CREATE INDEX order_settled_of_household ON order_settled (household, slot);

CREATE TABLE deposited (
    block INTEGER NOT NULL,
    log_index INTEGER NOT NULL,
    household INTEGER NOT NULL,
    amount_units ANY NOT NULL, -- a number; beyond 64 bits, its decimal digits as text
    PRIMARY KEY (block, log_index)
) WITHOUT ROWID, STRICT;

CREATE TABLE withdrawn (
    block INTEGER NOT NULL,
    log_index INTEGER NOT NULL,
    household INTEGER NOT NULL,
    amount_units ANY NOT NULL, -- a number; beyond 64 bits, its decimal digits as text
    PRIMARY KEY (block, log_index)
) WITHOUT ROWID, STRICT;

CREATE TABLE rules_scheduled (
    block INTEGER NOT NULL,
    log_index INTEGER NOT NULL,
    version INTEGER NOT NULL,
    from_slot INTEGER NOT NULL,
    slot_s INTEGER NOT NULL,
    gate_offset_s INTEGER NOT NULL,
    gate_s INTEGER NOT NULL,
    floor_price INTEGER NOT NULL,
    tick_size INTEGER NOT NULL,
    ticks INTEGER NOT NULL,
    network_fee INTEGER NOT NULL,
    fee_recipient TEXT NOT NULL,
    PRIMARY KEY (block, log_index)
) WITHOUT ROWID, STRICT;

-- The homes' names, as every output writes them.
CREATE TABLE household_name (
    household INTEGER PRIMARY KEY,
    name TEXT NOT NULL
) STRICT;

-- What must be known to read the events: slot length, engine, market address, tariffs.
CREATE TABLE fact (
    name TEXT NOT NULL PRIMARY KEY,
    value ANY NOT NULL
) WITHOUT ROWID, STRICT;
