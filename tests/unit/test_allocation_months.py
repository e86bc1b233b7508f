"""Random months under random keys, and markets that were measured otherwise: nothing is lost.

The suite runs the first 200; ``scripts/campaign months`` the next 10,000.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Final

import pytest

from node.billing.allocation import allocate
from node.billing.reconcile import reconcile, revised
from tests.support.allocations import check_conservation, check_matrices, check_pairs
from tests.support.official_curves import (
    SLOT_S,
    market_allocation,
    measured_otherwise,
    random_fills,
)
from tests.support.random_months import random_month

SUITE: Final = 200
CAMPAIGN: Final = 10_000
BLOCK: Final = 50
SEED: Final = int(os.environ.get("DAISEE_CAMPAIGN_SEED", "0"))
SLOTS: Final = 24


def check_month(number: int) -> None:
    """A month's allocation, in groups of steps as tariffs make them."""
    rng = random.Random(f"month {SEED} {number}")
    month = random_month(rng)
    groups = [step * 7 // 48 % 3 for step in range(month.steps)]
    allocation = allocate(month.key, month.production, month.consumption, groups=groups)
    check_conservation(allocation)
    check_pairs(allocation)
    closed = set(range(month.steps)) - set(allocation.open_steps)
    check_matrices(allocation, rng.sample(sorted(closed), 5))


def check_corrections(number: int) -> None:
    """Hours of a market, corrected twice; the second time by entries beside the first."""
    rng = random.Random(f"market {SEED} {number}")
    fills = random_fills(rng, SLOTS)
    entries = []
    for step_s in rng.choices((300, 900, 1_800, 3_600), k=2):
        official = measured_otherwise(rng, fills, SLOTS, step_s, absent=0)
        found = reconcile(fills, official, SLOT_S)
        check_conservation(market_allocation(fills, official, SLOTS, step_s))
        entries.append(found.entries)
    entries.append(tuple(revised(*entries)))
    for each in entries:
        energy_wh: Counter[tuple[int, int]] = Counter()
        amount_units: Counter[int] = Counter()
        for entry in each:
            energy_wh[entry.slot, entry.household] += entry.energy_wh
            amount_units[entry.slot] += entry.amount_units
        assert not any(energy_wh.values())
        assert not any(amount_units.values())


@pytest.mark.parametrize("first", range(0, SUITE, BLOCK))
def test_random_months_conserve(first: int) -> None:
    for number in range(first, first + BLOCK):
        check_month(number)
        check_corrections(number)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(SUITE, SUITE + CAMPAIGN, BLOCK))
def test_many_random_months_conserve(first: int) -> None:
    for number in range(first, first + BLOCK):
        check_month(number)
        check_corrections(number)
