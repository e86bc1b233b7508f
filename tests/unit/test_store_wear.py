"""How much a memory card is written, with a meter that speaks every second."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.shared import CHECKOUT

RAW_BYTES_A_DAY = 2_000_000


@pytest.fixture(scope="module")
def wear(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """Bytes of a day by meter, in a process of its own."""
    if not Path("/proc/self/io").exists():
        pytest.skip("this kernel does not count what a process writes")
    folder = tmp_path_factory.mktemp("card")
    command = [sys.executable, "-m", "tests.support.card_wear", str(folder)]
    told = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, timeout=300)
    wear: dict[str, dict[str, int]] = json.loads(told.stdout)
    return wear


@pytest.mark.parametrize("meter", ["home", "noise"])
def test_raw_samples_write_two_megabytes_a_day_at_most(
    wear: dict[str, dict[str, int]], meter: str
) -> None:
    assert 0 < wear[meter]["raw_written"] <= RAW_BYTES_A_DAY
    assert wear[meter]["raw_dirtied"] <= RAW_BYTES_A_DAY


def test_all_the_rest_of_a_day_is_no_more_than_six(wear: dict[str, dict[str, int]]) -> None:
    """Six commits a slot, a page of the card each, come to 2.4 MB before anything is in them."""
    assert max(wear["none"].values()) <= 3 * RAW_BYTES_A_DAY
