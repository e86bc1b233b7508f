"""Bills: exact, split at tariff changes, summing to the cent, the same whenever they are made.

The suite bills the first 100 random months; a campaign the next 10,000 (``-m slow``).
"""

from __future__ import annotations

import os
import re
import tomllib
from array import array
from datetime import date, datetime
from fractions import Fraction
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.billing.bill_making import bill_period
from node.billing.bill_text import line_text, quantity_text, rate_text
from node.billing.bills import Bill, Line, LineKind, Measure, PeriodBills, Remark, cents
from node.billing.keys import default_dynamic, directed_gift, virtual
from node.billing.operation_file import operation_from
from node.billing.series import MISSING
from node.billing.tariffs import Standing
from node.billing.time_of_use import Period
from node.errors import ConfigurationError, Refused
from tests.support.billing_cases import (
    BARN,
    FLAT,
    MILL,
    PARIS,
    ROOF,
    TARIFFS,
    check_bills,
    check_random_bills,
    curves,
    month,
    operation,
    street,
    street_bills,
)
from tests.support.shared import CHECKOUT

SEPTEMBER, OCTOBER, MARCH = month("2025-09"), month("2025-10"), month("2025-03")
YEAR_DAYS = 365

SUITE: Final = 100
CAMPAIGN: Final = 10_000
BLOCK: Final = 50
SEED: Final = int(os.environ.get("DAISEE_CAMPAIGN_SEED", "0"))


def amount(bill: Bill, *kinds: LineKind) -> int:
    return sum(line.amount_cents for line in bill.lines if line.kind in kinds)


def only(bill: Bill, kind: LineKind) -> Line:
    (line,) = [line for line in bill.lines if line.kind is kind]
    return line


def test_the_worked_september_of_nine_kva() -> None:
    """100 kWh of HPB from the operation; 150 of HPB and 80 of HCB from the grid."""
    consumed = curves(SEPTEMBER, {FLAT: lambda n: 250_000 if n == 20 else 80_000 if n == 2 else 0})
    produced = curves(SEPTEMBER, {ROOF: lambda n: 100_000 if n == 20 else 0})
    document = operation(
        producer=[{"point": ROOF}],
        consumer=[street()["consumer"][0]],
        price=[{"producer": ROOF, "ct_kwh": "12"}],
    )
    made = bill_period(document, TARIFFS, default_dynamic(), produced, consumed, SEPTEMBER)
    (shadow,) = made.shadows
    energy = {
        (line.kind, line.time_class): (line.quantity, line.quantity * line.rate)
        for line in shadow.lines
        if line.kind in {LineKind.TURPE_AUTO, LineKind.TURPE_ALLO}
    }
    assert energy == {
        (LineKind.TURPE_AUTO, "HPB"): (100_000, 76_000_000),
        (LineKind.TURPE_ALLO, "HPB"): (150_000, 259_500_000),
        (LineKind.TURPE_ALLO, "HCB"): (80_000, 96_800_000),
    }
    fixed = [line for line in shadow.lines if line.measure is Measure.DAYS][1:]
    assert sum(line.rate for line in fixed) == 134_26 * 10**6
    assert [line.quantity for line in fixed] == [30] * 3
    exact = sum(Fraction(line.rate * line.quantity, YEAR_DAYS) for line in fixed)
    assert round(exact / 10**8, 4) == Fraction("11.0351")
    assert sum(line.amount_cents for line in fixed) == 1104
    assert only(shadow, LineKind.CTA).quantity == 1104
    assert only(shadow, LineKind.CTA).amount_cents == 242
    assert only(shadow, LineKind.ACCISE).amount_cents == cents(230_000 * 2_998)
    (bill,) = made.consumers
    assert [(line.kind, line.amount_cents) for line in bill.lines] == [
        (LineKind.LOCAL_ENERGY, 1200),
        (LineKind.ACCISE, 300),
        (LineKind.VAT, 300),
        (LineKind.COMMUNITY_FEE, 50),
        (LineKind.VAT, 10),
    ]
    assert bill.total_cents == 1860
    check_bills(made)


