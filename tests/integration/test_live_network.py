"""``daisee simulate --chain geth``: processes that trade in real time, and are gone afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from node.clock import wall_seconds
from tests.support.living import living
from tests.support.needs import need_geth
from tests.support.node_process import pause
from tests.support.shared import CHECKOUT

pytestmark = pytest.mark.network

HOMES: Final = 3
SLOTS: Final = 2
COMMAND: Final = (
    *(sys.executable, "-m", "node.cli.main", "simulate", "--chain", "geth", "--validators", "4"),
    *("--homes", str(HOMES), "--slot", "10s", "--gate", "8s", "--slots", str(SLOTS)),
)
WITHIN_S: Final = 400.0


@pytest.fixture(autouse=True)
def _geth_is_here() -> None:
    need_geth()


def started(folder: Path) -> subprocess.Popen[str]:
    """The command, whose processes can be told by the folder that they live in."""
    lives = folder / "lives"
    lives.mkdir()
    return subprocess.Popen(
        [*COMMAND, "--out", str(folder / "run"), "--json"],
        cwd=CHECKOUT,
        env=os.environ | {"TMPDIR": str(lives)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_street_trades_as_the_reference_does_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with started(tmp_path) as process:
        said, complained = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, complained
    results: dict[str, Any] = json.loads(said)
    assert (results["homes"], results["slots"]) == (HOMES, SLOTS)
    assert (results["energy_error_wh"], results["money_error_units"]) == (0, 0)
    assert results["chain"]["engine"] == "geth"
    assert results["traded_wh"] > 0
    run = tmp_path / "run"
    live: dict[str, Any] = json.loads((run / "live.json").read_text())
    assert live["orders_accepted"] == live["orders_expected"] == results["orders"] > 0
    assert (live["audit_differences"], live["orders_expired"]) == (0, 0)
    assert len(live["home_peak_rss_mb"]) == HOMES
    assert len((run / "slots.jsonl").read_text().splitlines()) == SLOTS
    assert (run / "report.html").is_file()
    assert (run / "scenario.toml").read_text().count('chain = "geth"') == 1
    assert living(tmp_path / "lives") == []
    assert list((tmp_path / "lives").iterdir()) == []


@pytest.mark.parametrize(
    "first",
    [
        pytest.param("geth", id="while a first block is written"),
        pytest.param("endpoints.json", id="while all nodes run"),
    ],
)
def test_whoever_is_told_to_stop_stops_all_its_processes(tmp_path: Path, first: str) -> None:
    lives = tmp_path / "lives"
    with started(tmp_path) as process:
        begun_s = wall_seconds()
        while not any(first in (*folders, *files) for _, folders, files in os.walk(lives)):
            assert process.poll() is None, process.communicate()
            assert wall_seconds() < begun_s + WITHIN_S
            pause(0.005)
        process.send_signal(signal.SIGTERM)
        _, complained = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in complained
    assert living(lives) == []
    assert list(lives.iterdir()) == []
    assert not (tmp_path / "run").exists()
