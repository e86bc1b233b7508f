"""``daisee supplier`` on a month's market, on curves, and on coefficient files."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from node.cli.main import cli
from node.cli.sources import ledger_from
from node.model import (
    BEFORE_ALL,
    EventPage,
    LogPosition,
    MarketEvent,
    MarketRules,
    Order,
    Side,
    SlotEnergy,
)
from node.slots import iso_utc, parse_iso_utc
from node.store import LEDGER_FILE, LedgerDatabase, NodeDatabase
from tests.support.homes import slot_lines, some_homes, write_homes
from tests.support.honest_market import NAMES, HonestMarket

AUTUMN_S = parse_iso_utc("2026-10-25T00:00:00Z")
SLOT = AUTUMN_S // 900
"""The first quarter of an hour that comes twice in Paris."""

RULES = MarketRules(network_fee=200)


def autumn_events() -> list[MarketEvent]:
    """Eight slots from 02:00 summer time on: the roof sells to the flat and the mill."""
    market = HonestMarket(RULES)
    market.schedule(RULES)
    for number in range(8):
        slot = SLOT + number
        book = [
            Order(1, slot, Side.ASK, 500, 4_000),
            Order(2, slot, Side.BID, 300, 25_000),
            Order(3, slot, Side.BID, 500, 12_000),
        ]
        if number == 5:
            continue
        if number == 6:
            book = book[:2]
        market.trade(book)
    return market.events


def write_run(folder: Path, events: Sequence[MarketEvent]) -> Path:
    folder.mkdir()
    with LedgerDatabase.open_to_append(folder) as ledger:
        ledger.append(events)
        ledger.set_names(NAMES)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("supplier") / "run", autumn_events())


def supplier(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["supplier", *map(str, arguments)])


def document(result: Result) -> dict[str, Any]:
    """The one document on stdout, with sorted keys."""
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.stdout == json.dumps(found, sort_keys=True, ensure_ascii=False) + "\n"
    return found


def report(run: Path, *arguments: object) -> Result:
    return supplier("report", "--month", "2026-10", "--run", run, *arguments)


def test_the_report_has_a_row_for_each_household_and_slot(run: Path) -> None:
    found = document(report(run, "--json"))
    assert (found["month"], found["timezone"], found["slot_s"]) == ("2026-10", "Europe/Paris", 900)
    assert len(found["rows"]) == 8 * 3
    assert found["rows"][2] == {
        "slot": SLOT,
        "start": "2026-10-25T00:00:00Z",
        "local_start": "2026-10-25T02:00:00+02:00",
        "household": 3,
        "status": "ordered",
        "bought_wh": 200,
        "residual_wh": 300,
        "sold_wh": None,
        "surplus_wh": None,
        "price_units_per_wh": 12_000,
        "paid_units": 200 * 12_200,
        "earned_units": None,
    }
    assert found["rows"][12]["local_start"] == "2026-10-25T02:00:00+01:00"
    assert [row["status"] for row in found["rows"][15:21]] == [
        *("no_order", "no_order", "no_order"),
        *("ordered", "ordered", "no_order"),
    ]
    assert found["totals"][2]["bought_wh"] == 6 * 200
    assert found["totals"][2]["no_order_slots"] == 2


def test_csv_and_json_say_the_same(run: Path) -> None:
    rows = list(csv.DictReader(report(run, "--csv").stdout.splitlines()))
    expected = document(report(run, "--json"))["rows"]
    as_text = [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in expected
    ]
    assert [dict(sorted(row.items())) for row in rows] == as_text


def test_the_report_is_the_same_after_the_database_was_deleted(run: Path, tmp_path: Path) -> None:
    """What remains is the chain: its events, read again page by page."""
    before = [report(run, form).stdout for form in ("--json", "--csv")]
    lost = shutil.copytree(run, tmp_path / "lost")
    with LedgerDatabase.open(lost) as ledger:
        chain = list(ledger.events())
    (lost / LEDGER_FILE).unlink()
    assert report(lost, "--json").exit_code == 3

    class Chain:
        async def events_after(self, position: LogPosition) -> EventPage:
            after = [event for event in chain if event.position > position]
            upto = after[6].position if len(after) > 7 else LogPosition(10**6, 0)
            return EventPage(after[:7], upto, more=len(after) > 7)

    assert chain[0].position > BEFORE_ALL
    with (
        asyncio.run(ledger_from(Chain())) as again,
        LedgerDatabase.open_to_append(lost) as rebuilt,
    ):
        rebuilt.append(again.events())
    assert [report(lost, form).stdout for form in ("--json", "--csv")] == before


def test_a_person_sees_sums_and_names(run: Path) -> None:
    result = report(run)
    assert result.exit_code == 0
    assert "roof" in result.stdout
    assert "2026-10-25T02:00:00+02:00 to 2026-10-25T03:00:00+01:00: 8 slots" in result.stdout
    assert "accounting facts about a shared network" in result.stdout


def test_only_some_households_of_some_month(run: Path) -> None:
    found = document(report(run, "--json", "--household", "mill"))
    assert {row["household"] for row in found["rows"]} == {3}
    other = ("report", "--month", "2026-11", "--run", run)
    assert document(supplier(*other, "--json"))["rows"] == []
    assert supplier(*other).stdout == "Nobody ordered anything in 2026-11 (Europe/Paris).\n"
    zone = ("--timezone", "America/New_York")
    assert document(report(run, "--json", *zone))["rows"][0]["local_start"] == (
        "2026-10-24T20:00:00-04:00"
    )


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("--month", "October"), 2, "is no month"),
        (("--month", "2026-10", "--timezone", "Europe/Atlantis"), 3, "no time zone"),
        (("--month", "2026-10", "--json", "--csv"), 2, "not both"),
        (("--month", "2026-10", "--household", "barn"), 2, "no household"),
        ((), 2, "--month"),
    ],
)
def test_what_cannot_be_reported_is_said(
    run: Path, arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    result = supplier("report", "--run", run, *arguments)
    assert result.exit_code == exit_code
    assert message in result.stderr


def test_the_report_of_a_simulation_agrees_with_its_slots(tmp_path: Path) -> None:
    homes = write_homes(tmp_path / "homes", some_homes(4, 24))
    out = tmp_path / "run"
    simulated = CliRunner().invoke(cli, ["simulate", "--data", str(homes), "--out", str(out)])
    assert simulated.exit_code == 0, simulated.output
    found = document(supplier("report", "--month", "2016-06", "--run", out, "--json"))
    filled = {
        (line["slot"], order["household"], order["side"]): order["filled_wh"]
        for line in slot_lines(out)
        for order in line["orders"]
    }
    told = {
        (row["slot"], f"home-{row['household']}", side): row[name]
        for row in found["rows"]
        for side, name in (("ask", "sold_wh"), ("bid", "bought_wh"))
        if row[name] is not None
    }
    assert told == filled


def table(folder: Path, name: str, header: str, rows: Sequence[str], step_s: int = 1_800) -> Path:
    path = folder / name
    lines = [f"{iso_utc(AUTUMN_S + step * step_s)},{row}\n" for step, row in enumerate(rows)]
    path.write_text(f"start,{header}\n" + "".join(lines))
    return path


def measured(folder: Path) -> tuple[object, ...]:
    """The mill drew 150 Wh less in the first half hour than it ordered; the rest is right."""
    drawn = table(folder, "drawn.csv", "flat,mill", ["600,250", "600,1000", "300,500", "600,500"])
    fed_in = table(folder, "fed.csv", "roof", ["1000", "1000", "500", ""])
    return ("--withdrawals", drawn, "--injections", fed_in)


def test_reconciliation_cuts_and_balances(run: Path, tmp_path: Path) -> None:
    arguments = ("reconcile", "--month", "2026-10", "--run", run, *measured(tmp_path))
    found = document(supplier(*arguments, "--json"))
    of_mill = next(item for item in found["totals"] if item["household"] == 3)
    assert of_mill["allocated_wh"] - of_mill["corrected_wh"] == 150
    assert sum(entry["energy_wh"] for entry in found["entries"]) == 0
    assert sum(entry["amount_units"] for entry in found["entries"]) == 0
    assert {entry["household"] for entry in found["entries"]} == {1, 3, None}
    assert found["pending"] == [
        {"start": "2026-10-25T01:30:00Z", "household": 1, "side": "ask", "filled_wh": 800}
    ]
    rows = list(csv.DictReader(supplier(*arguments, "--csv").stdout.splitlines()))
    assert [int(row["energy_wh"]) for row in rows] == [e["energy_wh"] for e in found["entries"]]
    text = supplier(*arguments).stdout
    assert "which sum to 0 Wh and 0 units; 1 periods pending." in text


def test_points_and_nodes_are_named_by_the_operator(run: Path, tmp_path: Path) -> None:
    """The mill's own node read 500 Wh in each slot; the operator saw less on that day."""
    points = tmp_path / "points.csv"
    points.write_text("household,point\n1,roof\n2,flat\nmill,mill\n")
    with NodeDatabase.open(tmp_path / "mill.db") as node:
        for number in range(8):
            node.add_slot_energy(SlotEnergy(SLOT + number, 500, 0))
    arguments = ("reconcile", "--month", "2026-10", "--run", run, *measured(tmp_path))
    named = ("--points", points, "--node", f"mill={tmp_path / 'mill.db'}")
    assert document(supplier(*arguments, *named, "--json"))["differences"] == [
        {
            "day": "2026-10-25",
            "household": 3,
            "side": "bid",
            "node_wh": 4_000,
            "official_wh": 2_250,
        }
    ]
    assert "mill's node read 4000 Wh (bid), the operator 2250 Wh." in (
        supplier(*arguments, *named).stdout
    )


