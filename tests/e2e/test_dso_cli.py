"""``daisee dso``: from an operator's files to versions of curves, as a person runs it."""

from __future__ import annotations

import json
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from node.cli.main import cli
from tests.support.curve_files import R63_HEADER, ends, prm, r63_row, watts, write_r63
from tests.support.shared import shared_path

HOME = prm(1)


def dso(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["dso", *map(str, arguments)])


def document(result: Result) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(result.stdout)
    return loaded


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "curves.db"


def correction(path: Path, wrong_step: int, value: str) -> Path:
    """One row that says something else of a step of 1 April 2025."""
    stamp = ends(date(2025, 4, 1), 1, 1800)[wrong_step].strftime("%Y-%m-%d %H:%M:%S")
    path.write_text(f"{R63_HEADER}\n{r63_row(HOME, stamp, value)}\n", encoding="utf-8")
    return path


def test_a_correction_makes_a_version_and_tells_which_steps_it_touches(
    tmp_path: Path, database: Path
) -> None:
    day = write_r63(tmp_path / "day.csv", [HOME], date(2025, 4, 1), 1)
    first = dso("import", "--database", database, "--json", day)
    assert first.exit_code == 0, first.output
    (told,) = document(first)["files"]
    assert (told["version"], told["added_steps"], told["touched"]) == (1, 48, [])

    wrong = watts(48, 0)[20]
    late = correction(tmp_path / "late.csv", 20, str(wrong + 200))
    (told,) = document(dso("import", "--database", database, "--json", late))["files"]
    assert told["version"] == 2
    assert told["touched"] == [
        {
            "point": HOME,
            "direction": "withdrawal",
            "from": "2025-04-01T08:00:00Z",
            "to": "2025-04-01T08:30:00Z",
            "steps": 1,
        }
    ]

    ask = ("curves", "--database", database, "--point", HOME, "--month", "2025-04", "--json")
    now, before = document(dso(*ask)), document(dso(*ask, "--as-of", "1"))
    assert now["versions"] == [1, 2]
    different = [
        (old["start"], old["energy_wh"], new["energy_wh"])
        for old, new in zip(before["steps"], now["steps"], strict=True)
        if old != new
    ]
    (step,) = different
    assert step[0] == "2025-04-01T08:00:00Z"
    assert step[2] == step[1] + 100


def test_the_same_file_again_changes_nothing(tmp_path: Path, database: Path) -> None:
    day = write_r63(tmp_path / "day.csv", [HOME], date(2025, 4, 1), 1)
    dso("import", "--database", database, day)
    again = dso("import", "--database", database, day)
    assert again.exit_code == 0
    assert "imported before, as version 1: nothing done" in again.stdout
    copy = tmp_path / "copy.csv"
    copy.write_bytes(day.read_bytes())
    (told,) = document(dso("import", "--database", database, "--json", copy))["files"]
    assert (told["version"], told["added_steps"], told["touched"]) == (2, 0, [])
    (series,) = document(dso("curves", "--database", database, "--json"))["curves"]
    assert series["version"] == 1


def test_an_archive_and_a_perimeter(tmp_path: Path, database: Path) -> None:
    day = write_r63(tmp_path / "day.csv", [HOME, prm(2)], date(2025, 4, 1), 1)
    archive = tmp_path / "ENEDIS_R63_P_CdC_M01_00001_20250403010203.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(day, "day.csv")
        packed.writestr("readme.txt", "nothing")
    perimeter = tmp_path / "perimeter.csv"
    perimeter.write_text(f"point,direction,from\n{HOME},withdrawal,2025-01-01\n", encoding="utf-8")
    result = dso("import", "--database", database, "--perimeter", perimeter, "--json", archive)
    assert result.exit_code == 7  # the text file in the archive is to be asked about
    curves, text = document(result)["files"]
    assert curves["file"] == f"{archive.name}:day.csv"
    assert (curves["accepted"], curves["refused"]) == (48, 48)
    assert curves["published"] == "2025-04-02T23:02:03Z"
    assert text["format"] == ""


@pytest.mark.parametrize(
    ("name", "exit_code"),
    [
        ("ok_day.csv", 0),
        ("duplicate_same.csv", 0),
        ("mixed_step.csv", 0),
        ("unsorted.csv", 0),
        ("missing_point.csv", 7),
        ("empty_value.csv", 7),
        ("prm_13_digits.csv", 7),
        ("unknown_prm.csv", 0),
    ],
)
def test_check_keeps_nothing_and_ends_with_7_where_somebody_must_act(
    tmp_path: Path, name: str, exit_code: int
) -> None:
    perimeter = tmp_path / "perimeter.csv"
    perimeter.write_text("point,from\n30000000000011,2025-01-01\n", encoding="utf-8")
    result = dso("check", "--perimeter", perimeter, shared_path(f"acc/bad/{name}"))
    assert result.exit_code == exit_code, result.output
    assert result.stdout.startswith(f"{name}: r63-csv, ")
    assert list(tmp_path.iterdir()) == [perimeter]


