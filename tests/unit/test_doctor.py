"""What each check makes of what it sees; and that one check that hangs holds up no other."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

import node
from node.cli.main import cli
from node.clock import ManualClock, wall_seconds
from node.config import load_config
from node.doctor import CHECKS, Finding, Report, Severity, examination, examine
from node.doctor.case import Case, in_thread, is_locked
from node.doctor.chain import clock_finding, head_finding, is_known_code
from node.doctor.disk import database_checks, disk_checks, falls_of
from node.doctor.findings import error, ok, warning
from node.doctor.machine import kept_finding, package_finding
from node.doctor.meter import Heard, heard_findings, port_finding
from node.errors import MeterSilent
from node.meter.arrivals import Arrived
from node.meter.codec import MeterFrame, Rejected
from node.meter.settings import MeterSettings
from node.meter.teleinfo.frames import NOT_PRODUCER
from node.model import EvidenceClass, Order, RegisterReading, Side, SignedOrder
from node.store import NodeDatabase
from tests.support.shared import CHECKOUT

NOW_S: Final = 1_465_300_000
SLOT: Final = NOW_S // 900
LINKY: Final = MeterSettings("linky", port="/dev/null", period_s=2)
SELLING: Final = replace(LINKY, producer_expected=True)
FRAME: Final = MeterFrame("linky-standard", EvidenceClass.B, "s", import_wh=5, export_wh=1)


def case_in(folder: Path, more: str = "", now_s: int = NOW_S) -> Case:
    file = folder / "config.toml"
    file.write_text(
        '[meter]\nkind = "replay"\nfile = "home.csv"\n'
        f'[storage]\ndatabase = "node.db"\n[metrics]\nserve = false\n{more}'
    )
    return Case(load_config(file, {}), {}, ManualClock(now_s))


def found(group: Callable[[Case], AsyncIterator[Finding]], case: Case) -> dict[str, Finding]:
    async def ask() -> dict[str, Finding]:
        return {finding.check: finding async for finding in group(case)}

    return asyncio.run(ask())


def heard(*things: MeterFrame | Rejected, at_s: int = NOW_S) -> Heard:
    collected = Heard()
    for thing in things:
        collected.take(Arrived(at_s, thing))
    return collected


def severities(findings: list[Finding]) -> dict[str, Severity]:
    return {finding.check: finding.severity for finding in findings}


# The page and the table


def test_the_page_explains_every_check_and_no_other() -> None:
    page = (CHECKOUT / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == sorted(
        CHECKS, key=lambda check: page.index(f"| `{check}` |")
    )


def test_a_next_step_names_commands_that_exist() -> None:
    steps = "".join(path.read_text() for path in (CHECKOUT / "node" / "doctor").glob("*.py"))
    named = set(re.findall(r"daisee ((?:meter|node|config) [a-z]+|doctor|dump)", steps))
    assert {"meter detect", "node run"} <= named
    for words in named:
        done = CliRunner().invoke(cli, [*words.split(), "--help"])
        assert done.exit_code == 0, words


def test_every_check_belongs_to_the_examination_once() -> None:
    groups = [check for group in examination._GROUPS for check in group.ids]  # noqa: SLF001
    assert sorted([*groups, "P001", "C001", "C002", "R001"]) == sorted(CHECKS)


def test_an_id_is_a_letter_and_three_digits_and_a_title_says_what_is_well() -> None:
    for check, title in CHECKS.items():
        assert re.fullmatch(r"[A-Z]\d{3}", check)
        assert not title.endswith(".")


def test_a_report_is_as_bad_as_its_worst_finding() -> None:
    assert Report(()).worst is Severity.OK
    report = Report((ok("P001", "a"), error("D001", "b", "c"), warning("T001", "d", "e")))
    assert report.worst is Severity.ERROR
    document = report.document()
    assert document["worst"] == "error"
    assert report.rows()[1] == {
        "id": "D001",
        "title": CHECKS["D001"],
        "severity": "error",
        "evidence": "b",
        "next_step": "c",
    }


# The examination


def test_settings_that_cannot_be_used_are_the_finding(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[meter]\nkind = "lynky"\n')
    report = asyncio.run(examine(file, {}, ManualClock(NOW_S)))
    assert [finding.check for finding in report.findings] == ["P001", "C001"]
    assert "config.toml:2" in report.findings[1].evidence
    assert report.worst is Severity.ERROR


def test_a_check_that_hangs_holds_up_no_other_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(_: Case) -> AsyncIterator[Finding]:
        yield ok("D001", "room")
        await in_thread(lambda: threading.Event().wait(30))

    async def fails(_: Case) -> AsyncIterator[Finding]:
        yield ok("M001", "there")
        raise MeterSilent("no frame", next_step="look")

    async def breaks(_: Case) -> AsyncIterator[Finding]:
        if CHECKS:
            raise PermissionError(13, "Permission denied")
        yield ok("B001", "never")

    group = examination._Group  # noqa: SLF001
    groups = (
        group(hangs, ("D001", "D002")),
        group(fails, ("M001", "M002")),
        group(breaks, ("B001",)),
    )
    monkeypatch.setattr(examination, "_GROUPS", groups)
    config = case_in(tmp_path).config
    began_s = wall_seconds()
    report = asyncio.run(examine(config.file, {}, ManualClock(NOW_S), within_s=0.3))
    assert wall_seconds() - began_s < 5
    by_id = {finding.check: finding for finding in report.findings}
    assert by_id["D001"].severity is Severity.OK
    assert "no answer within" in by_id["D002"].evidence
    assert (by_id["M002"].evidence, by_id["M002"].next_step) == ("no frame", "look")
    assert "Permission denied" in by_id["B001"].evidence
    assert list(by_id) == [check for check in CHECKS if check in by_id]


def test_what_fails_in_a_thread_fails_where_it_is_awaited() -> None:
    def work() -> int:
        raise OSError(5, "Input/output error")

    async def scenario() -> None:
        assert await in_thread(lambda: 7) == 7
        with pytest.raises(OSError, match="Input/output"):
            await in_thread(work)

    asyncio.run(scenario())


def test_secrets_that_others_may_read_are_an_error(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("x")
    secret.chmod(0o644)
    case = case_in(tmp_path, '[publish]\nbroker = "127.0.0.1:1"\npassword_file = "password"\n')
    report = asyncio.run(examine(case.config.file, {}, ManualClock(NOW_S), within_s=5))
    by_id = {finding.check: finding for finding in report.findings}
    assert by_id["C002"].severity is Severity.ERROR
    assert "chmod 600" in by_id["C002"].next_step
    assert by_id["B001"].severity is Severity.ERROR


# The program and the machine


class Installed(Distribution):
    """An install as its metadata tell it."""

    def __init__(self, place: Path, direct: str | None = None) -> None:
        self._place = place
        self._direct = direct

    def read_text(self, filename: str) -> str | None:
        return self._direct if filename == "direct_url.json" else "Version: 1.0\n"

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        return self._place / path


def test_this_very_program_is_the_distribution_s_own() -> None:
    imported = Path(node.__file__).resolve()
    ours = distribution("daisee-node")
    finding = package_finding(imported, lambda name: ours if name == "daisee-node" else None)
    assert finding.severity is Severity.OK


def test_a_program_from_elsewhere_or_merged_with_another_is_an_error(tmp_path: Path) -> None:
    place = tmp_path / "site-packages"
    imported = (place / "node" / "__init__.py").resolve()

    def severity(imported: Path, **installed: Distribution) -> Severity:
        return package_finding(
            imported, lambda name: installed.get(name.replace("-", "_"))
        ).severity

    ours = Installed(place)
    assert severity(imported, daisee_node=ours) is Severity.OK
    assert severity(imported) is Severity.ERROR
    assert severity(imported, daisee_node=ours, node=Installed(place)) is Severity.ERROR
    assert severity(tmp_path / "node" / "__init__.py", daisee_node=ours) is Severity.ERROR
    checkout = tmp_path / "a checkout"
    direct = f'{{"dir_info": {{"editable": true}}, "url": "{checkout.as_uri()}"}}'
    editable = Installed(place, direct)
    assert severity((checkout / "node/__init__.py").resolve(), daisee_node=editable) is Severity.OK


def test_a_clock_that_nobody_keeps_is_a_warning() -> None:
    assert kept_finding(is_kept=True).severity is Severity.OK
    assert kept_finding(is_kept=False).severity is Severity.WARNING
    assert kept_finding(is_kept=None).severity is Severity.WARNING


def test_a_lock_is_seen_without_being_taken(tmp_path: Path) -> None:
    path = tmp_path / "node.db.lock"
    assert not is_locked(path)
    with path.open("w") as file:
        assert not is_locked(path)
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_locked(path)
    assert not is_locked(path)
    assert not is_locked(path, tmp_path / "no such list")


# The disk and the database


def test_a_new_node_has_neither_database_nor_backup_and_that_is_well(tmp_path: Path) -> None:
    case = case_in(tmp_path)
    assert set(severities(list(found(disk_checks, case).values())).values()) <= {
        Severity.OK,
        Severity.WARNING,
    }
    assert found(disk_checks, case)["D004"].severity is Severity.OK
    assert found(database_checks, case)["D003"].severity is Severity.OK


@pytest.mark.parametrize(
    ("age_s", "severity"),
    [
        (3_600, Severity.OK),
        (2 * 86_400, Severity.WARNING),
        (7 * 86_400, Severity.ERROR),
    ],
)
def test_a_backup_grows_old(tmp_path: Path, age_s: int, severity: Severity) -> None:
    case = case_in(tmp_path)
    backup = case.config.storage.backup_folder / "node.db"
    backup.parent.mkdir()
    backup.touch()
    os.utime(backup, (NOW_S - age_s, NOW_S - age_s))
    assert found(disk_checks, case)["D004"].severity is severity


def test_an_old_node_without_a_backup_is_warned(tmp_path: Path) -> None:
    (tmp_path / "node.db").touch()
    later_s = int((tmp_path / "node.db").stat().st_ctime) + 3 * 86_400
    finding = found(disk_checks, case_in(tmp_path, now_s=later_s))["D004"]
    assert finding.severity is Severity.WARNING


def test_no_room_is_told_before_it_is_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)

    def severity(free_bytes: int) -> Severity:
        shown = os.statvfs_result((*real[:4], free_bytes // real.f_frsize, *real[5:]))
        monkeypatch.setattr(os, "statvfs", lambda _: shown)
        return found(disk_checks, case_in(tmp_path))["D001"].severity

    assert severity(2 << 30) is Severity.OK
    assert severity(500 << 20) is Severity.WARNING
    assert severity(50 << 20) is Severity.ERROR


def test_a_disk_that_turned_read_only_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)
    shown = os.statvfs_result((*real[:8], real.f_flag | os.ST_RDONLY, real.f_namemax))
    monkeypatch.setattr(os, "statvfs", lambda _: shown)
    finding = found(disk_checks, case_in(tmp_path))["D002"]
    assert finding.severity is Severity.ERROR
    assert "read-only" in finding.evidence


def reading(slot: int, import_wh: int, meter_id: str = "a") -> RegisterReading:
    return RegisterReading(meter_id, slot * 900, import_wh, 0)


def test_a_database_tells_of_slots_registers_and_orders(tmp_path: Path) -> None:
    case = case_in(tmp_path)
    with NodeDatabase.open(tmp_path / "node.db") as database:
        for back in (2, 1, 0):
            database.add_reading(reading(SLOT - back, 1000 - back))
        database.add_intent(SignedOrder(Order(1, SLOT - 1, Side.BID, 5, 4_000)))
    findings = found(database_checks, case)
    assert {check: finding.severity for check, finding in findings.items()} == dict.fromkeys(
        ("D003", "M004", "O001", "O002"), Severity.OK
    )
    later = replace(case, clock=ManualClock(NOW_S + 7_200))
    findings = found(database_checks, later)
    assert findings["O001"].severity is Severity.WARNING
    assert "pending" in findings["O001"].evidence
    assert findings["O002"].severity is Severity.WARNING
    earlier = replace(case, clock=ManualClock(NOW_S - 7_200))
    assert found(database_checks, earlier)["O002"].severity is Severity.ERROR


def test_a_register_that_falls_is_an_error_and_one_held_back_a_warning(tmp_path: Path) -> None:
    case = case_in(tmp_path)
    held = replace(case, page={"node": {"counters": {"values_held": 3}}})
    with NodeDatabase.open(tmp_path / "node.db") as database:
        database.add_reading(reading(SLOT - 1, 1_000))
        assert found(database_checks, held)["M004"].severity is Severity.WARNING
        database.add_reading(reading(SLOT, 999))
    finding = found(database_checks, case)["M004"]
    assert finding.severity is Severity.ERROR


def test_another_meter_s_lower_register_is_no_fall() -> None:
    readings = [reading(1, 10), reading(2, 5, "b"), reading(3, 6, "b"), reading(4, 4, "b")]
    assert falls_of(readings) == [readings[3]]


def test_a_damaged_database_is_an_error(tmp_path: Path) -> None:
    case = case_in(tmp_path)
    path = tmp_path / "node.db"
    with NodeDatabase.open(path) as database:
        for back in range(200):
            database.add_reading(reading(SLOT - 200 + back, back))
    content = bytearray(path.read_bytes())
    content[-900:] = bytes(900)
    path.write_bytes(content)
    report = asyncio.run(examine(case.config.file, {}, ManualClock(NOW_S)))
    by_id = {finding.check: finding for finding in report.findings}
    assert by_id["D003"].severity is Severity.ERROR


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    case = case_in(tmp_path)
    (tmp_path / "node.db").write_bytes(b"no database at all" * 100)
    report = asyncio.run(examine(case.config.file, {}, ManualClock(NOW_S)))
    by_id = {finding.check: finding for finding in report.findings}
    assert by_id["D003"].severity is Severity.ERROR
    assert "M004" not in by_id


# The meter


def test_a_port_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    gone = replace(LINKY, port=str(tmp_path / "ttyUSB0"))
    assert port_finding(gone).severity is Severity.ERROR
    assert port_finding(LINKY).severity is Severity.OK
    assert port_finding(MeterSettings("linky", url="tcp://host:1")).severity is Severity.OK


def test_a_port_of_another_group_names_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = tmp_path / "port"
    port.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    finding = port_finding(replace(LINKY, port=str(port)))
    assert finding.severity is Severity.ERROR
    assert "usermod -aG" in finding.next_step


def test_a_meter_that_speaks_well() -> None:
    findings = heard_findings(heard(FRAME, FRAME), LINKY)
    assert severities(findings) == dict.fromkeys(("M002", "M003", "M005"), Severity.OK)


def test_a_meter_that_says_nothing() -> None:
    silent = Heard(silence="in 6 s")
    assert severities(heard_findings(silent, LINKY)) == {"M002": Severity.ERROR}
    slow = MeterSettings("tasmota", url="http://plug", period_s=300)
    (finding,) = heard_findings(silent, slow)
    assert finding.severity is Severity.WARNING
    assert "5 min" in finding.evidence


def test_a_meter_that_says_only_what_nobody_understands() -> None:
    (finding,) = heard_findings(heard(*[Rejected("checksum", b"x")] * 9), LINKY)
    assert finding.severity is Severity.ERROR
    assert "baud" in finding.next_step


TASMOTA: Final = MeterSettings("tasmota", url="http://plug", period_s=300)
SLOW_P1: Final = MeterSettings("dsmr-p1", port="/dev/null", period_s=10)
NOISE: Final = Rejected("checksum", b"x")


def test_a_meter_that_speaks_seldom_and_cannot_be_reached_is_an_error() -> None:
    away = Heard(lost="broker localhost:1883 cannot be reached", lost_step="check that it runs")
    (finding,) = heard_findings(away, TASMOTA)
    assert finding.severity is Severity.ERROR
    assert "cannot be reached" in finding.evidence
    assert finding.next_step == "check that it runs"


def test_noise_of_a_meter_that_speaks_seldom_is_an_error() -> None:
    collected = heard(NOISE, NOISE)
    collected.is_noise = True
    (finding,) = heard_findings(collected, SLOW_P1)
    assert finding.severity is Severity.ERROR
    assert "2 pieces" in finding.evidence


def test_half_a_telegram_of_a_meter_that_speaks_seldom_is_not_the_end() -> None:
    collected = heard(NOISE)
    collected.silence = "in 5 s"
    assert severities(heard_findings(collected, SLOW_P1)) == {"M002": Severity.WARNING}
    always = replace(SLOW_P1, period_s=1)
    assert severities(heard_findings(collected, always)) == {"M002": Severity.ERROR}


def test_a_meter_without_a_register_is_a_warning() -> None:
    bare = replace(FRAME, import_wh=None, export_wh=None)
    assert severities(heard_findings(heard(bare), LINKY))["M002"] is Severity.WARNING


@pytest.mark.parametrize(
    ("frames", "rejected", "severity"),
    [
        (4, 1, Severity.OK),  # the first one was cut
        (4, 3, Severity.WARNING),
        (1_000, 5, Severity.OK),
        (1_000, 20, Severity.WARNING),
        (100, 100, Severity.ERROR),
    ],
)
def test_damage_has_a_share(frames: int, rejected: int, severity: Severity) -> None:
    collected = heard(*[FRAME] * frames, *[Rejected("checksum", b"x")] * rejected)
    assert severities(heard_findings(collected, LINKY))["M003"] is severity


@pytest.mark.parametrize(
    ("frame", "severity"),
    [
        (FRAME, Severity.OK),
        (replace(FRAME, kind="linky-historic", export_wh=None), Severity.ERROR),
        (replace(FRAME, export_wh=None, notes=(NOT_PRODUCER,)), Severity.ERROR),
        (replace(FRAME, kind="tasmota", export_wh=None), Severity.WARNING),
    ],
)
def test_a_household_that_sells_must_see_its_injection(
    frame: MeterFrame, severity: Severity
) -> None:
    assert severities(heard_findings(heard(frame), SELLING))["M005"] is severity
    assert severities(heard_findings(heard(frame), LINKY))["M005"] is Severity.OK


@pytest.mark.parametrize(("off_s", "severity"), [(5, Severity.OK), (-90, Severity.WARNING)])
def test_the_meter_s_clock_is_compared(off_s: int, severity: Severity) -> None:
    frame = replace(FRAME, taken_at_s=NOW_S - off_s)
    assert severities(heard_findings(heard(frame), LINKY))["T003"] is severity


def test_what_a_broker_had_kept_says_nothing() -> None:
    collected = Heard()
    collected.take(Arrived(NOW_S, FRAME, retained=True))
    assert collected.frames == []


# The chain


@pytest.mark.parametrize(
    ("age_s", "severity"),
    [(-5, Severity.OK), (59, Severity.OK), (60, Severity.WARNING), (300, Severity.ERROR)],
)
def test_a_chain_that_stands_still(age_s: int, severity: Severity) -> None:
    assert head_finding(9, NOW_S - age_s, NOW_S).severity is severity


@pytest.mark.parametrize(
    ("ahead_s", "severity"),
    [(-500, Severity.OK), (1, Severity.OK), (2, Severity.WARNING), (30, Severity.ERROR)],
)
def test_a_block_from_the_future_says_that_this_clock_is_behind(
    ahead_s: int, severity: Severity
) -> None:
    assert clock_finding(NOW_S + ahead_s, NOW_S).severity is severity


def test_known_code_is_compared_but_for_what_a_constructor_wrote() -> None:
    artifact = {
        "deployedBytecode": "0x" + (bytes(range(8)) + bytes(4) + b"end").hex(),
        "immutableReferences": [{"start": 8, "length": 4}],
    }
    assert is_known_code(bytes(range(8)) + b"\x01\x02\x03\x04end", artifact)
    assert not is_known_code(bytes(range(8)) + b"\x01\x02\x03\x04eNd", artifact)
    assert not is_known_code(bytes(range(8)) + b"\x01\x02\x03\x04end!", artifact)
    assert not is_known_code(b"", artifact)
