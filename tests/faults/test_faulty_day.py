"""Days on which everything goes wrong; ``scripts/campaign days`` lives a hundred of them."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Final

import pytest

from simulations.fate import Fault
from simulations.faults import faulty_day

DAYS: Final = int(os.environ.get("DAISEE_DAYS", "1"))
FIRST_SEED: Final = int(os.environ.get("DAISEE_CAMPAIGN_SEED", "0"))


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + DAYS))
def test_a_day_of_faults_doubles_no_order_and_loses_nothing(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Each day is lived twice: of one seed the very same day follows."""
    caplog.set_level(logging.CRITICAL, "daisee")
    day = asyncio.run(faulty_day(seed))
    assert day.is_sound, f"seed {seed}: {day}"
    assert asyncio.run(faulty_day(seed)) == day, f"seed {seed} gives another day the second time"
    assert day.orders > 1_000
    assert set(day.happened) == {*Fault, "power cut"}


def test_another_seed_is_another_day() -> None:
    days = [asyncio.run(faulty_day(seed, homes=2, slots=24)) for seed in (1, 2)]
    assert days[0].digest != days[1].digest
