"""``daisee supplier bills``: bills of a month, or of any days."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Final

import click

from node.billing.bill_files import (
    LINE_FIELDS,
    bill_files,
    bills_document,
    csv_text,
    line_rows,
    period_files,
    write_file,
)
from node.billing.bill_making import bill_period
from node.billing.bills import Bill, PeriodBills
from node.billing.completeness import coverage
from node.billing.curve_files import CurveTable, read_curve_table
from node.billing.curve_store import CurveStore
from node.billing.in_force import RuledSteps, TakenRuling, in_force
from node.billing.keys import default_dynamic, is_of_market, read_key
from node.billing.market_key import in_market_steps
from node.billing.monthly import Curves
from node.billing.months import Month
from node.billing.operation import Operation
from node.billing.operation_file import read_operation
from node.billing.perimeter import Membership, Perimeter, midnight_s
from node.billing.series import DAY_S, Curve, Direction, resampled
from node.billing.tariffs import read_tariffs
from node.billing.time_of_use import Period
from node.cli.market_source import (
    MarketChoice,
    billed_market,
    check_source,
    market_options,
)
from node.cli.output import (
    Column,
    energy_text,
    example,
    json_option,
    say,
    say_document,
    say_table,
)
from node.cli.slot_view import ACCOUNTING
from node.cli.supplier_options import FILE, csv_option, month_of, one_form
from node.model import Side
from node.slots import iso_utc
from node.store.curves import CurveDatabase

__all__ = [
    "bills",
    "eur_text",
    "member_curves",
    "month_period",
    "names_of",
    "perimeter_of",
]

_COLUMNS: Final = (
    Column("bill", figures=False),
    Column("member", figures=False),
    Column("measured kWh"),
    Column("shared kWh"),
    Column("total EUR"),
)
_DEFAULT_STEP_S: Final = 1800
_MOST_GAPS_NAMED: Final = 20


def _day(_: click.Context, __: click.Parameter, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter("write a day as 2025-03-01.") from error


@click.command(
    short_help="Bill a month, or any days, to the cent.",
    epilog=example(
        "daisee supplier bills --operation street.toml --month 2025-10"
        " --production roofs.csv --consumption homes.csv --out bills"
    ),
)
@click.option("--operation", "operation_file", type=FILE, required=True, help="Members and prices.")
@click.option("--month", "month_text", metavar="YYYY-MM", help="The month, in local time.")
@click.option("--from", "first", callback=_day, metavar="DAY", help="Instead: the first day ...")
@click.option("--until", callback=_day, metavar="DAY", help="... and the first day after.")
@click.option("--production", "produced", type=FILE, help="A table of producers' curves.")
@click.option("--consumption", "consumed", type=FILE, help="A table of consumers' curves.")
@click.option("--curves", "database", type=FILE, help="Instead of tables: the imported curves.")
@click.option("--key", "key_file", type=FILE, help="The key.  [default: pro rata of consumption]")
@market_options
@click.option("--tariffs", "own", type=FILE, help="Tariff rows of your own, as TOML.")
@click.option("--provisional", is_flag=True, help="Leave steps without a value out, and say so.")
@click.option("--out", type=FILE, metavar="DIR", help="Write pages, documents and tables there.")
@csv_option
@json_option
def bills(
    operation_file: Path,
    month_text: str | None,
    first: date | None,
    until: date | None,
    produced: Path | None,
    consumed: Path | None,
    database: Path | None,
    key_file: Path | None,
    source: MarketChoice,
    own: Path | None,
    out: Path | None,
    *,
    provisional: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Bill local energy, shadow what suppliers may bill for the rest, and state what producers get.

    Lines are split where a tariff changes, rounded once, and sum to the cent. What nobody says (a
    tariff's row, a price, a value of a curve) is refused. No conformity is certified. With a key
    whose kind is "market", what a market allocated is billed, after the operator's curves have
    reduced it.
    """
    one_form(as_csv=as_csv, as_json=as_json)
    operation = read_operation(operation_file)
    period = _period(operation, month_text, first, until)
    if database is not None and produced is None and consumed is None:
        curves = _imported(operation, database, period)
        production, consumption = curves.production, curves.consumption
    elif database is None and produced is not None and consumed is not None:
        production, consumption = read_curve_table(produced), read_curve_table(consumed)
    else:
        raise click.UsageError(
            "Say which curves: --production FILE --consumption FILE, or --curves FILE."
        )
    key = default_dynamic() if key_file is None else read_key(key_file)
    check_source(key, source)
    stated = None
    if is_of_market(key):
        stated = billed_market(source, operation, period)
        production, consumption = in_market_steps(production, consumption, stated.slot_s)
    made = bill_period(
        operation,
        read_tariffs(own),
        key,
        production,
        consumption,
        period,
        provisional=provisional,
        stated=stated,
    )
    if out is not None:
        _write(made, operation, out)
    if as_json:
        say_document(bills_document(made))
    elif as_csv:
        click.echo(csv_text(LINE_FIELDS, line_rows(made.every)), nl=False)
    else:
        _say(made)


