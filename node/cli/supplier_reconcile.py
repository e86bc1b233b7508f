"""``daisee supplier reconcile``: the market's allocations against the operator's curves."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import click

from node.billing.curve_files import read_curve_table
from node.billing.measures import DailyDifference, SideTotals, daily_differences, side_totals
from node.billing.months import Month
from node.billing.reconcile import (
    Entry,
    Reconciliation,
    SideOf,
    fills_of,
    reconcile,
    revised,
)
from node.billing.rulings import ruled_curves
from node.billing.series import Curve, Direction
from node.cli.entry_files import earlier_option, read_earlier, said_in
from node.cli.output import (
    Column,
    counted,
    energy_text,
    example,
    json_option,
    say,
    say_document,
    say_table,
)
from node.cli.sources import MarketPast, open_past, source_options
from node.cli.supplier_options import (
    FILE,
    csv_option,
    imported_curves,
    month_of,
    month_options,
    one_form,
)
from node.errors import ConfigurationError
from node.model import Side, SlotEnergy
from node.slots import iso_utc, slot_start_s
from node.store import NodeDatabase

__all__ = [
    "entry_row",
    "official_curves",
    "operator_curves",
    "points_option",
    "reconcile_command",
    "whose_points",
]

MAX_POINTS_BYTES: Final = 2**24
_COLUMNS: Final = (
    Column("household", figures=False),
    Column("side", figures=False),
    Column("ordered kWh"),
    Column("measured kWh"),
    Column("allocated kWh"),
    Column("corrected kWh"),
    Column("left kWh"),
)
ENTRY_FIELDS: Final = (
    "slot",
    "start",
    "household",
    "side",
    "account",
    "reason",
    "energy_wh",
    "amount_units",
)


_F = TypeVar("_F", bound=Callable[..., object])


def points_option(command: _F) -> _F:
    """The operator's knowledge of whose point is whose."""
    return click.option(
        "--points",
        "points_file",
        type=FILE,
        help="household,point: whose point is whose."
        "  [default: points go by the households' names]",
    )(command)


@click.command(
    "reconcile",
    short_help="Hold a month's allocations to the operator's curves.",
    epilog=example(
        "daisee supplier reconcile --month 2026-10 --withdrawals drawn.csv --injections fed.csv"
        " --points points.csv --run out/october"
    ),
)
@month_options
@click.option("--withdrawals", type=FILE, help="A table of what the operator saw drawn.")
@click.option("--injections", type=FILE, help="A table of what the operator saw fed in.")
@click.option("--curves", "database", type=FILE, help="Instead of tables: the imported curves.")
@points_option
@click.option(
    "--node",
    "nodes",
    multiple=True,
    metavar="H=FILE",
    help="A household's own database, to compare its readings too; may be given again.",
)
@earlier_option
@source_options
@csv_option
@json_option
def reconcile_command(
    month: str,
    timezone: str,
    withdrawals: Path | None,
    injections: Path | None,
    database: Path | None,
    points_file: Path | None,
    nodes: tuple[str, ...],
    earlier: tuple[Path, ...],
    run_folder: Path | None,
    rpc: str | None,
    market: str | None,
    *,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Compare what the chain allocated in a local month with what the operator measured.

    The operator's measure prevails. Where more was allocated than measured, correction entries
    reduce it on both sides of the slot; they sum to zero in energy and in money, and nothing on
    chain is rewritten. What the operator has not said yet is pending. With --earlier, what its
    rulings and curves led to before is taken along, and only what differs is told.
    """
    one_form(as_csv=as_csv, as_json=as_json)
    chosen = month_of(month, timezone)
    before = read_earlier(earlier)
    with open_past(run_folder, rpc, market) as past, said_in(database) as said:
        curves = operator_curves(withdrawals, injections, database, chosen)
        official = ruled_curves(official_curves(past, curves, points_file), before.rulings, said)
        slots = chosen.slots(past.slot_s)
        records = past.records(slots.start, slots.stop)
        try:
            found = reconcile(fills_of(counted(records, "slots")), official, past.slot_s)
        except ValueError as error:
            raise ConfigurationError(
                str(error), next_step="ask the operator for curves that fit the slots"
            ) from error
        if before.entries is not None:
            mine = [entry for entry in before.entries if entry.slot in slots]
            found = replace(found, entries=tuple(revised(mine, found.entries)))
        span = range(slots.start * past.slot_s, slots.stop * past.slot_s)
        sums = side_totals(found, official, past.slot_s, span)
        readings = dict(_readings(past, nodes, slots))
        differences = daily_differences(readings, official, past.slot_s, chosen.zone)
        if as_csv:
            _say_csv(past, found)
        elif as_json:
            told = _document(past, chosen, found, sums, differences)
            say_document({**told, "earlier": list(before.digests)})
        else:
            _say(past, found, sums, differences)


def operator_curves(
    withdrawals: Path | None, injections: Path | None, database: Path | None, month: Month | None
) -> dict[tuple[str, Direction], Curve]:
    """The operator's curves by point and direction."""
    if database is not None and month is not None and withdrawals is None and injections is None:
        return imported_curves(database, month)
    if database is not None or withdrawals is None or injections is None:
        raise click.UsageError(
            "Say which curves: --withdrawals FILE --injections FILE, or --curves FILE."
        )
    drawn, fed_in = read_curve_table(withdrawals), read_curve_table(injections)
    return {
        (point, direction): table.curve(point, direction)
        for table, direction in ((drawn, Direction.WITHDRAWAL), (fed_in, Direction.INJECTION))
        for point in table.points
    }


def official_curves(
    past: MarketPast, curves: Mapping[tuple[str, Direction], Curve], points_file: Path | None
) -> dict[SideOf, Curve]:
    """The curves by household and side. Residual and surplus curves are the operator's own
    sharing, and play no part."""
    household_of = whose_points(past, points_file)
    side_of = {Direction.WITHDRAWAL: Side.BID, Direction.INJECTION: Side.ASK}
    official: dict[SideOf, Curve] = {}
    for (point, direction), curve in curves.items():
        if direction not in side_of:
            continue
        if point not in household_of:
            raise ConfigurationError(
                f"nobody knows whose point {point} is",
                file=points_file,
                next_step="name it in the file of --points",
            )
        place = (household_of[point], side_of[direction])
        if place in official:
            raise ConfigurationError(
                f"household {place[0]} has two points in one direction", file=points_file
            )
        official[place] = curve
    return official


def whose_points(past: MarketPast, path: Path | None) -> dict[str, int]:
    """Households by delivery point; this is the operator's knowledge, never the chain's."""
    if path is None:
        return {name: number for number, name in past.names.items()}
    found: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            text = stream.read(MAX_POINTS_BYTES)
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})", file=path) from error
    rows = csv.reader(text.splitlines())
    if next(rows, None) != ["household", "point"]:
        raise ConfigurationError("does not begin with household,point", file=path, line=1)
    for number, row in enumerate(rows, start=2):
        if len(row) != 2:
            raise ConfigurationError("is not household,point", file=path, line=number)
        if row[1] in found:
            raise ConfigurationError(f"{row[1]} stands twice", file=path, line=number)
        found[row[1]] = past.household(row[0])
    return found


