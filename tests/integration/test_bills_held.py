"""One command at a time changes the folder of bills, and one that is killed is gone on with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from node.billing import archive_lock
from node.billing.archive import Archive
from node.clock import ManualClock
from node.errors import Refused, StorageBusy
from node.slots import parse_iso_utc
from tests.support.billing_cases import FLAT, MILL, ROOF
from tests.support.cut_off import cut_off
from tests.support.dispute_desk import Desk, document, give_document, made_desk
from tests.support.operator_month import write_r63
from tests.support.shared import CHECKOUT

MOST_CHANGES: Final = 60
TABLES: Final = {"production.csv", "consumption.csv", "given.csv", "allocated.csv"}
HOLDER: Final = """
import sys, time
from pathlib import Path
from node.billing.archive import Archive

with Archive(Path(sys.argv[1])).held("daisee supplier month"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """October billed from the operator's file."""
    made = made_desk(tmp_path / "desk")
    made.bill()
    return made


def places(desk: Desk, *names: str) -> list[object]:
    kept = {"curves": "curves.db", "bills": "bills", "inbox": "inbox"}
    return [word for name in names for word in (f"--{name}", desk.folder / kept[name])]


def rules(desk: Desk, kind: str, months: int, then: str) -> list[object]:
    path = desk.folder / "rules.toml"
    path.write_text(
        f'[[rule]]\nfrom = 2000-01-01\nkind = "{kind}"\nmonths = {months}\nthen = "{then}"\n'
    )
    return ["--rules", path]


def erasing(desk: Desk, household: int = 2) -> list[object]:
    return ["person", "erase", household, "--yes", *places(desk, "curves", "bills", "inbox")]


def ageing(desk: Desk, *more: object) -> list[object]:
    return ["person", "retention", "--apply", *places(desk, "curves", "bills", "inbox"), *more]


def outcomes(desk: Desk) -> list[tuple[str, int]]:
    entries = Archive(desk.folder / "bills").history()
    return [(entry["outcome"], entry.get("revision", 0)) for entry in entries]


def of_curves(desk: Desk) -> list[Path]:
    """The files of October's folder that curves are in."""
    found = (desk.folder / "bills" / "2025-10").rglob("*")
    return [path for path in found if path.name in TABLES | {"pairs.json"}]


def correct(desk: Desk) -> None:
    later = {ROOF: lambda n: 1_200 if 16 <= n % 48 < 36 else 0}
    write_r63(desk.folder / "inbox" / "2.csv", date(2025, 10, 1), 31, {}, later)


class TestLock:
    def test_two_runs_at_once_bring_a_correction_once(self, desk: Desk) -> None:
        correct(desk)
        words = [
            *("supplier", "month", "--operation", "street.toml", "--inbox", "inbox"),
            *("--curves", "curves.db", "--out", "bills", "--at", "2025-11-20T06:00:00Z"),
        ]
        env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        runs = [
            subprocess.Popen(
                [sys.executable, "-m", "node.cli.main", *words], cwd=desk.folder, env=env
            )
            for _ in range(2)
        ]
        assert [run.wait(timeout=120) for run in runs] == [0, 0]
        assert outcomes(desk) == [("billed", 1), ("billed", 2)]

    def test_who_waits_too_long_is_told_for_whom(self, tmp_path: Path) -> None:
        archive, clock = Archive(tmp_path / "bills"), ManualClock(1_000)
        with (
            archive.held("daisee person erase"),
            pytest.raises(StorageBusy) as caught,
            archive.held("daisee supplier month", clock),
        ):
            raise AssertionError
        assert f"daisee person erase (process {os.getpid()})" in caught.value.message
        assert clock.now_s() == 1_000 + archive_lock.LONGEST_WAIT_S
        with archive.held("daisee supplier month", clock):
            assert clock.now_s() == 1_000 + archive_lock.LONGEST_WAIT_S
        assert (tmp_path / "bills" / ".lock").read_text() == ""

    def test_every_command_that_changes_bills_waits_for_the_others(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archive_lock, "LONGEST_WAIT_S", 1)
        bills = desk.folder / "bills"
        number = document(desk.open(desk.claim()))["number"][:12]
        give_document(desk, number)
        document(desk.rule(number, "--outcome", "upheld"))
        correct(desk)
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(bills)], stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            before = (bills / "history.jsonl").read_text()
            for run in (
                partial(desk.month, "2025-11-20"),
                partial(desk.settle, number),
                partial(desk.office, *erasing(desk)),
                partial(desk.office, *ageing(desk, *rules(desk, "curve", 6, "by_day"))),
            ):
                result = run()
                assert result.exit_code == 3, result.output
                assert f"daisee supplier month (process {holder.pid})" in result.stderr
            assert (bills / "history.jsonl").read_text() == before
            assert len(of_curves(desk)) == 5
            # Who dies lets go, and what it said of itself is not believed any more.
            holder.send_signal(signal.SIGKILL)
        assert document(desk.month("2025-11-20"))["months"][0]["revision"] == 2
        assert document(desk.settle(number))["months"][0]["revision"] == 3
        assert (bills / ".lock").read_text() == ""

    def test_a_revision_is_recorded_once(self, desk: Desk) -> None:
        archive = Archive(desk.folder / "bills")
        (entry,) = archive.history()
        with pytest.raises(Refused) as caught:
            archive.record(entry)
        assert caught.value.reason == "revision_exists"
        assert archive.history() == [entry]


