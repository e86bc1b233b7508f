"""``daisee node run`` as a household has it: a real process, a real line, faults of every day."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from node.config import load_config
from node.model import Quality
from node.service.upkeep import BACKUP_NAME
from node.store import NodeDatabase
from tests.support.broker import Broker
from tests.support.broker import broker as running_broker
from tests.support.node_process import (
    FedLine,
    NodeFolder,
    fed_line,
    free_port,
    node_process,
    pause,
    wait_for,
)
from tests.support.shared import CHECKOUT

READY_BAR_S = 10.0
STOP_BAR_S = 5.0

CANARY = "canary-correct-horse-battery"


@pytest.fixture
def home(tmp_path: Path) -> NodeFolder:
    return NodeFolder(tmp_path, metrics_port=free_port())


@pytest.fixture
def line(home: NodeFolder) -> Iterator[FedLine]:
    with fed_line(home.port, frames_per_s=8.0) as line:
        yield line


def page(home: NodeFolder) -> dict[str, Any]:
    with urlopen(f"http://127.0.0.1:{home.metrics_port}/status.json", timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def closed_slots(home: NodeFolder) -> int:
    if not home.database.exists():
        return 0
    with NodeDatabase.open_read_only(home.database) as storage:
        return storage.totals().slots


def assert_books_close(home: NodeFolder) -> None:
    """Slots add up to the registers, to the Wh."""
    with NodeDatabase.open_read_only(home.database) as storage:
        assert storage.integrity() == []
        readings = storage.last_readings(1_000_000)
        totals = storage.totals()
        assert totals.import_wh == readings[-1].import_wh - readings[0].import_wh
        assert totals.export_wh == readings[-1].export_wh - readings[0].export_wh


def daisee(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "node.cli.main", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.usefixtures("line")
def test_ready_soon_and_stopped_soon_with_everything_kept(home: NodeFolder) -> None:
    with node_process(home.write()) as node:
        assert node.hear("READY=1") < READY_BAR_S
        wait_for(lambda: closed_slots(home) >= 2)
        code, stop_s = node.stop()
    assert code == 0, node.text()
    assert stop_s < STOP_BAR_S
    assert "Traceback" not in node.text()
    assert_books_close(home)
    with NodeDatabase.open_read_only(home.database) as storage:
        assert storage.meter_state("meter") is not None
        reading = storage.last_reading()
        assert reading is not None
        assert list(storage.samples(reading.meter_id, 0, 2**40))


def test_ready_without_a_meter_and_without_a_chain(home: NodeFolder) -> None:
    chain = f'[chain]\nrpc = "http://127.0.0.1:{free_port()}"\nchain_id = 1\n'
    away = NodeFolder(
        home.folder, metrics_port=home.metrics_port, more=chain + f'market = "0x{"5a" * 20}"\n'
    )
    with node_process(away.write()) as node:
        assert node.hear("READY=1") < READY_BAR_S
        wait_for(lambda: "chain_away" in node.text())
        found = page(away)
        assert found["meter"]["state"] in {"waiting", "silent"}
        assert found["chain"] == {**found["chain"], "known": True, "reachable": False}
        with fed_line(away.port, frames_per_s=8.0):
            wait_for(lambda: closed_slots(away) >= 2, 60)
        assert any(trouble["kind"] == "ChainUnreachable" for trouble in page(away)["troubles"])
        code, stop_s = node.stop()
    assert (code, stop_s < STOP_BAR_S) == (0, True)
    assert node.text().count("chain_away") == 1, "told when it changes, not each time"


@pytest.mark.usefixtures("line")
def test_a_second_node_on_the_same_database_is_refused_by_name(home: NodeFolder) -> None:
    config = home.write()
    with node_process(config) as node:
        node.hear("READY=1")
        second = daisee("node", "run", "--config", str(config))
        assert second.returncode == 3
        assert f"another node, process {node.pid}, uses this database already" in second.stderr
        assert node.process.poll() is None
        node.kill()
    with node_process(config) as after:  # a lock of the dead binds nobody
        after.hear("READY=1")
        assert after.stop()[0] == 0


def test_a_cable_that_is_pulled_out_and_put_back(home: NodeFolder, line: FedLine) -> None:
    with node_process(home.write()) as node:
        node.hear("READY=1")
        wait_for(lambda: closed_slots(home) >= 1)
        line.unplug()
        wait_for(lambda: page(home)["meter"]["connected"] is False)
        pause(2 * home.slot_s)
        line.plug()
        wait_for(lambda: page(home)["meter"]["state"] == "speaking", 60)
        before = closed_slots(home)
        wait_for(lambda: closed_slots(home) > before + 1)
        assert node.stop()[0] == 0
    assert "Traceback" not in node.text()
    assert_books_close(home)
    with NodeDatabase.open_read_only(home.database) as storage:
        reading = storage.last_reading()
        assert reading is not None
        imports, exports = line.between(reading.taken_at_s)
        assert reading.import_wh in imports
        assert reading.export_wh in exports


@pytest.mark.usefixtures("line")
def test_a_full_disk_stops_nothing_for_good(home: NodeFolder) -> None:
    with node_process(home.write()) as node:
        node.hear("READY=1")
        wait_for(lambda: closed_slots(home) >= 1)
        free = resource.prlimit(node.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (1, free[1]))
        wait_for(lambda: "close" in {trouble["step"] for trouble in page(home)["troubles"]})
        for trouble in page(home)["troubles"]:
            assert trouble["kind"] == "StorageBusy"
            assert "full disk" in trouble["next_step"]
        pause(2 * home.slot_s)
        before = closed_slots(home)
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, free)
        wait_for(lambda: closed_slots(home) > before + 1, 90)
        wait_for(lambda: not page(home)["troubles"])
        assert node.stop()[0] == 0
    assert "Traceback" not in node.text()
    assert_books_close(home)


@pytest.mark.usefixtures("line")
def test_systemd_hears_of_progress_and_of_nothing_else(home: NodeFolder) -> None:
    with node_process(home.write(), watchdog_us=6_000_000) as node:
        node.hear("READY=1")
        for _ in range(3):
            node.hear("WATCHDOG=1")
        node.process.send_signal(signal.SIGSTOP)
        node.drain()
        assert not node.hears_of("WATCHDOG=1", within_s=3.0)
        node.process.send_signal(signal.SIGCONT)
        node.hear("WATCHDOG=1")


@pytest.mark.usefixtures("line")
def test_a_port_that_is_taken_hides_the_page_and_stops_nothing(home: NodeFolder) -> None:
    taken = socket.create_server(("127.0.0.1", home.metrics_port))
    with closing(taken), node_process(home.write()) as node:
        node.hear("READY=1")
        wait_for(lambda: "task_failed name=page" in node.text())
        wait_for(lambda: closed_slots(home) >= 1)
        assert node.stop()[0] == 0


@pytest.mark.usefixtures("line")
def test_status_asks_the_node_and_else_its_database(home: NodeFolder) -> None:
    config = home.write()
    nothing_yet = daisee("node", "status", "--config", str(config))
    assert nothing_yet.returncode == 3
    assert "there is no database yet" in nothing_yet.stderr
    with node_process(config) as node:
        node.hear("READY=1")
        wait_for(lambda: closed_slots(home) >= 2)
        running = daisee("node", "status", "--config", str(config))
        assert running.returncode == 0, running.stderr
        for word in ("meter    speaking", "chain    none", "clock", "today", "paper mode"):
            assert word in running.stdout
        as_json = json.loads(daisee("node", "status", "--json", "--config", str(config)).stdout)
        assert as_json["running"] is True
        assert as_json["mode"] == "paper"
        assert {order["side"] for order in as_json["orders"]} == {"ask", "bid"}
        assert {order["state"] for order in as_json["orders"]} == {"paper"}
        assert node.stop()[0] == 0
    stopped = daisee("node", "status", "--json", "--config", str(config))
    assert stopped.returncode == 4
    document = json.loads(stopped.stdout)
    assert document["running"] is False
    assert document["today"]["import_wh"] > 0
    assert "does not run" in daisee("node", "status", "--config", str(config)).stdout


@pytest.mark.usefixtures("line")
def test_on_paper_nothing_is_signed(home: NodeFolder) -> None:
    with node_process(home.write()) as node:
        node.hear("READY=1")
        wait_for(lambda: closed_slots(home) >= 3)
        assert node.stop()[0] == 0
    with NodeDatabase.open_read_only(home.database) as storage:
        trades = storage.own_trades()
        assert trades
        for trade in trades:
            kept = storage.intent(trade.order.slot, trade.order.side)
            assert kept is not None
            assert kept.signature == b""
            energy = storage.slot_energy(trade.order.slot)
            assert energy is not None
            assert energy.quality is Quality.METERED
    assert "WARNING daisee.node" not in node.text(), "all is as it should be"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as broker:
        yield broker


@pytest.mark.usefixtures("line")
def test_the_house_s_broker_is_told_and_no_secret_leaks(home: NodeFolder, broker: Broker) -> None:
    password = home.folder / "mqtt-password"
    password.write_text(CANARY)
    password.chmod(0o600)
    publish = f'[publish]\nbroker = "127.0.0.1:{broker.port}"\nuser = "daisee"\n'
    told = NodeFolder(
        home.folder,
        metrics_port=home.metrics_port,
        more=publish + f'password_file = "{password}"\nevery_s = 1\n[log]\nlevel = "debug"\n',
    )
    config = told.write()
    with node_process(config) as node:
        node.hear("READY=1")
        wait_for(lambda: "broker connected" in node.text())
        wait_for(lambda: closed_slots(told) >= 1)
        command_line = Path(f"/proc/{node.pid}/cmdline").read_bytes()
        shown = json.dumps(page(told)) + daisee("node", "status", "--config", str(config)).stdout
        shown += daisee("config", "show", "--origin", "--config", str(config)).stdout
        assert node.stop()[0] == 0
    assert CANARY not in node.text() + shown
    assert CANARY.encode() not in command_line
    assert "Traceback" not in node.text()


@pytest.mark.usefixtures("line")
def test_settings_that_cannot_be_used_end_it_with_their_line(home: NodeFolder) -> None:
    config = home.write()
    config.write_text(config.read_text() + '[log]\nlevel = "lound"\n')
    ended = daisee("node", "run", "--config", str(config))
    assert ended.returncode == 3
    assert f"{config}:" in ended.stderr
    assert "log.level is 'lound'" in ended.stderr


@pytest.mark.usefixtures("line")
def test_a_backup_can_be_put_in_the_place_of_the_database(home: NodeFolder) -> None:
    config = home.write()
    with node_process(config) as node:
        node.hear("READY=1")
        wait_for(lambda: closed_slots(home) >= 2)
        backup = load_config(config, {}).storage.backup_folder / BACKUP_NAME
        backup.parent.mkdir()
        with NodeDatabase.open_read_only(home.database) as storage:
            storage.backup(backup)
        node.kill()
    for suffix in ("", "-wal", "-shm"):
        home.database.with_name(home.database.name + suffix).unlink(missing_ok=True)
    backup.rename(home.database)
    before = closed_slots(home)
    assert before >= 2
    with node_process(config) as node:
        node.hear("READY=1")
        wait_for(lambda: closed_slots(home) > before + 1)
        assert node.stop()[0] == 0
    assert_books_close(home)


def test_the_unit_is_understood_by_systemd(tmp_path: Path) -> None:
    unit = tmp_path / "daisee-node.service"
    text = (CHECKOUT / "packaging/systemd/daisee-node.service").read_text()
    unit.write_text(text.replace("/opt/daisee/venv/bin/daisee", "/bin/true"))
    program = Path("/usr/bin/systemd-analyze")
    if not program.exists():
        pytest.skip("there is no systemd-analyze here: apt install systemd")
    verified = subprocess.run(
        [str(program), "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        [str(program), "security", "--offline=true", "--threshold=20", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout


def test_installing_says_first_what_it_would_do() -> None:
    told = subprocess.run(
        [str(CHECKOUT / "scripts/install"), "--dry-run"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert all(line.startswith("would: ") for line in told.stdout.splitlines())
    for thing in ("/opt/daisee/venv", "/etc/daisee/config.toml", "daisee-node.service"):
        assert thing in told.stdout
    unknown = subprocess.run(
        [str(CHECKOUT / "scripts/install"), "--now"], capture_output=True, text=True, check=False
    )
    assert unknown.returncode == 2


def test_a_process_that_dies_early_is_told(home: NodeFolder) -> None:
    config = home.write()
    (home.folder / "node.db").write_bytes(b"this is no database, whatever its name says " * 50)
    ended = daisee("node", "run", "--config", str(config))
    assert ended.returncode == 3
    assert str(home.database) in ended.stderr
