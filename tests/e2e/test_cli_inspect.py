"""The commands that look into a market, on the ledger of a small hand-made neighbourhood."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from node.cli.main import cli
from node.model import MarketEvent, OrderSettled, SlotCleared
from node.store import LEDGER_FILE, LedgerDatabase
from tests.support.honest_market import FEE_RULES, NAMES, SCARCE, SLOT, HonestMarket
from tests.support.shared import CHECKOUT

OPEN_SLOT = SLOT + 3

Inspect = Callable[..., Result]


def neighbourhood() -> list[MarketEvent]:
    """Two slots settled, one without orders, one cleared only."""
    market = HonestMarket()
    market.schedule(FEE_RULES)
    for slot in (SLOT, SLOT + 1):
        market.trade([replace(order, slot=slot) for order in SCARCE])
    still_open = [replace(order, slot=OPEN_SLOT) for order in SCARCE]
    for order in still_open:
        market.accept(order)
    market.clear(still_open)
    return market.events


def write_run(folder: Path, events: list[MarketEvent]) -> Path:
    folder.mkdir()
    with LedgerDatabase.open_to_append(folder) as ledger:
        ledger.append(events)
        ledger.set_names(NAMES)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("inspect") / "run", neighbourhood())


@pytest.fixture
def inspect(run: Path) -> Inspect:
    def invoke(*arguments: str, folder: Path = run) -> Result:
        return CliRunner().invoke(cli, [*arguments, "--run", str(folder)])

    return invoke


def document(result: Result) -> dict[str, Any]:
    """The one document on stdout, with sorted keys, and nothing on stderr."""
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.stdout == json.dumps(found, sort_keys=True, ensure_ascii=False) + "\n"
    return found


def test_balance_lists_every_household(inspect: Inspect) -> None:
    result = inspect("balance")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[1:4]] == ["roof", "flat", "mill"]
    assert "Network fees paid in all: 0.0020 EUR" in result.stdout


def test_balance_of_one_household_by_name_and_by_number(inspect: Inspect) -> None:
    for text in ("roof", "1"):
        (account,) = document(inspect("balance", text, "--json"))["households"]
        assert account == {
            "household": "roof",
            "number": 1,
            "balance_units": 10**12 + 12_000_000,
            "deposited_units": 10**12,
            "withdrawn_units": 0,
            "earned_units": 12_000_000,
            "paid_units": 0,
            "escrow_units": 0,
            "due_units": 6_000_000,
        }


def test_an_open_bid_is_set_aside(inspect: Inspect) -> None:
    (account,) = document(inspect("balance", "mill", "--json"))["households"]
    assert account["escrow_units"] == 500 * 12_200
    assert account["due_units"] == 500 * 12_200 - 2_440_000
    assert account["balance_units"] == 10**12 - 2 * 2_440_000 - 500 * 12_200


def test_trades_lists_fills_and_says_that_they_are_accounting(inspect: Inspect) -> None:
    result = inspect("trades")
    assert result.exit_code == 0
    assert "9 fills; sold 1.500 kWh, bought 1.500 kWh in all." in result.stdout
    assert "accounting facts about a shared network" in result.stdout
    assert "2016-06-07T00:00:00Z  roof       sold    500   12.00      0.0600" in result.stdout


def test_trades_of_a_household_in_a_time(inspect: Inspect) -> None:
    result = inspect(
        *("trades", "--household", "mill", "--json"),
        *("--from", "2016-06-07T00:10:00Z", "--to", str(OPEN_SLOT)),
    )
    assert document(result) == {
        "trades": [
            {
                "slot": SLOT + 1,
                "start": "2016-06-07T00:15:00Z",
                "household": "mill",
                "number": 3,
                "side": "bid",
                "filled_wh": 200,
                "price_units_per_wh": 12_000,
                "amount_units": -2_440_000,
            }
        ]
    }


def test_trades_of_a_day_without_any(inspect: Inspect) -> None:
    assert inspect("trades", "--from", "2017-01-01").stdout == "Nothing was traded.\n"


def test_trades_shows_the_last_ones_and_counts_all(inspect: Inspect) -> None:
    result = inspect("trades", "--last", "2")
    assert "The last 2 of 9 fills" in result.stdout
    assert result.stdout.count("2016-06-07T00:45:00Z") == 2


def test_slot_explains_the_price(inspect: Inspect) -> None:
    result = inspect("slot", str(SLOT))
    assert result.exit_code == 0
    text = result.stdout
    assert f"Slot {SLOT}, 2016-06-07T00:00:00Z to 2016-06-07T00:15:00Z" in text
    assert "No price lets more than 0.500 kWh trade." in text
    assert "Asks and bids balance at one price alone, so that is the price: 12.00 ct/kWh." in text
    assert "the bids at the price share what is left: 200 of their 500 Wh, pro rata." in text
    assert [line.split()[:4] for line in text.splitlines()[-5:-2]] == [
        ["0", "roof", "ask", "4.00"],
        ["1", "flat", "bid", "25.00"],
        ["2", "mill", "bid", "12.00"],
    ]
    assert text.endswith("steered to a neighbour.\n")


def test_slot_prints_its_line_of_slots_jsonl_by_number_or_instant(inspect: Inspect) -> None:
    by_number = inspect("slot", str(SLOT), "--json")
    line = document(by_number)
    assert (line["slot"], line["start"]) == (SLOT, "2016-06-07T00:00:00Z")
    assert (line["price"], line["matched_wh"]) == (12_000, 500)
    assert line["orders"][2] == {
        "household": "mill",
        "side": "bid",
        "energy_wh": 500,
        "limit_price": 12_000,
        "seq": 2,
        "filled_wh": 200,
        "amount": -2_440_000,
    }
    assert inspect("slot", "2016-06-07T00:07:30Z", "--json").stdout == by_number.stdout


def test_a_slot_that_is_not_settled_has_the_figures_that_it_will_have(inspect: Inspect) -> None:
    settled = document(inspect("slot", str(SLOT), "--json"))
    due = document(inspect("slot", str(OPEN_SLOT), "--json"))
    assert due["orders"] == settled["orders"]


def test_a_slot_in_which_nobody_ordered(inspect: Inspect) -> None:
    assert "nothing was traded" in inspect("slot", str(SLOT + 2)).stdout
    assert document(inspect("slot", str(SLOT + 2), "--json")) == {
        "slot": SLOT + 2,
        "start": "2016-06-07T00:30:00Z",
        "price": None,
        "matched_wh": 0,
        "orders": [],
    }


def test_audit_agrees(inspect: Inspect) -> None:
    result = inspect("audit")
    assert result.exit_code == 0
    assert result.stdout == (
        "3 slots, 9 orders, 3 clearings, 6 settlements, 1.500 kWh traded.\n"
        "Everything agrees with the reference, to the Wh and to the unit.\n"
    )
    report = document(inspect("audit", "--json"))
    assert (report["agrees"], report["differences"]) == (True, [])


def spoilt(events: list[MarketEvent]) -> list[MarketEvent]:
    """One unit too much for one household."""
    settled = next(event for event in events if isinstance(event, OrderSettled))
    return [
        replace(event, amount_units=settled.amount_units + 1) if event is settled else event
        for event in events
    ]


def test_audit_names_the_first_difference_and_exits_with_7(
    inspect: Inspect, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "spoilt", spoilt(neighbourhood()))
    sentence = (
        f"slot {SLOT} (2016-06-07T00:00:00Z): ask of roof: amount, units:"
        " recorded 6000001, the reference has 6000000"
    )
    told = inspect("audit", folder=folder)
    assert told.exit_code == 7
    assert sentence in told.stderr
    as_json = inspect("audit", "--json", folder=folder)
    assert as_json.exit_code == 7
    report = json.loads(as_json.stdout)
    assert (report["agrees"], report["differences"][0]["text"]) == (False, sentence)


def test_a_slot_that_is_not_cleared_is_shown_as_it_stands(inspect: Inspect, tmp_path: Path) -> None:
    events = [
        event
        for event in neighbourhood()
        if not (isinstance(event, SlotCleared) and event.slot == OPEN_SLOT)
    ]
    folder = write_run(tmp_path / "early", events)
    assert "not cleared yet" in inspect("slot", str(OPEN_SLOT), folder=folder).stdout
    line = document(inspect("slot", str(OPEN_SLOT), "--json", folder=folder))
    assert (line["price"], line["matched_wh"]) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["balance", "rof"], "Did you mean roof?"),
        (["balance", "9"], "It has: roof, flat, mill."),
        (["trades", "--household", "nobody"], "has no household 'nobody'"),
        (["balance", str(10**30)], "has no household"),
        (["slot", str(10**30)], "has no slot"),
        (["slot", "5"], f"Its slots run from {SLOT} (2016-06-07T00:00:00Z) to {OPEN_SLOT}"),
        (["slot", "2016-06-08T00:00:00Z"], "has no slot 2016-06-08T00:00:00Z"),
        (["slot", "noon"], "'noon' is no slot number, no day"),
        (["slot", "2016-06-07T00:00:00"], "is no slot number, no day"),
        (["trades", "--last", "0"], "'--last'"),
        (["slot"], "Missing argument 'SLOT'"),
    ],
)
def test_what_is_not_there_is_a_usage_error(
    inspect: Inspect, arguments: list[str], sentence: str
) -> None:
    result = inspect(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert sentence in result.stderr


@pytest.mark.parametrize("command", ["balance", "trades", "audit"])
def test_a_folder_that_is_no_run_is_a_configuration_error(
    inspect: Inspect, tmp_path: Path, command: str
) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        result = inspect(command, folder=folder)
        assert result.exit_code == 3
        assert str(folder) in result.stderr


def test_a_ledger_without_rules_is_a_configuration_error(inspect: Inspect, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "empty", [])
    result = inspect("audit", folder=folder)
    assert result.exit_code == 3
    assert "holds no market rules" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--rpc", "http://localhost:1"],
        ["--market", "0x1"],
        ["--run", "x", "--market", f"0x{1:040x}"],
        ["--run", "x", "--rpc", "y"],
    ],
)
def test_it_must_be_clear_which_market_is_meant(options: list[str]) -> None:
    result = CliRunner().invoke(cli, ["audit", *options])
    assert result.exit_code == 2
    assert any(
        sentence in result.stderr
        for sentence in ("Say which market", "go together", "is no address")
    )


def daisee(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "node.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={"PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error", **environment},
        timeout=60,
        check=False,
    )


def test_the_program_prints_a_document_and_leaves_the_run_as_it_is(run: Path) -> None:
    before = sorted(run.iterdir())
    done = daisee("slot", str(SLOT), "--run", str(run), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["price"] == 12_000
    assert sorted(run.iterdir()) == before == [run / LEDGER_FILE]


def test_the_program_ends_with_the_code_of_its_failure(run: Path, tmp_path: Path) -> None:
    assert daisee("audit", "--run", str(run)).returncode == 0
    assert daisee("audit", "--run", str(tmp_path)).returncode == 3
    assert daisee("audit").returncode == 2


def test_a_reader_that_goes_away_is_no_failure(run: Path) -> None:
    program = f"{sys.executable} -m node.cli.main trades --run {run} | true"
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", program],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr


def on_a_terminal(run: Path, *arguments: str, columns: int) -> str:
    """What a person sees on a terminal of so many columns."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "node.cli.main", *arguments, "--run", str(run)]
    environment = {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "40", "NO_COLOR": "1"}
    with subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stdout=slave, stderr=subprocess.PIPE
    ) as program:
        os.close(slave)
        seen = b""
        try:
            while chunk := os.read(master, 4096):
                seen += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        assert program.stderr is not None
        assert program.stderr.read() == b""
    os.close(master)
    assert program.returncode == 0
    return seen.decode()


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_no_figure_is_cut_on_a_terminal(run: Path, columns: int) -> None:
    text = on_a_terminal(run, "balance", columns=columns)
    for figure in ("10000.1200", "9999.8512", "0.0756", "10000.0000"):
        assert figure in text
    assert "…" not in text


def test_no_colour_where_it_is_not_wanted(run: Path) -> None:
    assert "\x1b[3" not in on_a_terminal(run, "slot", str(SLOT), columns=100)
