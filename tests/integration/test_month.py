"""The month end to end, in the ten messages of the customer's sequence.

collect - store - plan - check - (error: treat) - format - bill - record - send - show. No month
holds both changes of the clock, so the operation lives two: March 2025 with its 46 half hours on
the 30th, and October 2025 with its 50 on the 26th. tests/unit/test_bills.py has both in one
billing period.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from node.billing.archive import Archive
from node.billing.monthly import due_months
from node.cli.main import cli
from node.slots import parse_iso_utc
from tests.support.billing_cases import BARN, FLAT, MILL, PARIS, ROOF, month
from tests.support.operator_month import WattsOf, write_r63

OPERATION = f"""
[operation]
name = "Mill Street"
rules = "2025-1"
[tariffs]
accept = ["one_source"]
[[producer]]
point = "{ROOF}"
name = "The roof"
[[producer]]
point = "{BARN}"
no_vat = "CGI art. 293 B"
[[consumer]]
point = "{FLAT}"
name = "The flat"
kva = 9
turpe = "CU4_ACC"
off_peak = "22:30-06:30"
[[consumer]]
point = "{MILL}"
[[price]]
producer = "{ROOF}"
ct_kwh = "12.00"
[[price]]
producer = "{BARN}"
ct_kwh = "10.50"
[[supply]]
consumer = "{FLAT}"
standing_eur_year = "60.00"
ct_kwh = "14"
[[fee]]
ct_kwh = "0.50"
"""

STRANGER = "50000000000009"
CONSUMERS: dict[str, WattsOf] = {FLAT: lambda n: 300 + n % 11 * 20, MILL: lambda _: 1_000}
PRODUCERS: dict[str, WattsOf] = {
    ROOF: lambda n: 2_400 if 16 <= n % 48 < 36 else 0,
    BARN: lambda n: n % 7 * 40,
}


class Tool:
    """The data tool of an operation, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inbox = folder / "inbox"
        self.out = folder / "bills"
        self.inbox.mkdir()
        (folder / "street.toml").write_text(OPERATION, encoding="utf-8")

    def run(self, at: str, *more: str) -> Result:
        arguments = ["supplier", "month", "--operation", str(self.folder / "street.toml")]
        arguments += ["--inbox", str(self.inbox), "--curves", str(self.folder / "curves.db")]
        arguments += ["--out", str(self.out), "--at", at, "--json", *more]
        return CliRunner().invoke(cli, arguments)

    def months(self, at: str, *more: str, code: int = 0) -> list[dict[str, Any]]:
        result = self.run(at, *more)
        assert result.exit_code == code, result.output
        found: list[dict[str, Any]] = json.loads(result.stdout)["months"]
        return found

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.out)): path.read_bytes()
            for path in sorted(self.out.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)


def document(tool: Tool, period: str, revision: int = 1) -> dict[str, Any]:
    path = tool.out / period / str(revision) / "bills.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def flat_of(found: dict[str, Any]) -> dict[str, Any]:
    bills: Sequence[dict[str, Any]] = found["bills"]
    (bill,) = (one for one in bills if one["kind"] == "consumer" and one["point"] == FLAT)
    return bill


OCTOBER = ("--month", "2025-10")
HAPPY = ["collect", "store", "plan", "check", "format", "bill", "record", "send", "show"]