def test_a_plain_option_of_ninety_days_is_split_at_the_change() -> None:
    """9 kVA, 90 days from 1 January 2025: 29.91 EUR unsplit, 31.33 EUR pro rata."""
    period = Period(date(2025, 1, 1), date(2025, 4, 1), PARIS)
    zero = {"flat": lambda _: 0}
    document = operation(
        producer=[{"point": "roof"}],
        price=[{"producer": "roof", "ct_kwh": "1"}],
        consumer=[
            {"point": "flat", "kva": 9, "turpe": "CU4", "off_peak": "22:00-06:00"},
        ],
        supply=[{"consumer": "flat", "standing_eur_year": "0", "ct_kwh": "1"}],
    )
    made = bill_period(
        document,
        TARIFFS,
        default_dynamic(),
        curves(period, {"roof": lambda _: 0}),
        curves(period, zero),
        period,
    )
    (shadow,) = made.shadows
    kinds = (LineKind.TURPE_MANAGEMENT, LineKind.TURPE_METERING, LineKind.TURPE_POWER)
    lines = [line for line in shadow.lines if line.kind in kinds]
    assert {(line.first, line.until) for line in lines} == {
        (date(2025, 1, 1), date(2025, 2, 1)),
        (date(2025, 2, 1), date(2025, 4, 1)),
    }
    assert amount(shadow, *kinds) == 31_33
    assert shadow.total_cents == amount(shadow, *kinds) + amount(shadow, LineKind.CTA, LineKind.VAT)


def test_a_line_is_split_where_its_rate_changes_and_nowhere_else() -> None:
    period = Period(date(2025, 7, 16), date(2025, 8, 16), PARIS)
    made = street_bills(
        period,
        price=[
            {"producer": ROOF, "ct_kwh": "12", "until": date(2025, 7, 20)},
            {"producer": ROOF, "ct_kwh": "14", "from": date(2025, 7, 20)},
            {"producer": BARN, "ct_kwh": "10"},
        ],
    )
    flat = made.consumers[0]
    spans: dict[tuple[LineKind, str], list[tuple[str, str]]] = {}
    for line in flat.lines:
        ends = (line.first.isoformat(), line.until.isoformat())
        spans.setdefault((line.kind, line.seller), []).append(ends)
    change, end = "2025-08-01", "2025-08-16"
    assert spans[LineKind.LOCAL_ENERGY, ROOF] == [("2025-07-16", "2025-07-20"), ("2025-07-20", end)]
    assert spans[LineKind.LOCAL_ENERGY, BARN] == [("2025-07-16", end)]
    assert spans[LineKind.ACCISE, ROOF] == [("2025-07-16", change), (change, end)]
    standing = [line for line in made.shadows[0].lines if line.kind is LineKind.STANDING_CHARGE]
    assert [line.vat for line in standing] == [550, 2000]
    check_bills(made)


@pytest.mark.parametrize(("period", "hours"), [(MARCH, 31 * 24 - 1), (OCTOBER, 31 * 24 + 1)])
def test_months_with_a_change_of_the_clock_are_whole(period: Period, hours: int) -> None:
    made = bill_period(
        operation(),
        TARIFFS,
        default_dynamic(),
        curves(period, {ROOF: lambda _: 0, BARN: lambda _: 0}),
        curves(period, {FLAT: lambda _: 500, MILL: lambda _: 0}),
        period,
    )
    flat = made.consumers[0]
    assert flat.energy.measured_wh == hours * 1_000
    (changed,) = (day for day in flat.days if day.energy.measured_wh != 24_000)
    assert changed.energy.measured_wh == 24_000 + (hours - 31 * 24) * 1_000
    off_peak = sum(
        line.quantity
        for line in made.shadows[0].lines
        if line.kind is LineKind.TURPE_ALLO and line.time_class.startswith("HC")
    )
    # 22:30-06:30 by the local clock: an hour less in the night of March, one more in October's.
    assert off_peak == (31 * 8 + hours - 31 * 24) * 1_000