def test_the_months_of_a_curve_as_csv(tmp_path: Path, database: Path) -> None:
    dso("import", "--database", database, write_r63(tmp_path / "a", [HOME], date(2025, 4, 1), 30))
    show = ("curves", "--database", database, "--point", HOME, "--month", "2025-04")
    lines = dso(*show, "--csv").stdout.splitlines()
    assert lines[0] == "start,energy_wh,quality"
    assert len(lines) == 1 + 30 * 48
    assert lines[1].startswith("2025-03-31T22:00:00Z,")
    assert "in 1440 of 1440 steps of 30 min" in dso(*show).stdout
    assert dso(*show, "--direction", "injection").exit_code == 2


def test_what_a_month_lacks(tmp_path: Path, database: Path) -> None:
    dso("import", "--database", database, write_r63(tmp_path / "a", [HOME], date(2025, 4, 1), 30))
    perimeter = tmp_path / "perimeter.csv"
    perimeter.write_text(
        f"point,direction,from\n{HOME},withdrawal,2025-01-01\n{prm(2)},injection,2025-04-16\n",
        encoding="utf-8",
    )
    month = ("curves", "--database", database, "--month", "2025-04")
    assert dso(*month).exit_code == 0
    lacking = dso(*month, "--perimeter", perimeter, "--json")
    assert lacking.exit_code == 7
    home, roof = document(lacking)["coverage"]
    assert (home["values"], home["provisional"], home["gaps"]) == (1440, 0, [])
    assert (roof["point"], roof["values"]) == (prm(2), 0)
    assert roof["gaps"] == [{"from": "2025-04-15T22:00:00Z", "to": "2025-04-30T22:00:00Z"}]
    assert "1 of 2 curves have gaps" in dso(*month, "--perimeter", perimeter).stderr


def test_short_gaps_are_estimated_only_where_that_is_asked_for(
    tmp_path: Path, database: Path
) -> None:
    lines = write_r63(tmp_path / "a", [HOME], date(2025, 4, 1), 1).read_text(encoding="utf-8")
    rows = lines.splitlines()
    gappy = tmp_path / "gappy.csv"
    gappy.write_text("\n".join([*rows[:11], *rows[13:20], *rows[30:]]), encoding="utf-8")
    assert dso("import", "--database", database, gappy).exit_code == 7
    show = ("curves", "--database", database, "--point", HOME, "--month", "2025-04", "--json")
    plain, filled = document(dso(*show))["steps"], document(dso(*show, "--estimate"))["steps"]
    assert [step["quality"] for step in plain[:48]].count("gap") == 12
    assert [step["quality"] for step in filled[:48]].count("estimated") == 2
    left, one, two, right = (step["energy_wh"] for step in filled[9:13])
    assert min(left, right) - 1 <= one <= max(left, right) + 1
    assert abs((one - left) - (two - one)) <= 2


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("check", "absent.csv"), 3, "cannot be read"),
        (("check", "--step", "7min", "x.csv"), 2, "operators publish steps of"),
        (("curves", "--database", "absent.db"), 3, "no database of official curves there"),
        (("curves", "--database", "absent.db", "--csv"), 2, "need --point"),
        (("curves", "--database", "absent.db", "--point", "1"), 2, "needs --month"),
        (("check", "--perimeter", "absent.csv", "x.csv"), 3, "perimeter"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    exit_code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = dso(*arguments)
    assert result.exit_code == exit_code, result.output
    assert words in result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("point;from\n1;2025-01-01;x\n", "2: 3 columns, 2 in the header"),
        ("point,from\n1,2025-02-30\n", "2: "),
        ("point,from,until\n1,2025-02-01,2025-01-01\n", "is not after"),
        ("point,from\n1,2025-01-01\n1,2025-02-01\n", "3: point 1 is there twice"),
        ("point,from,segment\n1,2025-01-01,C9\n", "is not C1..C5"),
        ("point,from,direction\n1,2025-01-01,up\n", "is not withdrawal, injection or both"),
        ("prm,from\n", "1: the columns are prm, from"),
    ],
)
def test_a_perimeter_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    perimeter = tmp_path / "perimeter.csv"
    perimeter.write_text(text, encoding="utf-8")
    result = dso("check", "--perimeter", perimeter, tmp_path / "x.csv")
    assert result.exit_code == 3
    assert words in result.stderr