R63_HEADER = (
    "Identifiant PRM;Date de début;Date de fin;Grandeur physique;Grandeur métier;Etape métier;"
    "Unité;Horodate;Valeur;Nature;Pas;Indice de vraisemblance;Etat complémentaire\n"
)
PRMS = {"roof": "30000000000011", "flat": "30000000000012", "mill": "30000000000013"}


def imported(folder: Path) -> Path:
    """The same measures as ``measured``, as an operator publishes them: watts, stamped at the end
    of the half hour."""
    sent = {
        ("roof", "PROD"): (1_000, 1_000, 500, None),
        ("flat", "CONS"): (600, 600, 300, 600),
        ("mill", "CONS"): (250, 1_000, 500, 500),
    }
    rows = [
        f"{PRMS[name]};2026-10-01 00:00:00;2026-11-01 00:00:00;PA;{way};BRUT;W;"
        f"{iso_utc(AUTUMN_S + (step + 1) * 1_800)};{2 * energy_wh};B;PT30M;0;0\n"
        for (name, way), steps in sent.items()
        for step, energy_wh in enumerate(steps)
        if energy_wh is not None
    ]
    path, database = folder / "ENEDIS_R63_P_CdC_M0000001_00001_20261102000000.csv", folder / "c.db"
    path.write_text(R63_HEADER + "".join(rows), encoding="utf-8")
    done = CliRunner().invoke(cli, ["dso", "import", "--database", str(database), str(path)])
    assert done.exit_code in {0, 7}, done.output
    return database