def copies(desk: Desk, folder: Path, number: int) -> Desk:
    return Desk(Path(shutil.copytree(desk.folder, folder / str(number))))


def without(desk: Desk, point: str) -> None:
    """The operation's file says no more of a consumer."""
    street = desk.folder / "street.toml"
    kept = [part for part in street.read_text().split("[[") if f'point = "{point}"' not in part]
    street.write_text("[[".join(kept))


class TestKilled:
    def test_an_erasure_that_is_killed_leaves_no_month_to_be_billed_anew(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        for at in range(1, MOST_CHANGES):
            copy = copies(desk, tmp_path, at)
            was_killed = cut_off(at, partial(copy.office, *erasing(copy)))
            (october,) = document(copy.month("2025-11-20", "--month", "2025-10"))["months"]
            assert october["outcome"] in {"unchanged", "closed"}
            if copy.office("person", "export", 2).exit_code == 0:
                assert copy.office(*erasing(copy)).exit_code == 0
            self.check_closed(copy)
            assert FLAT not in "".join(path.read_text() for path in of_curves(copy))
            assert {path.name for path in of_curves(copy)} == TABLES
            without(copy, FLAT)
            (october,) = document(copy.month("2025-11-21", "--month", "2025-10"))["months"]
            assert october["outcome"] == "closed"
            assert not (copy.folder / "bills" / "2025-10" / "2").exists()
            if not was_killed:
                break
        assert 8 < at < MOST_CHANGES - 1

    def test_retention_that_is_killed_goes_on(self, desk: Desk, tmp_path: Path) -> None:
        for at in range(1, MOST_CHANGES):
            copy = copies(desk, tmp_path, at)
            words = ageing(copy, *rules(copy, "curve", 6, "by_day"))
            was_killed = cut_off(at, partial(copy.office, *words))
            (october,) = document(copy.month("2025-11-20", "--month", "2025-10"))["months"]
            assert october["outcome"] in {"unchanged", "closed"}
            assert copy.office(*words).exit_code == 0
            self.check_closed(copy)
            assert of_curves(copy) == []
            assert copy.json(*words)["closed_months"] == []
            if not was_killed:
                break
        assert 5 < at < MOST_CHANGES - 1

    def check_closed(self, desk: Desk) -> None:
        assert outcomes(desk) == [("billed", 1), ("closed", 0)]

    def test_what_an_earlier_daisee_left_half_done_is_closed(self, desk: Desk) -> None:
        """It took the columns out first, and died before the history said so."""
        for path in of_curves(desk):
            if path.name == "pairs.json":
                path.unlink()
            else:
                rows = [row.split(",") for row in path.read_text().splitlines()]
                kept = [n for n, point in enumerate(rows[0]) if point != FLAT]
                path.write_text("".join(",".join(row[n] for n in kept) + "\n" for row in rows))
        assert desk.json(*erasing(desk))["closed_months"] == ["2025-10"]
        self.check_closed(desk)

    def test_curves_of_a_run_that_was_never_recorded_go_too(self, desk: Desk) -> None:
        month = desk.folder / "bills" / "2025-10"
        shutil.copytree(month, desk.folder / "bills" / "2025-09")
        (month / "1" / ".given.csv.part").write_text(f"start,{FLAT}\n")
        assert desk.json(*erasing(desk))["closed_months"] == ["2025-10"]
        kept = [p for p in (desk.folder / "bills").rglob("*") if p.name.strip(".") in TABLES]
        assert len(kept) == 8
        assert not [path for path in kept if FLAT in path.read_text()]
        assert not list((desk.folder / "bills").rglob("*.part"))


class TestRetention:
    def at(self, monkeypatch: pytest.MonkeyPatch, instant: str) -> None:
        clock = ManualClock(parse_iso_utc(instant))
        monkeypatch.setattr("node.cli.office.SystemClock", lambda: clock)

    def month(self, desk: Desk, day: str) -> dict[str, Any]:
        (month,) = document(desk.month(day, "--month", "2025-10"))["months"]
        return dict(month)

    def test_curves_stay_until_all_of_their_month_is_old(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = [word for word in ageing(desk) if word != "--apply"]
        self.at(monkeypatch, "2026-12-20T12:00:00Z")
        early = desk.json(*ageing(desk))
        nothing = {"curve_days": 0, "closed_months": [], "inbox_files": []}
        assert {name: early[name] for name in nothing} == nothing
        assert self.month(desk, "2026-12-20")["outcome"] == "unchanged"

        self.at(monkeypatch, "2027-01-05T12:00:00Z")
        told = desk.json(*words)
        assert (told["closed_months"], told["inbox_files"]) == (["2025-10"], ["1.csv"])
        assert desk.json(*ageing(desk))["curve_days"] > 0
        assert self.month(desk, "2027-01-05")["outcome"] == "closed"

    def test_a_month_of_which_bills_are_deleted_names_nobody(self, tmp_path: Path) -> None:
        desk = made_desk(tmp_path / "desk")
        inbox = desk.folder / "inbox"
        inbox.mkdir()
        both = {FLAT: lambda n: None if n == 9 else 600, MILL: lambda _: 400}
        roofs = {ROOF: lambda _: 500, "30000000000002": lambda _: 0}
        write_r63(inbox / "1.csv", date(2025, 10, 1), 31, both, roofs)
        assert desk.month("2025-11-02").exit_code == 7
        write_r63(inbox / "2.csv", date(2025, 10, 1), 1, {FLAT: lambda _: 600}, {})
        document(desk.month("2025-11-03"))
        bills = desk.folder / "bills"
        assert FLAT in (bills / "history.jsonl").read_text()
        words = ["person", "retention", "--apply", *places(desk, "bills")]
        desk.json(*words, *rules(desk, "bill", 6, "delete"))
        assert FLAT not in (bills / "history.jsonl").read_text()
        assert list((bills / "outbox").iterdir()) == []

    def test_what_an_erased_members_curves_lacked_is_forgotten(self, desk: Desk) -> None:
        bills = desk.folder / "bills"
        archive = Archive(bills)
        lacks = [f"{FLAT} has no withdrawal", f"{MILL} has no withdrawal"]
        (bills / "2025-11").mkdir()
        (bills / "2025-11" / "problems.txt").write_text("\n".join(lacks) + "\n")
        archive.record({"period": "2025-11", "outcome": "waiting", "problems": lacks})
        desk.json(*erasing(desk))
        assert archive.history()[1]["problems"] == lacks[1:]
        assert (bills / "2025-11" / "problems.txt").read_text() == lacks[1] + "\n"
