-- What a distribution operator measured, in versions: an import changes nothing, it adds.
-- Energy of curves in watt-minutes (60 are 1 Wh), of indexes and periods in Wh; times in unix
-- seconds. The number of an import is the version of all that it changed.

PRAGMA application_id = 1685275478;

-- Files that were read, each member of an archive by itself.
CREATE TABLE import (
    number INTEGER PRIMARY KEY,
    file TEXT NOT NULL,
    digest TEXT NOT NULL, -- SHA-256 of the file, in hexadecimal
    format TEXT NOT NULL, -- empty: none that is known
    published_s INTEGER, -- when the operator wrote it, where it says so
    imported_s INTEGER NOT NULL,
    row_count INTEGER NOT NULL, -- = accepted + empty + refused
    accepted INTEGER NOT NULL,
    empty INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    UNIQUE (digest, file)
) STRICT;

-- The quarantine: what was refused, repaired or is missing, and what is to be done about it.
CREATE TABLE finding (
    import INTEGER NOT NULL REFERENCES import (number),
    klass TEXT NOT NULL,
    treatment TEXT NOT NULL,
    rule TEXT NOT NULL,
    message TEXT NOT NULL,
    line INTEGER NOT NULL,
    last_line INTEGER NOT NULL,
    point_id TEXT NOT NULL,
    row_count INTEGER NOT NULL,
    from_s INTEGER,
    to_s INTEGER,
    raw TEXT NOT NULL
) STRICT;

CREATE INDEX finding_of_import ON finding (import);

-- A UTC day of a curve as an import left it; the newest is what holds, the others are history.
CREATE TABLE curve_day (
    point_id TEXT NOT NULL,
    direction TEXT NOT NULL,
    day_s INTEGER NOT NULL, -- midnight UTC
    version INTEGER NOT NULL REFERENCES import (number),
    step_s INTEGER NOT NULL,
    published_s INTEGER, -- of the newest file that had a part in it
    watt_minutes BLOB NOT NULL, -- 64-bit integers, little-endian; -1 for a gap
    quality BLOB NOT NULL, -- one byte a step; 0 for a gap
    source TEXT NOT NULL,
    PRIMARY KEY (point_id, direction, day_s, version)
) WITHOUT ROWID, STRICT;

-- Cumulative indexes.
CREATE TABLE register_value (
    point_id TEXT NOT NULL,
    direction TEXT NOT NULL,
    calendar TEXT NOT NULL,
    register TEXT NOT NULL,
    taken_at_s INTEGER NOT NULL,
    version INTEGER NOT NULL REFERENCES import (number),
    value_wh INTEGER NOT NULL,
    quality INTEGER NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (point_id, direction, calendar, register, taken_at_s, version)
) WITHOUT ROWID, STRICT;

-- Energies that the operator states for a period.
CREATE TABLE period_energy (
    point_id TEXT NOT NULL,
    direction TEXT NOT NULL,
    part TEXT NOT NULL,
    calendar TEXT NOT NULL,
    register TEXT NOT NULL,
    to_s INTEGER NOT NULL,
    version INTEGER NOT NULL REFERENCES import (number),
    from_s INTEGER,
    energy_wh INTEGER NOT NULL,
    quality INTEGER NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (point_id, direction, part, calendar, register, to_s, version)
) WITHOUT ROWID, STRICT;