def test_two_months_with_a_change_of_the_clock_end_to_end(tool: Tool) -> None:
    # Messages 1 and 2: members consumed and produced, the operator sends its files; one has a hole
    # and a point that belongs to nobody.
    hole: dict[str, WattsOf] = {MILL: lambda n: None if n == 1_000 else 1_000}
    stranger: dict[str, WattsOf] = {STRANGER: lambda _: 5}
    write_r63(tool.inbox / "1-march.csv", date(2025, 3, 1), 31, CONSUMERS | stranger, PRODUCERS)
    write_r63(tool.inbox / "2-october.csv", date(2025, 10, 1), 31, CONSUMERS | hole, PRODUCERS)

    # 3 to 5: planned, checked. 6 and on: March is whole, and is billed.
    (march,) = tool.months("2025-04-02T06:00:00Z")
    assert (march["month"], march["outcome"], march["stages"]) == ("2025-03", "billed", HAPPY)

    # 6, on error: October has a gap; it waits, says why once, and March stays as it was.
    before = tool.files()
    (again,) = tool.months("2025-11-02T06:00:00Z", "--month", "2025-03")
    assert (again["month"], again["outcome"]) == ("2025-03", "unchanged")
    (october,) = tool.months("2025-11-02T06:00:00Z", *OCTOBER, code=7)
    assert october["outcome"] == "waiting"
    assert october["stages"] == ["collect", "store", "plan", "check", "treat", "record"]
    assert october["problems"] == [
        f"{MILL} has no withdrawal from 2025-10-21T18:00:00Z to 2025-10-21T18:30:00Z"
    ]
    assert MILL in (tool.out / "2025-10" / "problems.txt").read_text()
    changed = {name for name, content in tool.files().items() if before.get(name) != content}
    assert changed == {"history.jsonl", "2025-10/problems.txt"}
    (waiting,) = tool.months("2025-11-03T06:00:00Z", *OCTOBER, code=7)
    assert "record" not in waiting["stages"]

    # The operator answers; 7 and 8: the job runs; 9: bills are sent; 10: members look at them.
    write_r63(tool.inbox / "3-october.csv", date(2025, 10, 1), 31, CONSUMERS, PRODUCERS)
    (october,) = tool.months("2025-11-04T06:00:00Z", *OCTOBER)
    assert (october["outcome"], october["stages"]) == ("billed", HAPPY)
    assert not (tool.out / "2025-10" / "problems.txt").exists()
    for point in (FLAT, MILL, ROOF, BARN):
        sent = {path.name for path in (tool.out / "outbox" / point).iterdir()}
        assert {name for name in sent if name.startswith("2025-10") and name.endswith(".html")}
    page = (tool.out / "outbox" / FLAT / f"2025-10-consumer-{FLAT}.html").read_text("utf-8")
    assert "octobre 2025" in page
    assert "The roof" in page

    # Again is harmless, to the byte, and puts back what went missing.
    whole = tool.files()
    (tool.out / "outbox" / FLAT / f"2025-10-consumer-{FLAT}.html").unlink()
    for one in ("2025-03", "2025-10"):
        (again,) = tool.months("2025-11-05T06:00:00Z", "--month", one)
        assert again["outcome"] == "unchanged"
    assert tool.files() == whole

    # Every Wh of both months is there: 46 half hours on one day, 50 on another.
    steps = {"2025-03": 31 * 48 - 2, "2025-10": 31 * 48 + 2}
    for period, count in steps.items():
        found = document(tool, period)
        (mill,) = (
            one for one in found["bills"] if one["kind"] == "consumer" and one["point"] == MILL
        )
        assert mill["energy"]["measured_wh"] == count * 500
        by_day = {day["day"]: day["measured_wh"] for day in mill["days"]}
        assert sorted(set(by_day.values())) in ([23_000, 24_000], [24_000, 25_000])
        assert found["balance_cents"] == 0
        assert STRANGER not in json.dumps(found)


def test_a_correction_after_the_bill_makes_a_revision_and_notes(tool: Tool) -> None:
    write_r63(tool.inbox / "1.csv", date(2025, 10, 1), 31, CONSUMERS, PRODUCERS)
    tool.months("2025-11-02T06:00:00Z")
    first = tool.files()
    later: dict[str, WattsOf] = {ROOF: lambda n: 2_000 if 16 <= n % 48 < 36 else 0}
    write_r63(tool.inbox / "2.csv", date(2025, 10, 1), 31, CONSUMERS, PRODUCERS | later)
    (october,) = tool.months("2025-11-20T06:00:00Z")
    assert (october["outcome"], october["revision"]) == ("billed", 2)
    after = tool.files()
    assert {name: after[name] for name in first if name != "history.jsonl"} == {
        name: content for name, content in first.items() if name != "history.jsonl"
    }
    assert f"outbox/{FLAT}/2025-10-consumer-{FLAT}-r2.html" in after
    rows = after["2025-10/2/notes.csv"].decode().splitlines()
    assert rows[0] == "kind,point,before_cents,after_cents,note_cents"
    notes = {tuple(row.split(",")[:2]): int(row.split(",")[4]) for row in rows[1:]}
    paid = sum(cents for (kind, _), cents in notes.items() if kind == "consumer")
    given = sum(cents for (kind, _), cents in notes.items() if kind in {"producer", "community"})
    assert paid == given < 0
    history = Archive(tool.out).history()
    assert [(entry["outcome"], entry["revision"]) for entry in history] == [
        ("billed", 1),
        ("billed", 2),
    ]


