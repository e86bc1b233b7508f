"""Dated tariffs: no day without its row, no row without its act, nothing stretched or guessed."""

from __future__ import annotations

import csv
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from node.billing.operation_file import operation_from, read_operation
from node.billing.tariffs import (
    BASE,
    FOUR_CLASSES,
    PEAK_CLASSES,
    Standing,
    TariffTables,
    ct_kwh,
    eur_mwh,
    eur_year,
    per_cent,
    read_tariffs,
)
from node.billing.time_of_use import Calendar, Period, parse_off_peak
from node.errors import ConfigurationError, Refused
from tests.support.billing_cases import street, street_bills
from tests.support.shared import shared_path

ALL = read_tariffs().accepting(Standing)
STRICT = read_tariffs()
PARIS = ZoneInfo("Europe/Paris")


def every_row(tables: TariffTables) -> list[Any]:
    return [*tables.turpe.rows, *tables.accise.rows, *tables.cta.rows, *tables.vat.rows]


def test_every_row_has_its_act_and_its_dates() -> None:
    for row in every_row(ALL):
        assert row.reference
        assert row.first < row.until <= date(2027, 1, 1)


def test_rows_of_one_name_follow_each_other() -> None:
    for before, after in pairwise(every_row(ALL)):
        if type(before) is type(after) and before.name == after.name:
            assert before.until <= after.first


@pytest.mark.parametrize(
    ("option", "day", "auto", "allo"),
    [
        ("CU4_ACC", "2023-08-01", "1.64 1.29 0.77 0.37", "7.23 4.42 2.29 0.86"),
        ("MU4_ACC", "2024-12-31", "1.72 1.34 0.81 0.39", "6.88 4.41 2.32 0.90"),
        ("CU4_ACC", "2025-07-31", "1.86 1.44 0.87 0.42", "8.14 4.98 2.57 0.97"),
        ("MU4_ACC", "2025-08-01", "2.60 1.23 0.75 0.49", "7.04 3.76 1.61 1.15"),
    ],
)
def test_the_grid_s_rates_of_collective_self_consumption(
    option: str, day: str, auto: str, allo: str
) -> None:
    row = ALL.turpe.at(option, date.fromisoformat(day))
    assert row.auto is not None
    assert row.classes == FOUR_CLASSES
    assert list(row.auto.values()) == [ct_kwh(text) for text in auto.split()]
    assert list(row.allo.values()) == [ct_kwh(text) for text in allo.split()]


