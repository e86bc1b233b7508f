"""``daisee simulate`` and ``daisee demo`` as programs, and what they tell to do next."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from node.cli.main import cli
from tests.support.browser import open_page
from tests.support.homes import slot_lines, some_homes, write_homes
from tests.support.shared import CHECKOUT

DOCUMENT_KEYS: Final = {
    *("homes", "slots", "orders", "load_wh", "pv_wh", "import_wh", "export_wh", "traded_wh"),
    *("self_sufficiency_pct", "self_consumption_pct", "no_market", "mean_price", "savings_eur"),
    *("energy_error_wh", "money_error_units", "chain", "cpu_s", "wall_s", "peak_rss_mb"),
    *("seed", "version"),
}
LINE_KEYS: Final = {"slot", "start", "price", "matched_wh", "orders"}
ORDER_KEYS: Final = {
    *("household", "side", "energy_wh", "limit_price", "seq", "filled_wh", "amount"),
}
SOUND: Final = "Every Wh and every unit of credit is accounted for."


def daisee(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "node.cli.main", *map(str, arguments)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def looks_next(printed: str) -> list[str]:
    """What a run recommends to look at, without the reasons."""
    told = printed.split("What to look at next:\n")[1].splitlines()
    return [re.split(r"\s{2,}", line.strip())[0] for line in told]


def follow_advice(printed: str, folder: Path) -> dict[str, str]:
    """Do what was recommended; returns what each command said. It must all work as printed."""
    report, *commands = looks_next(printed)
    assert report == f"{folder}/report.html"
    said: dict[str, str] = {}
    for command in commands:
        program, noun, *rest = shlex.split(command)
        assert Path(program).name == "daisee"
        result = CliRunner().invoke(cli, [noun, *rest])
        assert result.exit_code == 0, result.output
        said[noun] = result.stdout
    assert list(said) == ["slot", "trades", "balance", "audit"]
    return said


def test_a_run_on_the_embedded_chain_prints_one_document_and_leaves_a_whole_folder(
    tmp_path: Path,
) -> None:
    data = write_homes(tmp_path / "data", some_homes(4, 8))
    out = tmp_path / "run"
    done = daisee("simulate", "--data", data, "--chain", "embedded", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # progress is for terminals
    document = json.loads(done.stdout)
    assert done.stdout == json.dumps(document, sort_keys=True, ensure_ascii=False) + "\n"
    assert document.keys() >= DOCUMENT_KEYS
    assert (document["homes"], document["slots"], document["chain"]["engine"]) == (4, 8, "embedded")
    assert (document["energy_error_wh"], document["money_error_units"]) == (0, 0)
    assert document["chain"]["gas_used"] > 0
    assert document == json.loads((out / "results.json").read_text())
    lines = slot_lines(out)
    assert [line["slot"] for line in lines] == list(range(lines[0]["slot"], lines[0]["slot"] + 8))
    assert all(line.keys() == LINE_KEYS for line in lines)
    assert all(order.keys() == ORDER_KEYS for line in lines for order in line["orders"])
    shown = CliRunner().invoke(cli, ["slot", str(lines[1]["slot"]), "--run", str(out), "--json"])
    assert json.loads(shown.stdout).items() >= lines[1].items()


def test_without_json_it_says_what_came_of_it_and_what_to_look_at(tmp_path: Path) -> None:
    data = write_homes(tmp_path / "data", some_homes(4, 8))
    done = daisee("simulate", "--data", data, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "4 homes, 8 slots" in done.stdout
    assert SOUND in done.stdout
    follow_advice(done.stdout, tmp_path / "run")


def test_the_report_of_a_run_opens_asks_for_nothing_and_complains_of_nothing(
    tmp_path: Path,
) -> None:
    data = write_homes(tmp_path / "data", some_homes(3, 12))
    assert daisee("simulate", "--data", data, "--out", tmp_path / "run").returncode == 0
    with open_page(tmp_path / "profile") as page:
        page.open(tmp_path / "run" / "report.html")
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith("file:")] == []


def test_a_scenario_file_runs_and_options_win_over_it(tmp_path: Path) -> None:
    write_homes(tmp_path / "curves", some_homes(3, 8))
    scenario = tmp_path / "street.toml"
    scenario.write_text(
        'title = "Our <street>"\nseed = 4\n[market]\nslot = "30m"\nnetwork_fee = 200\n'
        '[homes]\ndata = "curves"\nstrategy = "linear-scarcity"\n'
    )
    done = daisee("simulate", scenario, "--seed", "5", "--out", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["seed"], document["slots"]) == (5, 4)
    assert {home["strategy"] for home in document["households"]} == {"linear-scarcity"}
    report = (tmp_path / "run" / "report.html").read_text()
    assert "Our &lt;street&gt;" in report
    assert "Our <street>" not in report


def test_generated_homes_need_nothing_but_a_number(tmp_path: Path) -> None:
    done = daisee(
        *(
            "simulate",
            "--homes",
            3,
            "--slot",
            "1h",
            "--seed",
            2,
            "--out",
            tmp_path / "run",
            "--json",
        )
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["homes"], document["slots"]) == (3, 24)
    assert document["load_wh"] > 0


@pytest.mark.parametrize(
    "option", [("--homes", "0"), ("--days", "many"), ("--slot", "5 minutes"), ("--start", "noon")]
)
def test_a_command_line_that_makes_no_sense_is_a_usage_error(
    tmp_path: Path, option: tuple[str, str]
) -> None:
    result = CliRunner().invoke(cli, ["simulate", *option, "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert option[0] in result.stderr
    assert not (tmp_path / "run").exists()


def test_the_demonstration_tells_a_newcomer_the_day_and_where_to_go_on(tmp_path: Path) -> None:
    done = daisee("demo", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "Nobody's electrons were steered to a neighbour" in done.stdout
    assert "8 homes, 96 slots" in done.stdout
    assert SOUND in done.stdout
    said = follow_advice(done.stdout, tmp_path / "run")
    assert "agree" in said["audit"]
    assert "accounting" in said["trades"]