def test_imported_curves_reconcile_like_tables(run: Path, tmp_path: Path) -> None:
    points = tmp_path / "points.csv"
    rows = (f"{name},{prm}\n" for name, prm in PRMS.items())
    points.write_text("household,point\n" + "".join(rows))
    arguments = ("reconcile", "--month", "2026-10", "--run", run, "--json")
    by_table = document(supplier(*arguments, *measured(tmp_path)))
    by_import = document(supplier(*arguments, "--curves", imported(tmp_path), "--points", points))
    assert by_import["entries"] == by_table["entries"]
    assert by_import["pending"] == by_table["pending"]
    assert supplier(*arguments, "--curves", tmp_path / "c.db").exit_code == 3
    assert supplier(*arguments).exit_code == 2


def test_imported_curves_are_allocated_month_by_month(tmp_path: Path) -> None:
    """Of the month's half hours only three have all three values."""
    where = ("--curves", imported(tmp_path), "--month", "2026-10")
    found = document(supplier("allocate", *where, "--json"))
    assert (found["from"], found["to"]) == ("2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z")
    assert found["steps"] == 31 * 48 + 2
    assert len(found["open_steps"]) == found["steps"] - 3
    assert found["points"][0]["allocated_wh"] == 850 + 1_000 + 500
    assert supplier("allocate", *where[:2]).exit_code == 2
    empty = supplier("allocate", *where[:3], "2026-11")
    assert empty.exit_code == 3
    assert f"{PRMS['roof']} has no injection curve in 2026-11: left out" in empty.stderr


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("household;point\n", "does not begin"),
        ("household,point\n1\n", "points.csv:2: is not household,point"),
        ("household,point\n1,roof\n2,roof\n", "points.csv:3: roof stands twice"),
        ("household,point\n1,roof\n2,flat\n", "nobody knows whose point mill is"),
        ("household,point\n1,roof\n2,flat\n2,mill\n", "two points in one direction"),
    ],
)
def test_points_that_cannot_be_used_are_refused(
    run: Path, tmp_path: Path, points: str, message: str
) -> None:
    path = tmp_path / "points.csv"
    path.write_text(points)
    result = supplier(
        *("reconcile", "--month", "2026-10", "--run", run, "--points", path), *measured(tmp_path)
    )
    assert result.exit_code == 3
    assert message in result.stderr


