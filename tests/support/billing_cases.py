"""Operations made up for tests of bills: members, prices, curves."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from node.billing.bill_making import bill_period
from node.billing.bills import LineKind, PeriodBills
from node.billing.curve_files import CurveTable
from node.billing.keys import default_dynamic
from node.billing.operation import Operation
from node.billing.operation_file import operation_from
from node.billing.tariffs import read_tariffs
from node.billing.time_of_use import Period
from tests.support.random_months import random_month

PARIS: Final = ZoneInfo("Europe/Paris")
ROOF, BARN = "30000000000001", "30000000000002"
FLAT, MILL = "40000000000001", "40000000000002"
TARIFFS: Final = read_tariffs()


def month(text: str) -> Period:
    year, number = map(int, text.split("-"))
    return Period(date(year, number, 1), date(year + number // 12, number % 12 + 1, 1), PARIS)


def street(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  (fields of a TOML document)
    """The document of a small operation; ``changes`` replace whole tables."""
    return {
        "operation": {"name": "Mill Street", "rules": "2025-1"},
        "tariffs": {"accept": ["one_source"]},
        "producer": [
            {"point": ROOF, "name": "The roof", "surplus_ct_kwh": "4.00"},
            {"point": BARN, "name": "The barn", "no_vat": "CGI art. 293 B"},
        ],
        "consumer": [
            {
                "point": FLAT,
                "name": "The flat",
                "kva": 9,
                "turpe": "CU4_ACC",
                "off_peak": "22:30-06:30",
            },
            {"point": MILL, "name": "The mill"},
        ],
        "price": [
            {"producer": ROOF, "ct_kwh": "12.00"},
            {"producer": BARN, "ct_kwh": "10.50"},
            {"producer": BARN, "consumer": MILL, "ct_kwh": "0"},
        ],
        "supply": [
            {"consumer": FLAT, "standing_eur_year": "60.00", "ct_kwh": {"HP": "14.5", "HC": "11"}}
        ],
        "fee": [{"ct_kwh": "0.50"}],
    } | changes


def operation(**changes: Any) -> Operation:  # noqa: ANN401
    return operation_from(street(**changes))


def curves(
    period: Period, points: Mapping[str, Callable[[int], int]], step_s: int = 1800
) -> CurveTable:
    """Curves of a period; each point's Wh by the number of the step."""
    steps = range(period.start_s, period.end_s, step_s)
    return CurveTable(
        steps.start,
        step_s,
        {
            point: array("q", (wh_of(number) for number in range(len(steps))))
            for point, wh_of in points.items()
        },
    )


def street_bills(period: Period, **changes: Any) -> PeriodBills:  # noqa: ANN401
    """The street's bills with plain curves: sun by day, use all day."""
    produced = {ROOF: lambda n: 900 if 16 <= n % 48 < 36 else 0, BARN: lambda n: n % 7 * 20}
    consumed = {FLAT: lambda n: 150 + n % 11 * 10, MILL: lambda _: 333}
    return bill_period(
        operation(**changes),
        TARIFFS,
        default_dynamic(),
        curves(period, produced),
        curves(period, consumed),
        period,
    )


def check_bills(bills: PeriodBills) -> None:
    """What holds of all bills: lines sum to totals, VAT to its lines, sides to each other."""
    for bill in bills.every:
        assert bill.total_cents == sum(line.amount_cents for line in bill.lines)
        plain = sum(line.amount_cents for line in bill.lines if line.kind is not LineKind.VAT)
        assert bill.total_cents == plain + bill.vat_cents
        assert 0 <= bill.energy.shared_wh <= bill.energy.measured_wh
        local_wh = sum(line.quantity for line in bill.lines if line.kind is LineKind.LOCAL_ENERGY)
        if bill.kind != "shadow":
            assert local_wh == bill.energy.shared_wh
            assert sum(day.energy.shared_wh for day in bill.days) == local_wh
            assert sum(day.energy.measured_wh for day in bill.days) == bill.energy.measured_wh
    given_wh = sum(bill.energy.shared_wh for bill in bills.producers)
    assert given_wh == sum(bill.energy.shared_wh for bill in bills.consumers)
    assert bills.balance_cents() == 0
    assert bills.collected_cents == bills.producers_cents + bills.community_cents, (
        "what consumers pay is what producers and the community get"
    )


def random_bills(rng: random.Random) -> PeriodBills:
    """The bills of a random month of a random operation under a random key."""
    first = rng.choice([date(2025, 7, 1), date(2025, 8, 1), date(2025, 10, 1), date(2025, 3, 1)])
    first = first.replace(day=rng.randint(1, 28))
    period = Period(first, first + timedelta(days=rng.choice([1, 7, 30, 31, 45])), PARIS)
    step_s = rng.choice([1800, 3600])
    case = random_month(rng, (period.end_s - period.start_s) // step_s, gaps=False)
    produced = CurveTable(period.start_s, step_s, dict(case.production))
    consumed = CurveTable(period.start_s, step_s, dict(case.consumption))
    document = street(
        producer=[
            {"point": point} | rng.choice([{}, {"no_vat": "CGI art. 293 B"}])
            for point in case.production
        ],
        consumer=[
            {"point": point, "off_peak": rng.choice(["22:00-06:00", "01:15-07:15 12:30-14:30"])}
            for point in case.consumption
        ],
        price=[
            {
                "producer": point,
                "ct_kwh": rng.choice([_cents(rng), {"HP": _cents(rng), "HC": _cents(rng)}]),
            }
            for point in case.production
        ],
        supply=[],
        fee=rng.choice([[], [{"ct_kwh": _cents(rng), "vat": rng.choice(["normal", "none"])}]]),
    )
    key = default_dynamic() if case.key.name == "virtual" else case.key
    return bill_period(operation_from(document), TARIFFS, key, produced, consumed, period)


def _cents(rng: random.Random) -> str:
    return f"{rng.randint(0, 3000) / 100:.2f}"


def check_random_bills(seed: object) -> None:
    """One random month: for the suite's share, and for ``scripts/campaign months``."""
    check_bills(random_bills(random.Random(f"bills {seed}")))