def _period(
    operation: Operation, month_text: str | None, first: date | None, until: date | None
) -> Period:
    if month_text is not None and first is None and until is None:
        return month_period(month_of(month_text, operation.zone.key))
    if month_text is not None or first is None or until is None:
        raise click.UsageError("Say which days: --month YYYY-MM, or --from DAY --until DAY.")
    try:
        return Period(first, until, operation.zone)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--until") from error


def month_period(month: Month) -> Period:
    """The days of a month."""
    years, number = divmod(month.month, 12)
    first = date(month.year, month.month, 1)
    return Period(first, date(month.year + years, number + 1, 1), month.zone)


def names_of(operation: Operation) -> dict[str, str]:
    """The members' names by delivery point."""
    consumers, producers = operation.consumers.values(), operation.producers.values()
    return {one.point: one.name for one in consumers} | {one.point: one.name for one in producers}


def _write(made: PeriodBills, operation: Operation, out: Path) -> None:
    names = names_of(operation)
    for name, text in period_files(made).items():
        write_file(out / name, text)
    for bill in made.every:
        for name, text in bill_files(bill, names).items():
            write_file(out / name, text)


def _say(made: PeriodBills) -> None:
    say_table(_COLUMNS, [_row(bill) for bill in made.every])
    say(
        f"Consumers pay {eur_text(made.collected_cents)} EUR:"
        f" {eur_text(made.producers_cents)} to producers"
        f" (of it {eur_text(made.accise_cents())} excise),"
        f" {eur_text(made.community_cents)} to the community,"
        f" {made.balance_cents()} cents unaccounted for."
    )
    say(ACCOUNTING)


def _row(bill: Bill) -> tuple[str, ...]:
    return (
        bill.number,
        bill.name,
        energy_text(bill.energy.measured_wh),
        energy_text(bill.energy.shared_wh),
        eur_text(bill.total_cents),
    )


def eur_text(cents: int) -> str:
    """Cents as EUR."""
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def _imported(operation: Operation, database: Path, period: Period) -> Curves:
    with CurveDatabase.open_read_only(database) as kept:
        return member_curves(operation, CurveStore(kept), period)


def member_curves(
    operation: Operation,
    store: CurveStore,
    period: Period,
    rulings: Sequence[TakenRuling] = (),
) -> Curves:
    """The members' curves that are kept, with the rulings that are in force, and every gap left.

    Raises Refused for a ruling in other steps.
    """
    found: dict[tuple[str, Direction], Curve] = {}
    for members, direction in (
        (operation.producers, Direction.INJECTION),
        (operation.consumers, Direction.WITHDRAWAL),
    ):
        for point in members:
            first_s = period.start_s - period.start_s % DAY_S
            curve = store.curve(point, direction, first_s, period.end_s + -period.end_s % DAY_S)
            if curve is not None:
                found[point, direction] = curve
    step_s = max((curve.step_s for curve in found.values()), default=_DEFAULT_STEP_S)
    span = (period.start_s, period.end_s)
    tables = {
        direction: CurveTable(
            period.start_s,
            step_s,
            {
                point: resampled(curve, step_s).energy_wh_between(*span)
                for (point, way), curve in sorted(found.items())
                if way is direction
            },
        )
        for direction in (Direction.INJECTION, Direction.WITHDRAWAL)
    }
    ways = {Side.ASK: Direction.INJECTION, Side.BID: Direction.WITHDRAWAL}
    production, consumption, ruled = in_force(
        tables[Direction.INJECTION],
        tables[Direction.WITHDRAWAL],
        rulings,
        lambda point, side, at_s, step: store.said(point, ways[side], at_s, at_s + step),
    )
    gaps = [
        f"{one.point_id} has no {one.direction} from {iso_utc(start_s)} to {iso_utc(end_s)}"
        for one in coverage(store, *span, perimeter_of(operation, period))
        for start_s, end_s in one.gaps
        if not _is_ruled(ruled, one.point_id, one.direction, range(start_s, end_s, step_s))
    ]
    if len(gaps) > _MOST_GAPS_NAMED:
        gaps[_MOST_GAPS_NAMED:] = [f"and {len(gaps) - _MOST_GAPS_NAMED} gaps more"]
    return Curves(production, consumption, tuple(gaps), ruled)


def _is_ruled(
    ruled: Iterable[RuledSteps], point: str, direction: Direction, starts_s: range
) -> bool:
    """Whether the operator ruled on every step of a gap."""
    side = Side.ASK if direction is Direction.INJECTION else Side.BID
    spans = [(one.from_s, one.to_s) for one in ruled if (one.point, one.side) == (point, side)]
    return all(any(first <= at_s < after for first, after in spans) for at_s in starts_s)


def perimeter_of(operation: Operation, period: Period) -> Perimeter:
    """The members, each for its time within the period, as a perimeter."""
    return Perimeter.of(
        [
            Membership(
                member.point,
                direction,
                midnight_s(max(member.first, period.first), period.zone),
                midnight_s(min(member.until, period.until), period.zone),
                member.segment,
                member.kva,
            )
            for members, direction in (
                (operation.producers, Direction.INJECTION),
                (operation.consumers, Direction.WITHDRAWAL),
            )
            for member in members.values()
            if member.first < period.until and member.until > period.first
        ]
    )
