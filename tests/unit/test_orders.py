"""Orders are exactly the metered energy, and their evidence opens to what was read."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from node.market.orders import evidence_commitment, evidence_salt, orders_for
from node.market.strategies import FixedReserve, MarketView
from node.model import Household, MarketRules, Order, RegisterReading, Side, SlotEnergy

RULES = MarketRules()
VIEW = MarketView(RULES, random.Random(1))
HOME = Household(7, import_limit_wh=3_000, export_limit_wh=2_000)
EVIDENCE = bytes(range(32))
KEY = b"k" * 32
BEFORE = RegisterReading("m1", 900, 1_000, 50)
AFTER = RegisterReading("m1", 1_800, 1_250, 90)


def orders(import_wh: int, export_wh: int) -> list[Order]:
    energy = SlotEnergy(5, import_wh, export_wh)
    return orders_for(HOME, energy, FixedReserve(), VIEW, EVIDENCE)


def test_one_order_for_each_side_that_has_energy() -> None:
    ask = Order(7, 5, Side.ASK, 400, RULES.grid.floor_price, EVIDENCE)
    bid = Order(7, 5, Side.BID, 250, RULES.grid.cap_price, EVIDENCE)
    assert orders(250, 400) == [ask, bid]
    assert orders(250, 0) == [bid]
    assert orders(0, 400) == [ask]
    assert orders(0, 0) == []


@given(import_wh=st.integers(0, 10_000), export_wh=st.integers(0, 10_000))
def test_never_more_than_was_metered_nor_than_the_limit(import_wh: int, export_wh: int) -> None:
    by_side = {order.side: order.energy_wh for order in orders(import_wh, export_wh)}
    assert by_side.get(Side.BID, 0) == min(import_wh, 3_000)
    assert by_side.get(Side.ASK, 0) == min(export_wh, 2_000)


def test_a_commitment_opens_to_the_readings_and_to_nothing_else() -> None:
    salt = evidence_salt(KEY, 5)
    known = evidence_commitment(salt, BEFORE, AFTER, b"digest")
    assert len(known) == 32
    assert known == evidence_commitment(salt, BEFORE, AFTER, b"digest")
    others = {
        evidence_commitment(evidence_salt(KEY, 6), BEFORE, AFTER, b"digest"),
        evidence_commitment(salt, replace(BEFORE, import_wh=1_001), AFTER, b"digest"),
        evidence_commitment(salt, BEFORE, replace(AFTER, taken_at_s=1_801), b"digest"),
        evidence_commitment(salt, BEFORE, replace(AFTER, meter_id="m2"), b"digest"),
        evidence_commitment(salt, BEFORE, AFTER),
    }
    assert len(others | {known}) == 6


def test_salts_differ_by_slot_and_by_household() -> None:
    salts = {evidence_salt(key, slot) for key in (KEY, b"j" * 32) for slot in range(100)}
    assert len(salts) == 200
    assert {len(salt) for salt in salts} == {16}