def curves(folder: Path) -> tuple[object, ...]:
    produced = table(folder, "roofs.csv", "30000000000001", ["900", "", "1000", "0"])
    consumed = table(
        folder, "homes.csv", "40000000000002,40000000000001", ["900,300", "1,1", "100,200", "5,5"]
    )
    return ("--production", produced, "--consumption", consumed)


def test_curves_are_allocated_by_the_default_key(tmp_path: Path) -> None:
    found = document(supplier("allocate", *curves(tmp_path), "--json"))
    assert found["key"] == "default_dynamic"
    assert found["open_steps"] == ["2026-10-25T00:30:00Z"]
    assert found["points"][0] == {
        "role": "producer",
        "point": "30000000000001",
        "measured_wh": 1_900,
        "allocated_wh": 1_200,
        "left_wh": 700,
    }
    assert [pair["energy_wh"] for pair in found["pairs"]] == [225 + 200, 675 + 100]
    text = supplier("allocate", *curves(tmp_path)).stdout
    assert "1.200 kWh allocated by the key default_dynamic in 3 steps; 1 steps open." in text


def test_steps_and_matrices_come_as_csv(tmp_path: Path) -> None:
    rows = supplier("allocate", *curves(tmp_path), "--csv").stdout.splitlines()
    assert rows[:3] == [
        "start,role,point,measured_wh,allocated_wh,left_wh",
        "2026-10-25T00:00:00Z,producer,30000000000001,900,900,0",
        "2026-10-25T00:00:00Z,consumer,40000000000001,300,225,75",
    ]
    assert "2026-10-25T00:30:00Z,producer,30000000000001,,," in rows
    assert supplier("allocate", *curves(tmp_path), "--csv", "--matrix").stdout.splitlines() == [
        "start,producer,consumer,energy_wh",
        "2026-10-25T00:00:00Z,30000000000001,40000000000001,225",
        "2026-10-25T00:00:00Z,30000000000001,40000000000002,675",
        "2026-10-25T01:00:00Z,30000000000001,40000000000001,200",
        "2026-10-25T01:00:00Z,30000000000001,40000000000002,100",
    ]


def test_a_key_or_coefficient_files_are_used(tmp_path: Path) -> None:
    key = tmp_path / "key.toml"
    key.write_text('kind = "priority"\norder = [["40000000000001"], ["40000000000002"]]\n')
    found = document(supplier("allocate", *curves(tmp_path), "--key", key, "--json"))
    assert [pair["energy_wh"] for pair in found["pairs"]] == [300 + 200, 600 + 100]
    refused = supplier("allocate", *curves(tmp_path), "--key", key, "--coefficients", tmp_path)
    assert refused.exit_code == 2


