"""``daisee supplier bills``: from an operation's file and curves to bills, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from node.billing.curve_files import CurveTable, curve_table_text
from node.cli.main import cli
from tests.support.billing_cases import BARN, FLAT, MILL, ROOF, curves, month

OCTOBER = month("2025-10")
OPERATION = f"""
[operation]
name = "Mill Street"
rules = "2025-1"
[[producer]]
point = "{ROOF}"
name = "The roof"
[[consumer]]
point = "{FLAT}"
name = "The flat"
[[consumer]]
point = "{MILL}"
[[price]]
producer = "{ROOF}"
ct_kwh = "12"
"""


def supplier(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["supplier", "bills", *map(str, arguments)])


def write_table(path: Path, table: CurveTable) -> Path:
    path.write_text("".join(curve_table_text(table)), encoding="utf-8")
    return path


@pytest.fixture
def street(tmp_path: Path) -> list[object]:
    operation = tmp_path / "street.toml"
    operation.write_text(OPERATION, encoding="utf-8")
    roofs = write_table(tmp_path / "roofs.csv", curves(OCTOBER, {ROOF: lambda n: n % 2 * 400}))
    homes = write_table(
        tmp_path / "homes.csv", curves(OCTOBER, {FLAT: lambda _: 100, MILL: lambda _: 300})
    )
    return ["--operation", operation, "--production", roofs, "--consumption", homes]


def test_a_month_is_billed_as_a_table_for_people(street: list[object]) -> None:
    result = supplier(*street, "--month", "2025-10")
    assert result.exit_code == 0, result.output
    assert f"2025-10-consumer-{FLAT}" in result.stdout
    # 745 half hours of 400 Wh, a quarter of them the flat's: 74.5 kWh at 12 ct is
    # 8.94, with 2.23 of excise and 2.23 of VAT.
    assert "13.40" in result.stdout
    assert (
        "Consumers pay 53.62 EUR: 53.62 to producers (of it 8.93 excise), 0.00 to the community, "
        "0 cents unaccounted for." in result.stdout
    )
    assert "accounting facts" in result.stdout


def test_bills_come_as_json_and_as_csv_and_agree(street: list[object]) -> None:
    found = json.loads(supplier(*street, "--month", "2025-10", "--json").stdout)
    assert found["balance_cents"] == 0
    assert found["stamp"]["period"] == "2025-10"
    assert found["stamp"]["rules"] == "2025-1"
    text = supplier(*street, "--month", "2025-10", "--csv").stdout
    totals: dict[str, int] = {}
    for row in csv.DictReader(text.splitlines()):
        totals[row["bill"]] = totals.get(row["bill"], 0) + int(row["amount_cents"])
    assert totals == {bill["number"]: bill["total_cents"] for bill in found["bills"]}
    both = supplier(*street, "--month", "2025-10", "--csv", "--json")
    assert both.exit_code == 2


def test_the_same_command_writes_the_same_bytes(street: list[object], tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        assert supplier(*street, "--month", "2025-10", "--out", folder).exit_code == 0
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert one == two
    assert {"bills.json", "index.html", "lines.csv", f"2025-10-producer-{ROOF}.html"} <= set(one)
    assert len(one) == 3 + 3 * 3
    assert {path.stat().st_mode & 0o777 for path in folders[0].iterdir()} == {0o600}


def test_any_days_are_billed_and_other_choices_refused(street: list[object]) -> None:
    days = supplier(*street, "--from", "2025-10-10", "--until", "2025-10-11", "--json")
    (flat, *_) = json.loads(days.stdout)["bills"]
    assert flat["number"] == f"2025-10-10_2025-10-11-consumer-{FLAT}"
    assert flat["energy"]["measured_wh"] == 4_800
    for choice in (
        (),
        ("--month", "2025-10", "--from", "2025-10-10"),
        ("--from", "2025-10-10"),
        ("--from", "2025-10-10", "--until", "2025-10-10"),
        ("--month", "October"),
        ("--from", "yesterday", "--until", "today"),
        ("--month", "2025-10", "--curves", "curves.db"),
    ):
        assert supplier(*street, *choice).exit_code == 2, choice


def test_what_nobody_says_ends_with_its_code(street: list[object], tmp_path: Path) -> None:
    late = supplier(*street, "--month", "2025-11")
    assert late.exit_code == 6
    assert "steps of 2025-11 are open" in late.stderr
    operation = tmp_path / "street.toml"
    operation.write_text(OPERATION.replace("[[price]]", "[[price]]\nuntil = 2025-10-02"))
    priceless = supplier(*street, "--month", "2025-10")
    assert priceless.exit_code == 6
    assert f"{ROOF} and {FLAT} agreed on no price for 2025-10-02" in priceless.stderr
    operation.write_text(OPERATION.replace(ROOF, BARN))
    strange = supplier(*street, "--month", "2025-10")
    assert strange.exit_code == 3
    assert "no members in this role" in strange.stderr


def test_own_tariffs_fill_what_the_tables_lack(street: list[object], tmp_path: Path) -> None:
    table = curves(month("2026-10"), {ROOF: lambda _: 100})
    roofs = write_table(tmp_path / "roofs.csv", table)
    homes = curves(month("2026-10"), {FLAT: lambda _: 100, MILL: lambda _: 300})
    arguments = (
        *street[:2],
        *("--production", roofs, "--consumption", write_table(tmp_path / "homes.csv", homes)),
        *("--month", "2026-10"),
    )
    unknown = supplier(*arguments)
    assert unknown.exit_code == 6
    assert "accise: no row says what household is on 2026-10-01" in unknown.stderr
    assert "--tariffs; docs/billing.md, Rows of your own" in unknown.stderr
    own = tmp_path / "tariffs.toml"
    own.write_text(
        '[[accise]]\nname = "household"\nfrom = 2026-10-01\nuntil = 2027-02-01\n'
        'standing = "confirmed"\nreference = "an act"\neur_mwh = "30.85"\n'
    )
    gap = supplier(*arguments, "--tariffs", own)
    assert gap.exit_code == 3
    assert "tariffs.toml:1: no row of household holds from 2026-08-01 to 2026-10-01" in gap.stderr
    own.write_text(own.read_text().replace("2026-10-01", "2026-08-01"))
    result = supplier(*arguments, "--tariffs", own, "--json")
    assert result.exit_code == 0, result.output
    assert {
        line["reference"]
        for bill in json.loads(result.stdout)["bills"]
        for line in bill["lines"]
        if line["line"] == "accise"
    } == {"an act"}