def test_both_changes_of_the_clock_in_one_billing_period() -> None:
    period = Period(date(2025, 3, 1), date(2025, 11, 1), PARIS)
    made = street_bills(period)
    flat = made.consumers[0]
    by_day = {day.day: day.energy.measured_wh for day in flat.days}
    assert len(by_day) == period.days == 245
    assert flat.energy.measured_wh == sum(by_day.values())
    assert (period.end_s - period.start_s) == 245 * 86_400
    check_bills(made)


def test_a_gift_costs_nothing_but_its_taxes() -> None:
    produced = curves(OCTOBER, {BARN: lambda _: 100})
    consumed = curves(OCTOBER, {FLAT: lambda _: 200, MILL: lambda _: 200})
    document = operation(producer=[street()["producer"][1]], price=street()["price"][1:])
    key = directed_gift({BARN: [MILL]})
    made = bill_period(document, TARIFFS, key, produced, consumed, OCTOBER)
    mill = made.consumers[1]
    assert only(mill, LineKind.LOCAL_ENERGY).amount_cents == 0
    assert only(mill, LineKind.LOCAL_ENERGY).quantity == 149_000
    assert amount(mill, LineKind.ACCISE) == cents(149_000 * 2_998)
    assert made.consumers[0].lines == ()
    assert mill.stamp.key == "directed_gift"


def test_who_charges_no_vat_says_why() -> None:
    made = street_bills(OCTOBER)
    vat = {line.seller: line for line in made.consumers[0].lines if line.kind is LineKind.VAT}
    assert (vat[BARN].rate, vat[BARN].amount_cents) == (0, 0)
    assert vat[BARN].reference == "CGI art. 293 B"
    assert vat[ROOF].rate == 2000


def test_the_accise_is_due_unless_somebody_says_why_not() -> None:
    due = street_bills(OCTOBER)
    exempt = street_bills(
        OCTOBER, taxes={"local_accise": "exempt", "reference": "CIBS art. L312-87"}
    )
    flat = exempt.consumers[0]
    assert amount(flat, LineKind.ACCISE) == 0
    assert {line.reference for line in flat.lines if line.kind is LineKind.ACCISE} == {
        "CIBS art. L312-87"
    }
    assert Remark.ACCISE_EXEMPT in flat.remarks
    assert exempt.accise_cents() == 0 < due.accise_cents()
    with pytest.raises(ConfigurationError, match="without the reference"):
        operation(taxes={"local_accise": "exempt"})


def test_what_the_surplus_brings_is_told_and_not_billed() -> None:
    roof = street_bills(OCTOBER).producers[0]
    (memo,) = roof.memo
    assert memo.kind is LineKind.SURPLUS
    assert memo.quantity == roof.energy.rest_wh > 0
    assert roof.total_cents == sum(line.amount_cents for line in roof.lines)


def test_gaps_are_refused_or_billed_as_provisional() -> None:
    produced = curves(OCTOBER, {ROOF: lambda _: 100, BARN: lambda _: 0})
    consumed = curves(OCTOBER, {FLAT: lambda n: MISSING if n == 50 else 300, MILL: lambda _: 300})
    arguments = (operation(), TARIFFS, default_dynamic(), produced, consumed, OCTOBER)
    with pytest.raises(Refused, match=f"{FLAT} has no value from 2025-10-01T23:00:00Z") as error:
        bill_period(*arguments)
    assert error.value.reason == "open_steps"
    made = bill_period(*arguments, provisional=True)
    assert made.stamp.open_steps == 1
    assert all(Remark.PROVISIONAL in bill.remarks for bill in made.every)
    assert made.consumers[0].energy.measured_wh == (31 * 48 + 2 - 1) * 300
    check_bills(made)


def test_a_member_of_half_a_month_is_billed_for_its_half() -> None:
    flat = street()["consumer"][0] | {"from": date(2025, 9, 16)}
    mill = street()["consumer"][1] | {"until": date(2025, 9, 16)}
    made = street_bills(SEPTEMBER, consumer=[flat, mill])
    own, other = made.consumers
    assert {line.first for line in own.lines} == {date(2025, 9, 16)}
    assert {line.until for line in other.lines} == {date(2025, 9, 16)}
    days = {line.quantity for line in made.shadows[0].lines if line.measure is Measure.DAYS}
    assert days == {15}
    assert [day.energy.measured_wh > 0 for day in own.days] == [False] * 15 + [True] * 15
    check_bills(made)


