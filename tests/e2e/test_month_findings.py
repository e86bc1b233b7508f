"""What the month's round cannot take from the operator's files is told until it is seen to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from node.billing.operation_file import operation_from, read_operation
from node.billing.time_of_use import Period
from node.cli.main import cli
from node.cli.supplier_bills import perimeter_of
from node.errors import ConfigurationError
from tests.support.billing_cases import BARN, FLAT, MILL, ROOF
from tests.support.curve_files import R63_HEADER
from tests.support.dispute_desk import OPERATION
from tests.support.operator_month import WattsOf, write_r63

CONSUMERS: Mapping[str, WattsOf] = {FLAT: lambda n: 300 + n % 11 * 20, MILL: lambda _: 1_000}
PRODUCERS: Mapping[str, WattsOf] = {
    ROOF: lambda n: 2_400 if 16 <= n % 48 < 36 else 0,
    BARN: lambda n: n % 7 * 40,
}
NOON = "2025-09-10 12:30:00"
ONE = "2025-09-10 13:00:00"


class Street:
    """September billed, from files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inbox = folder / "inbox"
        self.operation = folder / "street.toml"
        self.operation.write_text(OPERATION)
        self.inbox.mkdir()
        write_r63(self.inbox / "1.csv", date(2025, 9, 1), 30, CONSUMERS, PRODUCERS)
        assert self.month()["months"][0]["outcome"] == "billed"

    def run(self, *more: object, inbox: Path | None = None) -> Result:
        words = ["supplier", "month", "--operation", self.operation]
        words += ["--inbox", inbox or self.inbox, "--curves", self.folder / "curves.db"]
        words += ["--out", self.folder / "bills", "--at", "2025-10-02T06:00:00Z", *more]
        return CliRunner().invoke(cli, list(map(str, words)))

    def month(self, code: int = 0) -> dict[str, Any]:
        result = self.run("--json")
        assert result.exit_code == code, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def correct(self, name: str, values: Mapping[str, int], nature: str = "C") -> None:
        """The operator corrects half hours of the flat."""
        rows = [
            f"{FLAT};2025-09-01 00:00:00;2025-10-01 00:00:00;PA;CONS;CORR;W;"
            f"{stamp};{watts};{nature};PT30M;0;0"
            for stamp, watts in values.items()
        ]
        (self.inbox / name).write_text("\n".join([R63_HEADER, *rows]) + "\n")

    def says(self, more: str, point: str = FLAT) -> None:
        """The operation's file says more of a member."""
        text = self.operation.read_text()
        self.operation.write_text(text.replace(f'"{point}"\n', f'"{point}"\n{more}\n', 1))

    def findings(self, *more: object) -> list[dict[str, Any]]:
        result = self.dso("--json", *more)
        found: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
        return found

    def dso(self, *more: object) -> Result:
        words = ("dso", "findings", "--database", self.folder / "curves.db", *more)
        result = CliRunner().invoke(cli, list(map(str, words)))
        assert result.exit_code == 0, result.output
        return result

    def watts(self, place: int) -> int:
        """What is kept of a half hour of 10 September, by its number in the UTC day."""
        words = ["dso", "curves", "--database", self.folder / "curves.db", "--point", FLAT]
        result = CliRunner().invoke(cli, [*map(str, words), "--month", "2025-09", "--json"])
        steps: Sequence[dict[str, Any]] = json.loads(result.stdout)["steps"]
        starts = {step["start"]: step["energy_wh"] for step in steps}
        hours, half = divmod(place, 2)
        return int(starts[f"2025-09-10T{hours:02d}:{30 * half:02d}:00Z"]) * 2


@pytest.fixture
def street(tmp_path: Path) -> Street:
    return Street(tmp_path)


