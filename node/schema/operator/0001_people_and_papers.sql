-- What whoever organises the sharing knows of people, and nobody else: times in unix seconds.
-- Everything personal is sealed under the key of the person whom it concerns. The keys are wrapped
-- under a master key, which is a file of its own and never in here, nor in a backup of this.

PRAGMA application_id = 1685278544;

-- Which master key the others are wrapped under: a fingerprint.
CREATE TABLE vault (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
    master BLOB NOT NULL
) STRICT;

-- A person by a random name that stands nowhere else. Without a key all of it is gone for good.
CREATE TABLE person (
    person TEXT PRIMARY KEY,
    wrapped_key BLOB,
    created_s INTEGER NOT NULL,
    erased_s INTEGER
) WITHOUT ROWID, STRICT;

-- Names, delivery points, households, curves, bills, claims, evidence, rulings, notes.
CREATE TABLE sealed (
    number INTEGER PRIMARY KEY,
    person TEXT NOT NULL REFERENCES person (person),
    kind TEXT NOT NULL,
    about_s INTEGER NOT NULL, -- the end of what it is about: retention counts from there
    stored_s INTEGER NOT NULL,
    body BLOB NOT NULL -- nonce, tag, ciphertext
) STRICT;

CREATE INDEX sealed_of_person ON sealed (person, kind);

-- Consents outlive a person's key, as proof under a name that leads nowhere.
CREATE TABLE consent (
    number INTEGER PRIMARY KEY,
    person TEXT NOT NULL REFERENCES person (person),
    purpose TEXT NOT NULL,
    recipient TEXT NOT NULL,
    wording TEXT NOT NULL, -- which text was agreed to
    given_s INTEGER NOT NULL,
    withdrawn_s INTEGER
) STRICT;

CREATE INDEX consent_of_person ON consent (person);

-- Disputes, by the digest of their claim; all else of them is sealed.
CREATE TABLE dispute (
    dispute TEXT PRIMARY KEY,
    person TEXT NOT NULL REFERENCES person (person),
    sealed INTEGER NOT NULL, -- the newest record of it; gone with the person's key
    opened_s INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

-- Whose signature counts for what, beside households' own.
CREATE TABLE authority (
    role TEXT NOT NULL,
    address TEXT NOT NULL,
    since_s INTEGER NOT NULL,
    until_s INTEGER,
    PRIMARY KEY (role, address, since_s)
) WITHOUT ROWID, STRICT;

-- What retention and erasure did, without saying to whom.
CREATE TABLE upkeep (
    number INTEGER PRIMARY KEY,
    done_s INTEGER NOT NULL,
    what TEXT NOT NULL,
    records INTEGER NOT NULL
) STRICT;