def test_the_tables_agree_with_the_list_of_another_project() -> None:
    """Each figure of the other list up to 36 kVA is here, or there is no such figure."""
    names = {
        "BTINFCU4": "CU4",
        "BTINFMU4": "MU4",
        "BTINFMUDT": "MUDT",
        "BTINFCUST": "CU",
        "BTINFLU": "LU",
    }
    checked = 0
    with shared_path("acc/turpe_rules_BT.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            formula = row["Formule_Tarifaire_Acheminement"]
            part = next((part for part in ("AUTO", "ALLO") if formula.endswith(f"ACC{part}")), "")
            plain = formula.removesuffix(f"ACC{part}") if part else formula
            if plain not in names:
                continue
            mine = ALL.turpe.at(
                names[plain] + ("_ACC" if part else ""), date.fromisoformat(row["start"])
            )
            assert mine.management_units == eur_year(row["cg"])
            assert mine.metering_units == eur_year(row["cc"])
            assert mine.power_units == eur_year(row["b"])
            rates = mine.auto if part == "AUTO" else mine.allo
            assert rates is not None
            for time_class, rate in rates.items():
                assert rate == ct_kwh(row[f"c_{time_class.lower()}"])
                checked += 1
    assert checked == 4 * (3 * 2 * 4 + 2 + 1 + 1)


def test_taxes_on_the_days_of_their_changes() -> None:
    for name, day, value in (
        ("household", "2024-02-01", 21),
        ("household", "2025-01-31", 21),
        ("household", "2025-02-01", 33.70),
        ("household", "2025-08-01", 29.98),
        ("household", "2026-02-01", 30.85),
    ):
        assert STRICT.accise.at(name, date.fromisoformat(day)).value == eur_mwh(str(value))
    for day, value in (("2026-01-31", 2193), ("2026-02-01", 1500)):
        assert STRICT.cta.at("distribution", date.fromisoformat(day)).value == value
    for day, value in (("2025-07-31", 550), ("2025-08-01", 2000)):
        assert STRICT.vat.at("standing_charge", date.fromisoformat(day)).value == value


@pytest.mark.parametrize(
    ("table", "name", "day"),
    [
        ("turpe", "CU4_ACC", "2026-08-01"),
        ("turpe", "CU4", "2023-07-31"),
        ("turpe", "CU5", "2025-09-01"),
        ("accise", "household", "2024-01-31"),
        ("accise", "household", "2026-08-01"),
        ("cta", "distribution", "2026-11-01"),
        ("vat", "normal", "2027-01-01"),
    ],
)
def test_a_day_without_a_row_is_refused(table: str, name: str, day: str) -> None:
    with pytest.raises(Refused) as error:
        getattr(ALL, table).at(name, date.fromisoformat(day))
    assert error.value.reason == "tariff_unknown"


def test_a_row_that_is_not_confirmed_is_refused_unless_told() -> None:
    day = date(2025, 9, 1)
    with pytest.raises(Refused, match="is one_source") as error:
        STRICT.turpe.at("CU4_ACC", day)
    assert error.value.reason == "tariff_unconfirmed"
    told = STRICT.accepting([Standing.ONE_SOURCE])
    assert told.turpe.at("CU4_ACC", day).standing is Standing.ONE_SOURCE
    with pytest.raises(Refused, match="is doubtful"):
        told.turpe.at("CU4_ACC", date(2023, 9, 1))


ROW = {
    "name": '"household"',
    "from": "2026-08-01",
    "until": "2027-02-01",
    "standing": '"confirmed"',
    "reference": '"an act"',
    "eur_mwh": '"31.00"',
}


def accise_row(**changes: str | None) -> str:
    """A row of the excise as TOML; None leaves a field out."""
    fields = {name: value for name, value in (ROW | changes).items() if value is not None}
    return "[[accise]]\n" + "".join(f"{name} = {value}\n" for name, value in fields.items())


def read_own(folder: Path, *rows: str) -> TariffTables:
    path = folder / "tariffs.toml"
    path.write_text("\n".join(rows))
    return read_tariffs(path)


def test_own_rows_are_added_and_change_the_digest(tmp_path: Path) -> None:
    own = read_own(tmp_path, accise_row())
    assert own.accise.at("household", date(2026, 10, 1)).value == 3_100
    autumn, spring = (date(2026, 10, 1), date(2026, 11, 1)), (date(2026, 3, 1), date(2026, 4, 1))
    assert own.digest_of(*autumn) != STRICT.digest_of(*autumn)
    assert own.digest_of(*spring) == STRICT.digest_of(*spring), "what was billed stays as it was"


def test_the_rows_that_the_docs_show_are_taken(tmp_path: Path) -> None:
    docs = Path(__file__).resolve().parents[2] / "docs" / "billing.md"
    text = docs.read_text("utf-8").partition("```tariffs\n")[2].partition("```")[0]
    own = read_own(tmp_path, text)
    day = date(2026, 10, 1)
    turpe = own.turpe.at("CU4_ACC", day)
    assert (turpe.classes, turpe.reference[:7]) == (FOUR_CLASSES, "The act")
    assert turpe.auto == dict(zip(FOUR_CLASSES, (3_000, 1_500, 1_000, 500), strict=True))
    assert own.cta.at("distribution", day).value == 1_500
    assert own.vat.at("normal", date(2027, 3, 1)).value == 2_000
    assert all(row in own.turpe.rows for row in STRICT.turpe.rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"from": "2026-07-01"}, "toml:2: two rows of household hold on 2026-07-01"),
        ({"from": "2026-10-01"}, "toml:2: no row of household holds from 2026-08-01 to 2026-10-01"),
        ({"until": "2026-08-01"}, "toml:2: until is not after"),
        ({"until": '"2027-02-01"'}, "until is no date"),
        ({"until": "2027-02-01T00:00:00Z"}, "until is no date"),
        ({"reference": None}, "toml:2: lacks reference"),
        ({"reference": '""'}, "reference is no text"),
        ({"standing": '"sure"'}, "'sure' is not a valid"),
        ({"eur_mwh": '"31.0000001"'}, "more decimals"),
        ({"eur_mwh": '"-1"'}, "negative"),
        ({"eur_mwh": '"NaN"'}, "is no number"),
        ({"eur_mwh": '"x"'}, "is no number"),
        ({"eur_mwh": "31.00"}, "eur_mwh is no text in quotes"),
        ({"eur_kwh": '"1"'}, "has no field eur_kwh"),
    ],
)
def test_own_rows_that_cannot_be_used_are_refused(
    tmp_path: Path, changes: dict[str, str | None], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_own(tmp_path, "# by whom and when", accise_row(**changes))


def test_own_rows_keep_to_each_other_too(tmp_path: Path) -> None:
    first = accise_row(until="2026-11-01")
    with pytest.raises(ConfigurationError, match=r"toml:9: two rows of household"):
        read_own(tmp_path, first, accise_row(**{"from": "2026-10-31"}))
    with pytest.raises(ConfigurationError, match=r"toml:9: no row of household holds from 2026-11"):
        read_own(tmp_path, first, accise_row(**{"from": "2026-12-01"}))
    assert read_own(tmp_path, first, accise_row(**{"from": "2026-11-01"})).accise.rows


TURPE_ROW = """
[[turpe]]
name = "CU4"
from = 2026-08-01
until = 2027-08-01
standing = "confirmed"
reference = "an act"
management_eur_year = "1"
metering_eur_year = "1"
power_eur_kva_year = "1"
allo_ct_kwh = {allo}
{more}
"""


@pytest.mark.parametrize(
    ("allo", "more", "message"),
    [
        ('{ HP = "1", HPB = "2" }', "", "time classes 'HP HPB' are none"),
        ('"1"', "", "allo_ct_kwh is no rate by class"),
        ("{ BASE = 1 }", "", "allo_ct_kwh is no rate by class"),
        ('{ BASE = "1 2" }', "", "allo_ct_kwh is no rate by class"),
        ('{ HP = "1", HC = "2" }', 'auto_ct_kwh = { BASE = "1" }', "allo and auto have other"),
    ],
)
def test_rates_by_class_are_refused_unless_whole(
    tmp_path: Path, allo: str, more: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"toml:2: {message}"):
        read_own(tmp_path, TURPE_ROW.format(allo=allo, more=more))


def test_files_that_are_no_tariffs_are_refused(tmp_path: Path) -> None:
    for text, message in (
        ("[[taxes]]\n", "has no table taxes"),
        ("[accise]\n", r"write each row of accise under \[\[accise"),
        ("accise", "is not TOML"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            read_own(tmp_path, text)
    with pytest.raises(ConfigurationError, match="is a folder"):
        read_tariffs(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_tariffs(tmp_path / "none.toml")
    (tmp_path / "tariffs.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_tariffs(tmp_path / "tariffs.toml")
    (tmp_path / "tariffs.toml").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(ConfigurationError, match="is larger"):
        read_tariffs(tmp_path / "tariffs.toml")


def test_a_row_that_ends_without_another_is_not_stretched() -> None:
    """From July into August 2026: the last row's end cuts, and the days after it are refused."""
    assert ALL.turpe.changes("CU4", date(2026, 7, 1), date(2026, 9, 1)) == {date(2026, 8, 1)}
    period = Period(date(2026, 7, 15), date(2026, 8, 15), PARIS)
    with pytest.raises(Refused, match="on 2026-08-01"):
        street_bills(period, tariffs={"accept": ["one_source"]})


def test_all_rows_that_lack_are_told_at_once() -> None:
    period = Period(date(2026, 10, 1), date(2026, 11, 1), PARIS)
    with pytest.raises(Refused) as error:
        street_bills(period)
    assert error.value.reason == "tariff_unknown"
    for lacks in (
        "TURPE: no row says what CU4_ACC is on 2026-10-01",
        "accise: no row says what household is on 2026-10-01",
        "CTA: no row says what distribution is on 2026-10-01",
    ):
        assert lacks in error.value.message
    assert error.value.next_step is not None
    assert error.value.next_step.count("--tariffs") == 1


def test_rates_are_exact_integers() -> None:
    assert ct_kwh("7,52") == ct_kwh("7.52") == 7_520
    assert eur_mwh("29.98") == ct_kwh("2.998") == 2_998
    assert eur_year("21.27") == 2_127_000_000
    assert per_cent("21.93") == 2_193
    with pytest.raises(ValueError, match="more decimals"):
        ct_kwh("7.5201")


def test_windows_are_read_in_order_and_split_at_midnight() -> None:
    assert parse_off_peak("22:30-06:30") == ((0, 390), (1350, 1440))
    assert parse_off_peak("12:30-14:30 01:00-07:00") == ((60, 420), (750, 870))
    assert parse_off_peak("22:00-00:00") == ((1320, 1440),)
    assert parse_off_peak("") == ()
    for text in ("22-6", "25:00-26:00", "10:00-10:00", "01:00-03:00 02:00-04:00"):
        with pytest.raises(ValueError, match=r"window|length|overlap"):
            parse_off_peak(text)


def test_classes_follow_the_local_clock_and_the_season() -> None:
    calendar = Calendar(FOUR_CLASSES, parse_off_peak("22:00-06:00"))
    for text, expected in (
        ("2025-10-31T21:59", "HPB"),
        ("2025-10-31T22:00", "HCB"),
        ("2025-11-01T00:00", "HCH"),
        ("2025-11-01T06:00", "HPH"),
        ("2025-03-31T23:30", "HCH"),
        ("2025-04-01T00:00", "HCB"),
    ):
        assert calendar.class_at(datetime.fromisoformat(text)) == expected
    assert Calendar(PEAK_CLASSES, ((0, 60),)).class_at(datetime.fromisoformat("2025-01-01")) == "HC"
    assert Calendar(BASE).class_at(datetime.fromisoformat("2025-01-01")) == "BASE"


def test_off_peak_hours_on_the_days_on_which_the_clock_changes() -> None:
    calendar = Calendar(PEAK_CLASSES, parse_off_peak("02:00-03:00"))
    for day, hours in ((date(2025, 3, 30), 0), (date(2025, 6, 1), 1), (date(2025, 10, 26), 2)):
        period = Period(day, day + timedelta(days=1), PARIS)
        found = [
            calendar.class_at(datetime.fromtimestamp(at_s, PARIS))
            for at_s in range(period.start_s, period.end_s, 600)
        ]
        assert found.count("HC") == hours * 6
        assert len(found) == (23 + hours) * 6


def test_periods_name_themselves() -> None:
    assert str(Period(date(2025, 12, 1), date(2026, 1, 1), PARIS)) == "2025-12"
    assert str(Period(date(2025, 3, 1), date(2025, 11, 1), PARIS)) == "2025-03-01_2025-11-01"
    with pytest.raises(ValueError, match="a period from"):
        Period(date(2025, 3, 1), date(2025, 3, 1), PARIS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operation": {"name": "x"}}, "rules is not a text"),
        ({"operation": {"name": "x", "rules": "1", "timezone": "Mars/Base"}}, "no time zone"),
        ({"operation": None}, r"no table \[operation\]"),
        ({"wrong": 1}, "nobody knows wrong"),
        ({"consumer": []}, r"no \[\[consumer\]\]"),
        ({"consumer": [{"point": "a"}, {"point": "a"}]}, "stands twice"),
        ({"consumer": [{"point": "../a"}]}, "no number of a delivery point"),
        ({"consumer": [{"point": "a", "kva": 0}]}, "no whole number"),
        (
            {"consumer": [{"point": "a", "turpe": "CU4"}], "price": [], "supply": []},
            "no kva",
        ),
        ({"consumer": [{"point": "a", "price": "1"}]}, "nobody knows price"),
        ({"consumer": [{"point": "a", "off_peak": "22"}]}, "no window"),
        ({"consumer": [{"point": "a", "from": "2025-01-01"}]}, "no date"),
        ({"consumer": [{"point": "a", "until": date(1, 1, 1)}]}, "until is not after from"),
        ({"price": [{"producer": "x", "ct_kwh": "1"}]}, "who is no producer"),
        ({"price": {"producer": "x"}}, "not a list"),
        ({"price": [{"producer": street()["producer"][0]["point"], "ct_kwh": 12}]}, "in quotes"),
        ({"price": street()["price"] + street()["price"][:1]}, r"two of \[\[price\]\]"),
        ({"fee": [{"ct_kwh": "1", "vat": "some"}]}, "vat is"),
        ({"fee": [{"ct_kwh": "1"}, {"ct_kwh": "2", "from": date(2025, 1, 1)}]}, "two of"),
        ({"supply": [{"consumer": "x", "standing_eur_year": "1", "ct_kwh": "1"}]}, "no consumer"),
        ({"taxes": {"local_accise": "maybe"}}, "'maybe' is not a valid"),
        ({"tariffs": {"accept": ["all"]}}, "'all' is not a valid"),
        ({"tariffs": {"accept": "doubtful"}}, "not a list of texts"),
    ],
)
def test_operations_that_cannot_be_used_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        operation_from(street(**changes))


def test_an_operation_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "operation.toml"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_operation(path)
    path.write_text("[operation\n")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        read_operation(path)
    path.write_text(
        '[operation]\nname = "One roof"\nrules = "1"\n[[producer]]\npoint = "P"\n'
        '[[consumer]]\npoint = "C"\n[[price]]\nproducer = "P"\nct_kwh = "12"\n'
    )
    found = read_operation(path)
    assert found.price("P", "C", date(2025, 1, 1)).rate == 12_000
    assert found.zone.key == "Europe/Paris"
