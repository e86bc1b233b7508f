"""The owner confirms what a node never decides by itself: that its meter was replaced."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from node.store import NodeDatabase
from tests.support.node_process import (
    FedLine,
    NodeFolder,
    fed_line,
    free_port,
    node_process,
    wait_for,
)
from tests.support.shared import CHECKOUT

pytestmark = pytest.mark.fault

NEW_METER = "041876013514"


@pytest.fixture
def home(tmp_path: Path) -> NodeFolder:
    return NodeFolder(tmp_path, metrics_port=free_port())


@pytest.fixture
def line(home: NodeFolder) -> Iterator[FedLine]:
    with fed_line(home.port, frames_per_s=8.0) as line:
        yield line


def confirm(home: NodeFolder, what: str, *more: str) -> subprocess.CompletedProcess[str]:
    arguments = ("node", "confirm", what, "--config", str(home.write()), *more)
    return subprocess.run(
        [sys.executable, "-m", "node.cli.main", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def slots(home: NodeFolder) -> int:
    with NodeDatabase.open_read_only(home.database) as storage:
        return storage.totals().slots


def meters(home: NodeFolder) -> list[str]:
    """Whose readings closed slots, in order."""
    with NodeDatabase.open_read_only(home.database) as storage:
        return list(dict.fromkeys(r.meter_id for r in storage.last_readings(10_000)))


def test_a_replaced_meter_is_counted_once_its_owner_says_so(
    home: NodeFolder, line: FedLine
) -> None:
    with node_process(home.write()) as node:
        node.hear("READY=1")
        wait_for(lambda: home.database.exists() and slots(home) >= 2)
        nothing = confirm(home, "swap", "--yes")
        assert (nothing.returncode, nothing.stdout) == (6, "")
        assert "there is no swap to confirm" in nothing.stderr
        line.replace_meter(NEW_METER)
        wait_for(lambda: "speaks where meter" in node.text(), 60)
        assert len(meters(home)) == 1
        asked = confirm(home, "swap")
        assert asked.returncode != 0, "nobody was there to say yes"
        done = confirm(home, "swap", "--yes", "--json")
        assert (done.returncode, json.loads(done.stdout)) == (0, {"confirmed": "swap"})
        before = slots(home)
        wait_for(lambda: slots(home) > before + 2, 180)  # a step that failed waits a minute
        assert node.stop()[0] == 0
    assert meters(home)[-1] == NEW_METER
    with NodeDatabase.open_read_only(home.database) as storage:
        readings = storage.last_readings(10_000)
        totals = storage.totals()
        # Counted totals go on across the swap: the new meter's 777 kWh are nobody's import.
        assert totals.export_wh == readings[-1].export_wh - readings[0].export_wh < 100_000
        assert totals.import_wh == readings[-1].import_wh - readings[0].import_wh < 100_000


def test_a_confirmed_swap_outlives_the_power(tmp_path: Path) -> None:
    """In slots of an hour nothing else is kept in between."""
    home = NodeFolder(tmp_path, slot_s=3_600, metrics_port=free_port())
    config = home.write()

    def shown(key: str, part: str = "meter") -> object:
        with urlopen(f"http://127.0.0.1:{home.metrics_port}/status.json", timeout=5) as answer:
            found: dict[str, object] = json.load(answer)[part]
        return found[key]

    with fed_line(home.port, frames_per_s=8.0) as line:
        with node_process(config) as node:
            node.hear("READY=1")
            wait_for(lambda: shown("import_wh", "node") is not None)
            assert node.stop()[0] == 0
        line.replace_meter(NEW_METER)
        with node_process(config) as node:
            node.hear("READY=1")
            wait_for(lambda: shown("state") == "swap to confirm", 60)
            done = confirm(home, "swap", "--yes")
            assert done.returncode == 0, done.stderr
            node.kill()
        with node_process(config) as node:
            node.hear("READY=1")
            wait_for(lambda: int(str(shown("frames"))) >= 10, 60)
            assert shown("state") == "speaking"
            assert node.stop()[0] == 0
    with NodeDatabase.open_read_only(home.database) as storage:
        state = storage.meter_state("meter")
    assert state is not None
    assert json.loads(state)["series"]["meter"] == NEW_METER


def test_without_a_node_nothing_is_confirmed_and_nothing_is_left(home: NodeFolder) -> None:
    config = home.write()
    missing = confirm(home, "restart", "--yes")
    assert (missing.returncode, "no node has run" in missing.stderr) == (3, True)
    NodeDatabase.open(home.database).close()
    silent = confirm(home, "restart", "--yes")
    assert (silent.returncode, "nothing was confirmed" in silent.stderr) == (4, True)
    assert {path.name for path in home.folder.iterdir()} <= {config.name, "node.db"}