def test_french_coefficients_go_out_and_come_in(tmp_path: Path) -> None:
    produced = table(tmp_path, "roofs.csv", "30000000000001", ["700"] * 4)
    consumed = table(tmp_path, "homes.csv", "40000000000001,40000000000002", ["300,600"] * 4)
    where = ("--production", produced, "--consumption", consumed)
    written = document(supplier("coefficients", "french", *where, "--out", tmp_path, "--json"))
    assert written["files"] == ["30000000000001.csv"]
    assert written["allocated_wh"] == 4 * 700
    by_file = document(supplier("allocate", *where, "--coefficients", tmp_path, "--json"))
    allocated = sum(pair["energy_wh"] for pair in by_file["pairs"])
    assert written["allocated_wh"] - allocated == sum(written["lost_wh"].values()) == 8
    text = supplier("coefficients", "french", *where, "--out", tmp_path).stdout
    assert "Of 2800 Wh, 8 Wh are lost to the rounding of the file." in text
    assert supplier("coefficients", "french", *where, "--out", tmp_path / "no").exit_code == 3


def test_spanish_coefficients_go_out_and_are_checked(tmp_path: Path) -> None:
    key = tmp_path / "key.toml"
    key.write_text(
        'kind = "static"\n[coefficients]\nES0021000000000001RK0F = "0.2"\n'
        'ES0021000000000002RE0F = "0.4"\n'
    )
    cau = "ES0021000000000001RK0FA000"
    arguments = ("coefficients", "spanish", "--cau", cau, "--year", 2026, "--out", tmp_path)
    assert document(supplier(*arguments, "--key", key, "--json")) == {
        "file": f"{cau}_2026.txt",
        "residue_to": "ES0021000000000002RE0F",
        "residue_millionths": 1,
    }
    path = tmp_path / f"{cau}_2026.txt"
    assert path.read_bytes().endswith(b"ES0021000000000002RE0F;0,666667\r\n")
    assert "2 consumers, constant in 2026; every sum is 1,000000." in (
        supplier("coefficients", "check", path).stdout
    )
    assert document(supplier("coefficients", "check", path, "--json"))["constant"] is True
    hourly = table(
        tmp_path,
        "year.csv",
        "ES0021000000000001RK0F,ES0021000000000002RE0F",
        [f"{hour % 7},{hour % 5}" for hour in range(8_760)],
        3_600,
    )
    assert supplier(*arguments, "--consumption", hourly).exit_code == 0
    assert "every hour of 2026" in supplier("coefficients", "check", path).stdout
    path.write_text("ES0021000000000001RK0F;0,500000\n")
    assert supplier("coefficients", "check", path).exit_code == 3
    assert supplier(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "csv:1: does not begin"),
        ("start,A,A\n", "twice"),
        ("start,A\n2026-10-25T00:00:00Z,1\n", "two rows"),
        ("start,A\n2026-10-25 00:00,1\n", "csv:2: no UTC offset"),
        ("start,A\n2026-10-25T00:00:00Z,1,2\n", "csv:2: 2 values for 1"),
        ("start,A\n2026-10-25T00:00:00Z,0.5\n", "'0.5' is no whole number"),
        ("start,A\n2026-10-25T00:00:00Z,-1\n", "'-1' is no whole number"),
        ("start,A\n2026-10-25T00:00:00Z,1\n2026-10-25T00:07:00Z,1\n", "csv:3: steps begin"),
        (
            "start,A\n2026-10-25T00:00:00Z,1\n2026-10-25T00:30:00Z,1\n2026-10-25T01:30:00Z,1\n",
            "csv:4: 2026-10-25T01:30:00Z does not follow",
        ),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(text)
    result = supplier("allocate", "--production", path, "--consumption", path)
    assert result.exit_code == 3
    assert message in result.stderr


def test_curves_of_other_steps_are_refused(tmp_path: Path) -> None:
    produced = table(tmp_path, "a.csv", "P", ["1", "2"])
    consumed = table(tmp_path, "b.csv", "C", ["1", "2", "3"])
    result = supplier("allocate", "--production", produced, "--consumption", consumed)
    assert result.exit_code == 3
    assert "covers other steps" in result.stderr
    assert supplier("allocate", "--production", produced).exit_code == 2
    both = ("--matrix", "--production", produced, "--consumption", produced)
    assert supplier("allocate", *both).exit_code == 2