def test_a_correction_reopens_the_steps_that_it_touches_and_no_others(tool: Tool) -> None:
    write_r63(tool.inbox / "1.csv", date(2025, 9, 1), 30, CONSUMERS, PRODUCERS)
    tool.months("2025-10-02T06:00:00Z")
    write_r63(tool.inbox / "2.csv", date(2025, 10, 1), 31, CONSUMERS, PRODUCERS)
    tool.months("2025-11-02T06:00:00Z")
    place = 20 * 48 + 20
    late: dict[str, WattsOf] = {MILL: lambda n: 1_600 if n == place else 1_000}
    write_r63(tool.inbox / "3.csv", date(2025, 10, 1), 31, CONSUMERS | late, PRODUCERS)
    result = tool.run("2025-11-20T06:00:00Z")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["added_steps"], found["corrected_steps"]) == (0, 1)
    assert [(one["month"], one["outcome"], one["revision"]) for one in found["months"]] == [
        ("2025-09", "unchanged", 1),
        ("2025-10", "billed", 2),
    ]
    tables = [(tool.out / "2025-10" / str(n) / "consumption.csv").read_text() for n in (1, 2)]
    rows = [text.splitlines() for text in tables]
    changed = [(one, two) for one, two in zip(*rows, strict=True) if one != two]
    assert len(changed) == 1
    days = [
        {
            (bill["kind"], bill["point"], day["day"]): (day["measured_wh"], day["shared_wh"])
            for bill in document(tool, "2025-10", revision)["bills"]
            for day in bill["days"]
        }
        for revision in (1, 2)
    ]
    assert days[0].keys() == days[1].keys()
    touched = {key[2] for key in days[0] if days[0][key] != days[1][key]}
    assert touched == {"2025-10-21"}
    notes = (tool.out / "2025-10" / "2" / "notes.csv").read_text().splitlines()
    assert len(notes) > 1
    assert not (tool.out / "2025-09" / "2").exists()


def test_other_prices_make_a_revision_too(tool: Tool) -> None:
    write_r63(tool.inbox / "1.csv", date(2025, 10, 1), 31, CONSUMERS, PRODUCERS)
    tool.months("2025-11-02T06:00:00Z")
    street = tool.folder / "street.toml"
    street.write_text(street.read_text().replace("10.50", "10.60"))
    (october,) = tool.months("2025-11-02T06:00:00Z")
    assert (october["outcome"], october["revision"]) == ("billed", 2)


def test_a_month_without_its_tariffs_waits(tool: Tool) -> None:
    street = tool.folder / "street.toml"
    street.write_text(street.read_text().replace('accept = ["one_source"]', "accept = []"))
    write_r63(tool.inbox / "1.csv", date(2025, 10, 1), 31, CONSUMERS, PRODUCERS)
    (october,) = tool.months("2025-11-02T06:00:00Z", code=7)
    (problem,) = october["problems"]
    assert problem.startswith("tariff_unconfirmed: ")
    assert "(next: compare it with the act, then accept = [" in problem


def test_a_month_without_any_curve_waits(tool: Tool) -> None:
    (october,) = tool.months("2025-11-02T06:00:00Z", "--month", "2025-10", code=7)
    assert len(october["problems"]) == 4


