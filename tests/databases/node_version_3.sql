-- What the household of node_version_3.sqlite had lived when its daisee knew schema version 3: that of
-- version 2, with the hash of the block on which the cursor stands. A file of version 3 held these
-- rows; later versions must keep them.

INSERT INTO reading
    (meter_id, taken_at_s, import_wh, export_wh, evidence_class, quality)
VALUES
    ('061964000123', 1460073600, 4120300, 980100, 1, 0),
    ('061964000123', 1460074500, 4120712, 980100, 1, 0),
    ('061964000123', 1460075400, 4121024, 980145, 1, 1);

INSERT INTO slot_energy (slot, import_wh, export_wh, quality) VALUES
    (1622304, 412, 0, 0),
    (1622305, 312, 45, 1);

INSERT INTO meter_state (source, state) VALUES ('meter', '{"version": 1}');

INSERT INTO sample_batch (meter_id, from_s, to_s, count, packed) VALUES
    ('061964000123', 1460073600, 1460074499, 90, CAST('packed' AS BLOB));

INSERT INTO intent
    (slot, side, household, energy_wh, limit_price, evidence, signature, state, reason,
     accepted_block, accepted_index)
VALUES
    (1622303, 1, 7, 88, 9000, NULL, CAST(printf('%064d', 1) AS BLOB), 2, '', NULL, NULL),
    (1622304, 1, 7, 412, 9000,
        CAST(printf('%032d', 7) AS BLOB), CAST(printf('%064d', 2) AS BLOB), 2, '', 119, 1),
    (1622305, 1, 7, 312, 9000, NULL, CAST(printf('%064d', 3) AS BLOB), 1, '', NULL, NULL);

INSERT INTO clearing (slot, price, matched_wh, ask_wh, bid_wh, block, log_index) VALUES
    (1622304, 7000, 400, 900, 1000, 120, 3);

INSERT INTO settlement
    (slot, side, household, filled_wh, price, amount_units, block, log_index)
VALUES
    (1622304, 1, 7, 400, 7000, -2800000, 121, 0);

UPDATE cursor SET block = 310, log_index = 2147483647, block_hash = x'c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3';