def _readings(
    past: MarketPast, nodes: Sequence[str], slots: range
) -> Iterator[tuple[int, list[SlotEnergy]]]:
    for text in nodes:
        name, equals, path = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not H=FILE.", param_hint="--node")
        with NodeDatabase.open_read_only(Path(path)) as database:
            energies = [energy for slot in slots if (energy := database.slot_energy(slot))]
        yield past.household(name), energies


def entry_row(past: MarketPast, entry: Entry) -> dict[str, object]:
    """A correction entry for JSON, and as a row of a table."""
    figures = (
        entry.slot,
        iso_utc(slot_start_s(entry.slot, past.slot_s)),
        entry.household or None,
        entry.side.word,
        entry.account.value,
        entry.reason.value,
        entry.energy_wh,
        entry.amount_units,
    )
    return dict(zip(ENTRY_FIELDS, figures, strict=True))


def _say_csv(past: MarketPast, found: Reconciliation) -> None:
    click.echo(",".join(ENTRY_FIELDS))
    for entry in found.entries:
        cells = entry_row(past, entry).values()
        click.echo(",".join("" if cell is None else str(cell) for cell in cells))


def _document(
    past: MarketPast,
    month: Month,
    found: Reconciliation,
    sums: Sequence[SideTotals],
    differences: Sequence[DailyDifference],
) -> Mapping[str, object]:
    return {
        "month": str(month),
        "timezone": month.zone.key,
        "slot_s": past.slot_s,
        "entries": [entry_row(past, entry) for entry in found.entries],
        "rulings": [],
        "pending": [
            {
                "start": iso_utc(item.start_s),
                "household": item.household,
                "side": item.side.word,
                "filled_wh": item.filled_wh,
            }
            for item in found.pending
        ],
        "differences": [
            {
                "day": item.day,
                "household": item.household,
                "side": item.side.word,
                "node_wh": item.node_wh,
                "official_wh": item.official_wh,
            }
            for item in differences
        ],
        "totals": [
            {
                "household": item.household,
                "side": item.side.word,
                "ordered_wh": item.ordered_wh,
                "official_wh": item.official_wh,
                "allocated_wh": item.filled_wh,
                "corrected_wh": item.corrected_wh,
                "left_wh": item.rest_wh,
                "open_periods": item.open_periods,
            }
            for item in sums
        ],
    }


def _say(
    past: MarketPast,
    found: Reconciliation,
    sums: Sequence[SideTotals],
    differences: Sequence[DailyDifference],
) -> None:
    rows = [
        (
            past.name_of(item.household),
            item.side.word,
            energy_text(item.ordered_wh),
            energy_text(item.official_wh),
            energy_text(item.filled_wh),
            energy_text(item.corrected_wh),
            energy_text(item.rest_wh),
        )
        for item in sums
    ]
    say_table(_COLUMNS, rows)
    energy_wh = sum(entry.energy_wh for entry in found.entries)
    amount_units = sum(entry.amount_units for entry in found.entries)
    say(
        f"{len(found.entries)} correction entries, which sum to {energy_wh} Wh and"
        f" {amount_units} units; {len(found.pending)} periods pending."
    )
    for item in differences:
        say(
            f"{item.day}: {past.name_of(item.household)}'s node read {item.node_wh} Wh"
            f" ({item.side.word}), the operator {item.official_wh} Wh."
        )