def test_months_are_due_a_day_after_their_end() -> None:
    def due(at: str, *billed: str) -> list[str]:
        return [str(period) for period in due_months(PARIS, parse_iso_utc(at), billed)]

    assert due("2025-11-01T12:00:00Z") == ["2025-09"]
    assert due("2025-11-02T12:00:00Z") == ["2025-10"]
    assert due("2025-11-01T23:30:00Z") == ["2025-10"]
    assert due("2025-11-02T12:00:00Z", "2025-08") == ["2025-08", "2025-09", "2025-10"]
    assert len(due("2025-11-02T12:00:00Z", "2025-08", "2023-01")) == 14
    assert due("2025-11-02T12:00:00Z", "2025-08", "2023-01")[0] == "2024-09"
    assert month("2025-10") == due_months(PARIS, parse_iso_utc("2025-11-02T12:00:00Z"), [])[0]


def test_a_month_that_no_run_saw_is_made_up_for(tool: Tool) -> None:
    for number, days in ((9, 30), (10, 31), (11, 30)):
        path = tool.inbox / f"{number}.csv"
        write_r63(path, date(2025, number, 1), days, CONSUMERS, PRODUCERS)
    tool.months("2025-10-02T06:00:00Z")
    # The machine was off for two months.
    found = tool.months("2025-12-02T06:00:00Z")
    assert [(one["month"], one["outcome"]) for one in found] == [
        ("2025-09", "unchanged"),
        ("2025-10", "billed"),
        ("2025-11", "billed"),
    ]
    late = tool.months("2026-01-02T06:00:00Z", code=7)[-1]
    assert (late["month"], late["outcome"]) == ("2025-12", "waiting")


def test_a_month_that_waits_again_says_that_it_was_billed(tool: Tool) -> None:
    write_r63(tool.inbox / "1.csv", date(2025, 10, 1), 31, CONSUMERS, PRODUCERS)
    tool.months("2025-11-02T06:00:00Z")
    street = tool.folder / "street.toml"
    street.write_text(street.read_text() + f'[[consumer]]\npoint = "{STRANGER}"\n')
    result = tool.run("2025-11-03T06:00:00Z")
    assert (result.exit_code, json.loads(result.stdout)["months"][0]["revision"]) == (7, 1)
    assert "2025-10 stays at revision 1: see problems.txt" in result.stderr


class TestNotesOfWhoLeft:
    @pytest.fixture
    def corrected(self, tool: Tool) -> Tool:
        """October billed, and corrected for the mill; November's curves are there."""
        write_r63(tool.inbox / "1.csv", date(2025, 10, 1), 31, CONSUMERS, PRODUCERS)
        tool.months("2025-11-02T06:00:00Z")
        write_r63(tool.inbox / "2.csv", date(2025, 10, 9), 1, {MILL: lambda _: 3_000}, {})
        tool.months("2025-11-10T06:00:00Z")
        write_r63(tool.inbox / "3.csv", date(2025, 11, 1), 30, CONSUMERS, PRODUCERS)
        return tool

    def write(self, tool: Tool, old: str, new: str) -> None:
        street = tool.folder / "street.toml"
        assert old in street.read_text()
        street.write_text(street.read_text().replace(old, new))

    def test_they_wait_for_a_month_in_which_it_is_a_member(self, corrected: Tool) -> None:
        mill = f'point = "{MILL}"\n'
        self.write(corrected, mill, mill + "from = 2025-12-01\n")
        result = corrected.run("2025-12-02T06:00:00Z", "--month", "2025-11")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert [one["outcome"] for one in found["months"]] == ["billed"]
        assert {item["buyer"] for item in found["waiting_notes"]} == {MILL}

    def test_one_that_stands_on_a_bill_makes_its_month_wait_alone(self, corrected: Tool) -> None:
        (_, november) = corrected.months("2025-12-02T06:00:00Z")
        assert november["note_lines"] > 0
        write_r63(corrected.inbox / "4.csv", date(2025, 12, 1), 31, CONSUMERS, PRODUCERS)
        self.write(corrected, f'[[consumer]]\npoint = "{MILL}"\n', "")
        found = corrected.months("2026-01-02T06:00:00Z", code=7)
        assert [(one["month"], one["outcome"]) for one in found[1:]] == [
            ("2025-11", "waiting"),
            ("2025-12", "billed"),
        ]
        (problem,) = found[1]["problems"]
        assert problem.startswith(f"note_without_bill: a correction of 2025-10 stands on {MILL}'s")
