"""A node that is started while the disk is full: it waits, and goes on by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.support.node_process import NodeFolder
from tests.support.small_disk import run_with_small_disk

pytestmark = pytest.mark.fault

SCENARIO: Final = """
import sys
from pathlib import Path

from node.store import NodeDatabase
from tests.support.node_process import fed_line, node_process, wait_for

disk, config, port = map(Path, sys.argv[1:4])
ballast = disk / "ballast"


def fill():
    with ballast.open("wb", buffering=0) as file:
        for piece in (b"x" * 4096, b"x"):
            try:
                while file.write(piece):
                    pass
            except OSError:
                pass


def closed_slots():
    with NodeDatabase.open_read_only(disk / "daisee" / "node.db") as storage:
        return storage.totals().slots


def waits(node):
    for _ in range(3):
        node.hear("EXTEND_TIMEOUT_USEC=")
    assert node.process.poll() is None
    assert "Traceback" not in node.text(), node.text()
    assert node.text().count("start_waits") >= 1, node.text()
    assert " ready version" not in node.text()


if sys.argv[4] == "known":
    with fed_line(port), node_process(config) as node:
        node.hear("READY=1")
        wait_for(lambda: "meter_state state='speaking'" in node.text())
        assert node.stop()[0] == 0, node.text()
    config.with_name("node.log").unlink()
fill()
with node_process(config) as node:
    waits(node)
    code, stop_s = node.stop()
    assert code == 0, node.text()
    assert stop_s < 5, stop_s
with fed_line(port, frames_per_s=8), node_process(config) as node:
    waits(node)
    ballast.unlink()
    node.hear("READY=1")
    assert "start_goes_on" in node.text(), node.text()
    wait_for(closed_slots, 60)
    assert node.stop()[0] == 0, node.text()
    assert "Traceback" not in node.text(), node.text()
"""


@pytest.mark.parametrize("database", ["new", "known"])
def test_a_full_disk_at_the_start_is_waited_for(tmp_path: Path, database: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    home = NodeFolder(tmp_path)
    config = home.write()
    text = config.read_text()
    config.write_text(text.replace(str(home.database), str(disk / "daisee" / "node.db")))
    ended = run_with_small_disk(SCENARIO, disk, str(config), str(home.port), database, within_s=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
