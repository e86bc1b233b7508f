"""The SQL of a household node's database, by what it is asked for.

Values are bound in the order of ``node.store.node_rows``. What a rewind forgets is found without an
index: a reorganisation may read the whole file, an index would be written in every slot.
"""

from __future__ import annotations

from typing import Final

ADD_READING: Final = (
    "INSERT INTO reading (meter_id, taken_at_s, import_wh, export_wh, evidence_class, quality)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
LAST_READING: Final = (
    "SELECT meter_id, taken_at_s, import_wh, export_wh, evidence_class, quality"
    " FROM reading ORDER BY number DESC LIMIT 1"
)
LAST_READINGS: Final = (
    "SELECT meter_id, taken_at_s, import_wh, export_wh, evidence_class, quality"
    " FROM reading ORDER BY number DESC LIMIT ?"
)
METER_STATE: Final = "SELECT state FROM meter_state WHERE source = ?"
SET_METER_STATE: Final = (
    "INSERT INTO meter_state (source, state) VALUES (?, ?)"
    " ON CONFLICT DO UPDATE SET state = excluded.state"
)
ADD_SAMPLES: Final = (
    "INSERT INTO sample_batch (meter_id, from_s, to_s, count, packed) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT DO NOTHING"
)
SAMPLES: Final = """
SELECT meter_id, from_s, to_s, count, packed FROM sample_batch
WHERE meter_id = :meter_id AND from_s < :to_s AND to_s >= :from_s
ORDER BY from_s
"""
PRUNE_SAMPLES: Final = """
DELETE FROM sample_batch WHERE number IN (
    SELECT number FROM sample_batch WHERE from_s < :before_s AND to_s < :before_s
    ORDER BY from_s LIMIT :at_once
)
"""
ADD_SLOT_ENERGY: Final = (
    "INSERT INTO slot_energy (slot, import_wh, export_wh, quality) VALUES (?, ?, ?, ?)"
    " ON CONFLICT DO NOTHING"
)
SLOT_ENERGY: Final = "SELECT slot, import_wh, export_wh, quality FROM slot_energy WHERE slot = ?"
CALL_ESTIMATED: Final = "UPDATE slot_energy SET quality = 1 WHERE slot = ?"
ADD_INTENT: Final = (
    "INSERT INTO intent (slot, side, household, energy_wh, limit_price, evidence, signature,"
    " state, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '') ON CONFLICT DO NOTHING"
)
SET_INTENT_STATE: Final = (
    "UPDATE intent SET state = ?, reason = ?, accepted_block = ?, accepted_index = ?"
    " WHERE slot = ? AND side = ?"
)
INTENT: Final = (
    "SELECT household, slot, side, energy_wh, limit_price, evidence, signature"
    " FROM intent WHERE slot = ? AND side = ? AND state <> 5"
)
ADD_ELSEWHERE: Final = (
    "INSERT INTO intent (slot, side, household, energy_wh, limit_price, evidence, signature,"
    " state, reason, accepted_block, accepted_index)"
    " VALUES (?, ?, ?, ?, ?, ?, x'', 5, '', ?, ?) ON CONFLICT DO NOTHING"
)
IS_ELSEWHERE: Final = "SELECT 1 FROM intent WHERE slot = ? AND side = ? AND state = 5"
REPLACE_SIGNATURE: Final = (
    "UPDATE intent SET signature = ?, state = 0, reason = ''"
    " WHERE slot = ? AND side = ? AND state <= 1"
)
OPEN_INTENTS: Final = (
    "SELECT household, slot, side, energy_wh, limit_price, evidence, signature, state"
    " FROM intent WHERE state <= 1 ORDER BY slot, side"
)
CURSOR: Final = "SELECT block, log_index, coalesce(block_hash, x'') FROM cursor"
SET_CURSOR: Final = "UPDATE cursor SET block = ?, log_index = ?, block_hash = nullif(?, x'')"
CHECKPOINTS: Final = "SELECT block, log_index, block_hash FROM checkpoint ORDER BY block"
ADD_CHECKPOINT: Final = (
    "INSERT INTO checkpoint (block, log_index, block_hash) VALUES (?, ?, ?)"
    " ON CONFLICT DO UPDATE SET log_index = excluded.log_index, block_hash = excluded.block_hash"
)
FORGET_CHECKPOINT: Final = "DELETE FROM checkpoint WHERE block = ?"
FORGET_CHECKPOINTS: Final = "DELETE FROM checkpoint WHERE block > ?"
ADD_CLEARING: Final = (
    "INSERT INTO clearing (slot, price, matched_wh, ask_wh, bid_wh, block, log_index)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
CLEARING: Final = (
    "SELECT block, log_index, slot, price, matched_wh, ask_wh, bid_wh FROM clearing WHERE slot = ?"
)
RECENT_CLEARINGS: Final = (
    "SELECT block, log_index, slot, price, matched_wh, ask_wh, bid_wh"
    " FROM clearing ORDER BY slot DESC LIMIT ?"
)
ADD_SETTLEMENT: Final = (
    "INSERT INTO settlement (slot, side, household, filled_wh, price, amount_units, block,"
    " log_index) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
SETTLEMENT: Final = (
    "SELECT block, log_index, slot, household, side, filled_wh, price, amount_units"
    " FROM settlement WHERE slot = ? AND side = ?"
)
OWN_TRADES: Final = """
SELECT i.household, i.slot, i.side, i.energy_wh, i.limit_price, i.evidence, i.state, i.reason,
       c.block, c.log_index, c.slot, c.price, c.matched_wh, c.ask_wh, c.bid_wh,
       s.block, s.log_index, s.slot, s.household, s.side, s.filled_wh, s.price, s.amount_units
FROM intent AS i
LEFT JOIN clearing AS c ON c.slot = i.slot
LEFT JOIN settlement AS s ON s.slot = i.slot AND s.side = i.side
WHERE i.slot >= ? AND i.slot < ?
ORDER BY i.slot, i.side
"""
ENERGY_TOTALS: Final = """
SELECT count(*), coalesce(sum(import_wh), 0), coalesce(sum(export_wh), 0)
FROM slot_energy WHERE slot >= ? AND slot < ?
"""
TRADE_TOTALS: Final = """
SELECT coalesce(sum(filled_wh) FILTER (WHERE side = 1), 0),
       coalesce(sum(filled_wh) FILTER (WHERE side = 0), 0),
       coalesce(-sum(amount_units) FILTER (WHERE side = 1), 0),
       coalesce(sum(amount_units) FILTER (WHERE side = 0), 0)
FROM settlement WHERE slot >= ? AND slot < ?
"""

FORGET_CLEARINGS: Final = "DELETE FROM clearing WHERE (block, log_index) > (?, ?)"
FORGET_SETTLEMENTS: Final = "DELETE FROM settlement WHERE (block, log_index) > (?, ?)"
FORGET_ELSEWHERE: Final = (
    "DELETE FROM intent WHERE state = 5 AND (accepted_block, accepted_index) > (?, ?)"
)
FORGET_ACCEPTANCES: Final = """
UPDATE intent SET state = 1, reason = '', accepted_block = NULL, accepted_index = NULL
WHERE (accepted_block, accepted_index) > (?, ?)
"""
