-- What the household of node_version_1.sqlite had lived when its daisee knew schema version 1:
-- five closed slots (one estimated), six orders in every state there is, two clearings (one without
-- a price), one settlement. A file of version 1 held these rows; later versions must keep them.

INSERT INTO reading (meter_id, taken_at_s, import_wh, export_wh, evidence_class) VALUES
    ('061964000123', 1460073600, 4120300, 980100, 1),
    ('061964000123', 1460074500, 4120712, 980100, 1),
    ('061964000123', 1460075400, 4121024, 980145, 1),
    ('061964000123', 1460077200, 4121024, 980906, 1),
    ('061964000123', 1460078100, 4121200, 980906, 2);

INSERT INTO slot_energy (slot, import_wh, export_wh, quality) VALUES
    (1622304, 412, 0, 0),
    (1622305, 312, 45, 0),
    (1622306, 0, 380, 1),
    (1622307, 0, 381, 1),
    (1622308, 176, 0, 0);

INSERT INTO intent
    (slot, side, household, energy_wh, limit_price, evidence, signature, state, reason)
VALUES
    (1622304, 1, 7, 412, 9000,
        CAST(printf('%032d', 7) AS BLOB), CAST(printf('%064d', 1) AS BLOB), 2, ''),
    (1622305, 0, 7, 45, 5000, NULL, CAST(printf('%064d', 2) AS BLOB), 2, ''),
    (1622305, 1, 7, 312, 9000, NULL, CAST(printf('%064d', 3) AS BLOB), 3, 'insufficient_credit'),
    (1622306, 0, 7, 380, 5000, NULL, CAST(printf('%064d', 4) AS BLOB), 4, 'not_heard_of'),
    (1622308, 0, 7, 1, 5000, NULL, CAST(printf('%064d', 5) AS BLOB), 0, ''),
    (1622308, 1, 7, 176, 9000, NULL, x'', 1, '');

INSERT INTO clearing (slot, price, matched_wh, ask_wh, bid_wh, block, log_index) VALUES
    (1622304, 7000, 400, 900, 1000, 120, 3),
    (1622305, NULL, 0, 45, 0, 300, 0);

INSERT INTO settlement
    (slot, side, household, filled_wh, price, amount_units, block, log_index)
VALUES
    (1622304, 1, 7, 400, 7000, -2800000, 121, 0);

UPDATE cursor SET block = 310, log_index = 4294967295;