def test_a_correction_that_is_refused_is_told_until_it_can_be_taken(street: Street) -> None:
    street.correct("2.csv", {NOON: 3_000, ONE: 3_200})
    for _ in range(2):
        told = street.month(code=7)
        assert [month["outcome"] for month in told["months"]] == ["unchanged"]
        (asked,) = told["asked"]
        assert (asked["file"], asked["line"], asked["last_line"]) == ("2.csv", 2, 3)
        assert (asked["rows"], asked["treatment"], asked["rule"]) == (2, "ask", "stamp_side")
        assert "in the operation's file" in asked["next"]
    text = street.run()
    assert text.exit_code == 7
    assert "2.csv: non-standard, ask: lines 2-3" in text.stdout
    assert "refused rows: 2" in text.stderr

    street.says('segment = "C5"')
    told = street.month()
    assert (told["new_files"], told["corrected_steps"], told["asked"]) == (1, 2, [])
    assert [(one["outcome"], one["revision"]) for one in told["months"]] == [("billed", 2)]
    assert [street.watts(place) for place in (20, 21)] == [3_000, 3_200]
    told = street.month()
    assert (told["new_files"], told["months"][0]["outcome"]) == (0, "unchanged")


def test_what_is_read_again_undoes_nothing_that_came_later(street: Street) -> None:
    street.correct("2.csv", {NOON: 3_000, ONE: 3_200})
    street.month(code=7)
    street.correct("3.csv", {ONE: 4_000}, nature="B")
    street.month(code=7)
    street.says('segment = "C5"')
    assert street.month()["corrected_steps"] == 1
    assert [street.watts(place) for place in (20, 21)] == [3_000, 4_000]


def test_a_file_that_leaves_the_inbox_asks_no_more(street: Street) -> None:
    street.correct("2.csv", {NOON: 3_000})
    street.month(code=7)
    (street.inbox / "2.csv").unlink()
    assert street.month()["asked"] == []


def test_values_beyond_the_subscribed_power_are_asked_about(street: Street) -> None:
    street.says("kva = 1")
    street.says("kva = 3", ROOF)
    street.correct("2.csv", {NOON: 1_300}, nature="B")
    above, kept = street.month(code=7)["asked"]
    assert (above["rule"], above["point"]) == ("above_subscribed_power", FLAT)
    assert "kva" in above["next"]
    assert kept["rule"] == "less_trusted", "a doubtful value replaces none that was read"


def test_kept_findings_are_listed(street: Street) -> None:
    assert street.findings() == []
    street.correct("2.csv", {NOON: 3_000, ONE: 3_200})
    street.month(code=7)
    (found,) = street.findings()
    assert (found["import"], found["file"], found["rows"], found["point"]) == (2, "2.csv", 2, FLAT)
    assert street.findings("--since", 2) == []
    assert street.findings("--asked") == [found]
    table = street.dso()
    assert "2-3" in table.stdout
    assert "Findings: 1. Refused rows: 2." in table.stdout


def test_an_inbox_that_is_no_folder_is_an_error(street: Street) -> None:
    for wrong in (street.folder / "nosuch", street.operation):
        result = street.run(inbox=wrong)
        assert (result.exit_code, "no such folder" in result.stderr) == (3, True), result.output


def test_a_linky_that_draws_and_feeds_in_has_one_side(tmp_path: Path) -> None:
    path = tmp_path / "street.toml"
    both = OPERATION.replace(f'point = "{FLAT}"', f'point = "{ROOF}"\nsegment = "C5"')
    path.write_text(both.replace(f'point = "{ROOF}"\n', f'point = "{ROOF}"\nsegment = "P4"\n', 1))
    operation = read_operation(path)
    period = Period(date(2025, 9, 1), date(2025, 10, 1), operation.zone)
    assert perimeter_of(operation, period).segment(ROOF) == "C5"


@pytest.mark.parametrize("wrong", ["C6", 5, "c5"])
def test_a_segment_that_is_none_is_refused(wrong: object) -> None:
    member = {"point": FLAT, "segment": wrong}
    operation = {"operation": {"name": "x", "rules": "1"}, "producer": [{"point": ROOF}]}
    with pytest.raises(ConfigurationError, match="segment"):
        operation_from({**operation, "consumer": [member]})