def test_points_that_do_not_fit_the_operation_are_refused() -> None:
    produced = curves(OCTOBER, {ROOF: lambda _: 1, BARN: lambda _: 1})
    flat = curves(OCTOBER, {FLAT: lambda _: 1})
    with pytest.raises(Refused, match=f"{MILL}: members without a curve"):
        bill_period(operation(), TARIFFS, default_dynamic(), produced, flat, OCTOBER)
    with pytest.raises(ConfigurationError, match="no members in this role"):
        bill_period(operation(), TARIFFS, default_dynamic(), flat, flat, OCTOBER)
    quarter = curves(OCTOBER, {FLAT: lambda _: 1}, 900)
    with pytest.raises(ConfigurationError, match="curves of 1800 s and of 900 s"):
        bill_period(operation(), TARIFFS, default_dynamic(), produced, quarter, OCTOBER)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"price": [{"producer": ROOF, "ct_kwh": "12"}]}, "no_price"),
        ({"price": [{"producer": p, "ct_kwh": {"HPH": "1"}} for p in (ROOF, BARN)]}, "no_price"),
        ({"supply": []}, "no_supply"),
        (
            {"consumer": [{"point": FLAT, "kva": 9, "turpe": "CU5"}, {"point": MILL}]},
            "tariff_unknown",
        ),
        ({"consumer": [{"point": FLAT, "kva": 9, "turpe": "CU4"}, {"point": MILL}]}, "no_off_peak"),
        ({"tariffs": {"accept": []}}, "tariff_unconfirmed"),
        (
            {"consumer": [{"point": FLAT, "accise": "palace"}, {"point": MILL}], "supply": []},
            "tariff_unknown",
        ),
    ],
)
def test_what_nobody_says_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(Refused) as error:
        street_bills(OCTOBER, **changes)
    assert error.value.reason == reason
    assert error.value.next_step


def test_what_is_shared_on_paper_only_is_not_billed() -> None:
    produced = curves(OCTOBER, {ROOF: lambda _: 1, BARN: lambda _: 1})
    consumed = curves(OCTOBER, {FLAT: lambda _: 1, MILL: lambda _: 1})
    with pytest.raises(Refused) as error:
        bill_period(operation(), TARIFFS, virtual(), produced, consumed, OCTOBER)
    assert error.value.reason == "virtual_key"


def test_a_month_after_the_tables_end_is_refused() -> None:
    with pytest.raises(Refused) as error:
        street_bills(month("2026-10"))
    assert error.value.reason == "tariff_unknown"
    made = street_bills(
        month("2026-10"),
        consumer=[{"point": FLAT}, {"point": MILL}],
        supply=[],
        taxes={"local_accise": "exempt", "reference": "a ruling"},
    )
    check_bills(made)


def test_the_same_inputs_make_the_same_bills() -> None:
    one, two = street_bills(OCTOBER), street_bills(OCTOBER)
    assert one == two
    assert one.stamp.rules == "2025-1"
    other = street_bills(OCTOBER, fee=[])
    assert other.stamp.inputs == one.stamp.inputs
    assert other.collected_cents < one.collected_cents


def test_figures_known_from_one_source_say_so() -> None:
    made = street_bills(OCTOBER)
    assert Remark.ONE_SOURCE in made.shadows[0].remarks
    assert Remark.ONE_SOURCE not in made.consumers[0].remarks
    doubtful = street_bills(month("2024-12"), tariffs={"accept": ["doubtful"]})
    assert Remark.DOUBTFUL in doubtful.shadows[0].remarks
    standings = {line.standing for line in doubtful.shadows[0].lines}
    assert standings == {Standing.CONFIRMED, Standing.DOUBTFUL}


