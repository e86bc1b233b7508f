"""kill -9 of the real daemon at random: what was acknowledged stays, and no Wh is lost.

``DAISEE_KILLS`` is how often, ``DAISEE_CAMPAIGN_SEED`` other moments. A kill takes the process, not
the power: what a power cut can take is another test's business.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.kills import kill_again_and_again

pytestmark = pytest.mark.fault

KILLS = int(os.environ.get("DAISEE_KILLS", "200"))
SEED = int(os.environ.get("DAISEE_CAMPAIGN_SEED", "0"))


def test_nothing_acknowledged_is_lost_by_kills_at_random(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    report = kill_again_and_again(tmp_path, KILLS, SEED)
    record_testsuite_property("kills", report.text())
    logging.getLogger("kills").warning("seed=%d %s", SEED, report.text())
    assert sum(lane.kills for lane in report.lanes) == KILLS
    assert sum(lane.gap_wh for lane in report.lanes) == 0
    assert sum(lane.slots for lane in report.lanes) > KILLS // 2
    assert sum(lane.orders for lane in report.lanes) > KILLS // 8
