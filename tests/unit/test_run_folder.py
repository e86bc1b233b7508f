"""A run's folder appears whole or not at all; what was wrong is said with file and line, exit 3.

Everything goes through ``daisee simulate``, as a person types it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from node.cli.main import cli
from node.errors import ConfigurationError
from simulations import run as run_module
from simulations.run import new_folder
from simulations.scenario import Scenario
from tests.support.homes import (
    JUNE_S,
    STEP_S,
    Steps,
    profile_text,
    run_scenario,
    some_homes,
    write_homes,
)

GOOD: Final = profile_text([(100, 0), (200, 50), (0, 300), (50, 50)])
WHOLE_RUN: Final = {"ledger.sqlite", "report.html", "results.json", "scenario.toml", "slots.jsonl"}


def simulate(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["simulate", *map(str, arguments)])


def refused(result: Result, *says: str) -> str:
    """What a refused simulation said: exit code 3, a message on stderr and nothing on stdout."""
    assert result.exit_code == 3, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("Error: ")
    for text in says:
        assert text in result.stderr
    return result.stderr


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_homes(tmp_path / "data", some_homes(3, 4))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder in which runs are made."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def _without_header(text: str) -> str:
    return text.replace(",pv_wh\n", "\n", 1)


def _row(number: int, change: Callable[[str], str]) -> Callable[[str], str]:
    """Change one line of a file."""

    def changed(text: str) -> str:
        lines = text.splitlines()
        lines[number - 1] = change(lines[number - 1])
        return "\n".join(line for line in lines if line) + "\n"

    return changed


@pytest.mark.parametrize(
    ("spoil", "line", "says"),
    [
        (_without_header, 1, "the column pv_wh is missing"),
        (_row(4, lambda _: ""), 4, "a gap"),
        (_row(5, lambda row: row.replace(":45:", ":40:")), 5, "unequal steps"),
        (_row(3, lambda row: row.replace(",200,", ",-200,")), 3, "load_wh is '-200'"),
        (_row(3, lambda row: row.replace(",50", ",50.5")), 3, "pv_wh is '50.5'"),
        (_row(3, lambda row: row.replace(":15:", ":00:")), 3, "stands twice"),
        (_row(3, lambda row: row.replace("Z", "")), 3, "UTC offset"),
        (_row(2, lambda row: row + ",7"), 2, "4 fields instead of 3"),
    ],
    ids=[
        *("missing column", "gap", "unequal steps", "negative Wh", "fractional Wh"),
        *("duplicate start", "no offset", "a field too many"),
    ],
)
def test_a_bad_home_profile_is_named_with_its_line_and_nothing_is_written(
    data: Path, place: Path, spoil: Callable[[str], str], line: int, says: str
) -> None:
    bad = data / "home-2.csv"
    bad.write_text(spoil(GOOD))
    refused(simulate("--data", data, "--out", place / "run"), f"{bad}:{line}: ", says)
    assert list(place.iterdir()) == []


def _empty(data: Path) -> None:
    for path in data.iterdir():
        path.unlink()


def _gone(data: Path) -> None:
    _empty(data)
    data.rmdir()


def _apart(data: Path) -> None:
    (data / "home-9.csv").write_text(profile_text([(1, 0)] * 4, start_s=JUNE_S + 86_400))


def _other_step(data: Path) -> None:
    (data / "home-9.csv").write_text(profile_text([(1, 0)] * 4, step_s=600))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_empty, "the folder holds no home profile"),
        (_gone, "there is no such folder"),
        (_apart, "home-9.csv: the homes do not overlap in time"),
        (_other_step, "home-9.csv: steps of 10 min"),
    ],
    ids=["empty folder", "no folder", "no overlap", "two steps"],
)
def test_homes_that_make_no_neighbourhood(
    data: Path, place: Path, spoil: Callable[[Path], None], says: str
) -> None:
    spoil(data)
    refused(simulate("--data", data, "--out", place / "run"), str(data), says)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--strategy", "greedy"], "unknown strategy 'greedy'"),
        (["--chain", "ganache"], "there is no chain engine 'ganache'"),
        (["--homes", "9"], "has 3 homes, not 9"),
        (["--days", "2"], "days of data, not 2"),
        (["--slot", "5m"], "slots of 5 min are shorter"),
        (["--slot", "20m"], "no multiple of that"),
        (["--slot", "1d"], "covers no whole slot of 1 d"),
        (["--start", "2026-06-19"], "leave out the start, or the data"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_settings_that_cannot_be(data: Path, place: Path, options: list[str], says: str) -> None:
    refused(simulate("--data", data, "--out", place / "run", *options), says)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[market]\ncap_price = 26350\n", 2, "the price band 4000 to 26350 is not on a grid"),
        ("seed = 1\n[homes]\nstrategy = 'greedy'\n", 3, "unknown strategy 'greedy'"),
        ("\n\nchain = 'ganache'\n", 3, "there is no chain engine 'ganache'"),
    ],
    ids=["price band off the grid", "unknown strategy", "unknown engine"],
)
def test_a_bad_scenario_is_named_with_its_line(
    tmp_path: Path, place: Path, text: str, line: int, says: str
) -> None:
    path = tmp_path / "street.toml"
    path.write_text(text)
    refused(simulate(path, "--out", place / "run"), f"{path}:{line}: ", says)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[market]\ncap_price = 28000\ntick_size = 200\n", "not below the retail tariff"),
        ("[homes]\nparameters = { bid_price = 9050 }\n", "bid_price 9050 is not on the price grid"),
        ("[homes.of.nobody]\nstrategy = 'adaptive'\n", "no home has that name"),
    ],
)
def test_a_scenario_that_contradicts_itself(
    tmp_path: Path, data: Path, place: Path, text: str, says: str
) -> None:
    path = tmp_path / "street.toml"
    path.write_text(text)
    refused(simulate(path, "--data", data, "--out", place / "run"), says)
    assert list(place.iterdir()) == []


def test_a_folder_that_exists_is_never_touched(data: Path, place: Path) -> None:
    for kind in ("run", "file"):
        out = place / kind
        if kind == "run":
            out.mkdir()
            (out / "slots.jsonl").write_text("mine")
        else:
            out.write_text("mine")
        refused(simulate("--data", data, "--out", out), f"the output folder {out} exists")
    assert (place / "run" / "slots.jsonl").read_text() == "mine"
    assert {path.name for path in place.rglob("*")} == {"run", "file", "slots.jsonl"}


def test_a_place_that_cannot_be_written_to(data: Path, place: Path) -> None:
    (place / "file").write_text("in the way")
    refused(simulate("--data", data, "--out", place / "file" / "run"), "cannot write to")
    assert [path.name for path in place.iterdir()] == ["file"]


def test_bad_input_leaves_no_folders_behind_that_were_not_there(data: Path, place: Path) -> None:
    (data / "home-2.csv").write_text(_without_header(GOOD))
    refused(simulate("--data", data, "--out", place / "a" / "b" / "run"))
    assert list(place.iterdir()) == []


def test_a_chain_that_does_not_answer_leaves_nothing(data: Path, place: Path) -> None:
    url = "http://127.0.0.1:1"
    result = simulate("--data", data, "--out", place / "run", "--chain", url)
    assert result.exit_code == 5, result.output
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("how", [KeyboardInterrupt, RuntimeError])
def test_what_ends_a_run_in_the_middle_leaves_nothing(
    data: Path, place: Path, monkeypatch: pytest.MonkeyPatch, how: type[BaseException]
) -> None:
    def end(_: object) -> str:
        raise how

    monkeypatch.setattr(run_module, "render_report", end)
    with pytest.raises(how):
        run_scenario(Scenario(data=data), place / "run")
    assert list(place.iterdir()) == []


def test_a_run_is_written_whole_and_can_be_read_again(data: Path, place: Path) -> None:
    out = place / "new" / "run"
    result = simulate("--data", data, "--out", out, "--seed", 9, "--json")
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == WHOLE_RUN
    assert [path.name for path in out.parent.iterdir()] == ["run"]
    printed, kept = json.loads(result.stdout), json.loads((out / "results.json").read_text())
    assert printed == kept
    assert (kept["homes"], kept["slots"], kept["seed"]) == (3, 4, 9)
    again = simulate(out / "scenario.toml", "--out", place / "again")
    assert again.exit_code == 0, again.output
    assert (place / "again" / "slots.jsonl").read_bytes() == (out / "slots.jsonl").read_bytes()


def test_homes_are_cut_to_the_time_that_all_cover(place: Path, tmp_path: Path) -> None:
    steps: Steps = [(10 * i, 0) for i in range(1, 9)]
    folder = write_homes(tmp_path / "data", {"early": steps})
    write_homes(folder, {"late": steps}, start_s=JUNE_S + 2 * STEP_S)
    assert simulate("--data", folder, "--out", place / "run").exit_code == 0
    kept = json.loads((place / "run" / "results.json").read_text())
    assert (kept["slots"], kept["load_wh"]) == (6, sum(range(30, 90, 10)) + sum(range(10, 70, 10)))


def test_what_an_interrupted_run_left_does_not_stop_the_next(place: Path) -> None:
    (place / ".run.part").mkdir()
    (place / ".run.part" / "slots.jsonl").write_text("half")
    with new_folder(place / "run") as draft:
        (draft / "whole").write_text("x")
        assert not (place / "run").exists()
    assert [path.name for path in (place / "run").iterdir()] == ["whole"]
    assert [path.name for path in place.iterdir()] == ["run"]
    with pytest.raises(ConfigurationError), new_folder(place / "run"):
        pass