def test_off_peak_hours_inside_a_step_are_told() -> None:
    flat = street()["consumer"][0] | {"off_peak": "22:38-06:38"}
    made = street_bills(OCTOBER, consumer=[flat, {"point": MILL}])
    assert Remark.OFF_PEAK_INSIDE_STEP in made.shadows[0].remarks
    assert Remark.OFF_PEAK_INSIDE_STEP not in made.consumers[0].remarks


@given(st.integers(-(10**12), 10**12), st.integers(1, 366))
def test_cents_round_half_away_from_zero(units: int, days: int) -> None:
    exact = Fraction(units, days)
    rounded = cents(units, days)
    assert abs(rounded * 10**6 - exact) <= 500_000
    assert cents(-units, days) == -rounded
    assert cents(500_000) == 1
    assert cents(499_999) == 0


@pytest.mark.parametrize("first", range(0, SUITE, BLOCK))
def test_random_months_sum_to_the_cent(first: int) -> None:
    for number in range(first, first + BLOCK):
        check_random_bills(f"{SEED} {number}")


@pytest.mark.slow
@pytest.mark.parametrize("first", range(SUITE, SUITE + CAMPAIGN, BLOCK))
def test_many_random_months_sum_to_the_cent(first: int) -> None:
    for number in range(first, first + BLOCK):
        check_random_bills(f"{SEED} {number}")


def test_arrays_are_not_written_to() -> None:
    produced = curves(OCTOBER, {ROOF: lambda _: 5, BARN: lambda _: 5})
    consumed = curves(OCTOBER, {FLAT: lambda _: 9, MILL: lambda _: 9})
    before = array("q", consumed.points[FLAT])
    flat = street()["consumer"][0] | {"from": date(2025, 10, 16)}
    document = operation(consumer=[flat, {"point": MILL}])
    bill_period(document, TARIFFS, default_dynamic(), produced, consumed, OCTOBER)
    assert consumed.points[FLAT] == before


DOCUMENT = CHECKOUT / "docs" / "billing.md"


def worked_month() -> PeriodBills:
    """The month of docs/billing.md, from the operation's file that stands there."""
    text = DOCUMENT.read_text("utf-8")
    (fence,) = re.findall(r"^```operation\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    document = operation_from(tomllib.loads(fence))
    steps = range(OCTOBER.start_s, OCTOBER.end_s, 1800)
    hours = [datetime.fromtimestamp(at_s, PARIS).hour for at_s in steps]
    produced = curves(OCTOBER, {ROOF: lambda n: 900 if 10 <= hours[n] < 16 else 0})
    consumed = curves(OCTOBER, {FLAT: lambda _: 150, MILL: lambda _: 300})
    return bill_period(document, TARIFFS, default_dynamic(), produced, consumed, OCTOBER)


def as_table(bill: Bill) -> str:
    """A bill's lines as the document shows them."""
    rows = ["| line | quantity | rate | EUR |", "|---|---|---|---|"]
    for line in bill.lines:
        cells = (line_text(line), quantity_text(line), rate_text(line))
        words = [cell.en.replace("\u00a0", " ") for cell in cells]
        rows.append(f"| {' | '.join(words)} | {line.amount_cents / 100:.2f} |")
    rows.append(f"| **total** | | | **{bill.total_cents / 100:.2f}** |")
    return "\n".join(rows) + "\n"


def test_the_worked_month_of_the_document_comes_out_as_it_stands_there() -> None:
    text = DOCUMENT.read_text("utf-8")
    made = worked_month()
    flat, _mill = made.consumers
    (roof,) = made.producers
    assert as_table(flat) in text
    assert as_table(made.shadows[0]) in text
    for wh in (
        flat.energy.measured_wh,
        flat.energy.shared_wh,
        flat.energy.rest_wh,
        roof.energy.measured_wh,
        roof.energy.rest_wh,
    ):
        assert f"{wh / 1000:.1f} kWh" in text
    sums = (made.collected_cents, made.producers_cents, made.community_cents)
    words = [f"{cents_ / 100:.2f} EUR" for cents_ in sums]
    assert f"{words[0]} = {words[1]} to the roof + {words[2]} to the community" in text
    check_bills(made)
