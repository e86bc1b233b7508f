"""``daisee supplier``: what a supplier, and whoever organises the sharing, works out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click

from node.billing.months import Month, local_text
from node.billing.report import HouseholdTotals, ReportRow, members, report_rows, totals
from node.cli.output import (
    Column,
    counted,
    energy_text,
    example,
    json_option,
    json_text,
    money_text,
    say,
    say_table,
)
from node.cli.slot_view import ACCOUNTING
from node.cli.sources import MarketPast, open_past, source_options
from node.cli.supplier_bills import bills
from node.cli.supplier_coefficients import coefficients
from node.cli.supplier_keys import allocate
from node.cli.supplier_month import month as month_command
from node.cli.supplier_options import csv_option, month_of, month_options, one_form
from node.cli.supplier_reconcile import reconcile_command
from node.model import OrderAccepted
from node.slots import iso_utc, slot_start_s

__all__ = ["supplier"]

_ROW_FIELDS: Final = (
    "slot",
    "start",
    "local_start",
    "household",
    "status",
    "bought_wh",
    "residual_wh",
    "sold_wh",
    "surplus_wh",
    "price_units_per_wh",
    "paid_units",
    "earned_units",
)
_COLUMNS: Final = (
    Column("household", figures=False),
    Column("slots ordered"),
    Column("not cleared"),
    Column("no order"),
    Column("bought kWh"),
    Column("residual kWh"),
    Column("sold kWh"),
    Column("surplus kWh"),
    Column("paid EUR"),
    Column("earned EUR"),
)


@click.group(
    short_help="Allocate, reconcile and report what a supplier bills.",
    epilog=example("daisee supplier report --month 2026-10 --run out/october"),
)
def supplier() -> None:
    """Allocate, reconcile and report what a supplier bills."""


supplier.add_command(allocate)
supplier.add_command(bills)
supplier.add_command(coefficients)
supplier.add_command(month_command)
supplier.add_command(reconcile_command)


@supplier.command(
    short_help="Report allocations, residual and surplus of a month.",
    epilog=example("daisee supplier report --month 2026-10 --csv --run out/october"),
)
@month_options
@click.option(
    "--household",
    "wanted",
    multiple=True,
    metavar="H",
    help="Only this household (a name or a number); may be given again.",
)
@source_options
@csv_option
@json_option
def report(
    month: str,
    timezone: str,
    wanted: tuple[str, ...],
    run_folder: Path | None,
    rpc: str | None,
    market: str | None,
    *,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Report each household's allocations, residual and surplus, slot by slot, of a local month.

    All is rebuilt from the market's events. A household that ordered nothing in a slot is marked
    no_order there: what it drew is the operator's to say. The rows run from the market's first slot
    of the month to its last. Households go by their numbers, for their names are not on chain.
    """
    one_form(as_csv=as_csv, as_json=as_json)
    chosen = month_of(month, timezone)
    with open_past(run_folder, rpc, market) as past:
        slots = _slots(past, chosen)
        accepted = past.source.events(
            kinds=(OrderAccepted,), to_slot=chosen.slots(past.slot_s).stop
        )
        households = members(counted(accepted, "orders"))
        if wanted:
            only = {past.household(text) for text in wanted}
            households = [number for number in households if number in only]
        records = past.records(slots.start, slots.stop)
        sums = {number: HouseholdTotals() for number in households}
        rows = totals(report_rows(counted(records, "slots"), slots, households), sums)
        if as_json:
            _say_json(past, chosen, rows, sums)
        elif as_csv:
            _say_csv(past, chosen, rows)
        else:
            _say_totals(past, chosen, slots, rows, sums)


def _slots(past: MarketPast, month: Month) -> range:
    """The slots of the month from the market's first to its last."""
    of_month, known = month.slots(past.slot_s), past.source.slots()
    start = max(of_month.start, known.start)
    return range(start, max(min(of_month.stop, known.stop), start))


def _row(past: MarketPast, month: Month, row: ReportRow) -> dict[str, object]:
    start_s = slot_start_s(row.slot, past.slot_s)
    figures = (
        row.slot,
        iso_utc(start_s),
        local_text(start_s, month.zone),
        row.household,
        row.status.value,
        row.bought_wh,
        row.residual_wh,
        row.sold_wh,
        row.surplus_wh,
        row.price,
        row.paid_units,
        row.earned_units,
    )
    return dict(zip(_ROW_FIELDS, figures, strict=True))


def _say_csv(past: MarketPast, month: Month, rows: Iterable[ReportRow]) -> None:
    click.echo(",".join(_ROW_FIELDS))
    for row in rows:
        cells = _row(past, month, row).values()
        click.echo(",".join("" if cell is None else str(cell) for cell in cells))


def _say_json(
    past: MarketPast, month: Month, rows: Iterable[ReportRow], sums: dict[int, HouseholdTotals]
) -> None:
    """One document with sorted keys, a row at a time: a month of many households is large."""
    click.echo(f'{{"month": "{month}", "rows": [', nl=False)
    for number, row in enumerate(rows):
        click.echo((", " if number else "") + json_text(_row(past, month, row)), nl=False)
    rest: dict[str, object] = {
        "slot_s": past.slot_s,
        "timezone": month.zone.key,
        "totals": [{"household": number, **_sums(found)} for number, found in sums.items()],
    }
    click.echo(f"], {json_text(rest)[1:]}")


def _sums(found: HouseholdTotals) -> dict[str, int]:
    return {
        "ordered_slots": found.ordered_slots,
        "open_slots": found.open_slots,
        "no_order_slots": found.no_order_slots,
        "bought_wh": found.bought_wh,
        "residual_wh": found.residual_wh,
        "sold_wh": found.sold_wh,
        "surplus_wh": found.surplus_wh,
        "paid_units": found.paid_units,
        "earned_units": found.earned_units,
    }


def _say_totals(
    past: MarketPast,
    month: Month,
    slots: range,
    rows: Iterator[ReportRow],
    sums: dict[int, HouseholdTotals],
) -> None:
    for _ in rows:
        pass
    if not slots or not sums:
        say(f"Nobody ordered anything in {month} ({month.zone.key}).")
        return
    first_s, end_s = slot_start_s(slots.start, past.slot_s), slot_start_s(slots.stop, past.slot_s)
    say_table(
        _COLUMNS,
        [
            (
                past.name_of(number),
                str(found.ordered_slots),
                str(found.open_slots),
                str(found.no_order_slots),
                energy_text(found.bought_wh),
                energy_text(found.residual_wh),
                energy_text(found.sold_wh),
                energy_text(found.surplus_wh),
                money_text(found.paid_units),
                money_text(found.earned_units),
            )
            for number, found in sums.items()
        ],
    )
    say(
        f"{month}, {local_text(first_s, month.zone)} to {local_text(end_s, month.zone)}:"
        f" {len(slots)} slots. Rows by slot: --json or --csv."
    )
    say(ACCOUNTING)
