"""``daisee supplier allocate``: a key over curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from node.billing.allocation import Allocation
from node.billing.allocation import allocate as allocate_curves
from node.billing.curve_files import CurveTable
from node.billing.series import MISSING
from node.cli.market_source import MarketChoice, allocation_key, market_options
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
from node.cli.supplier_options import (
    FILE,
    CurveChoice,
    csv_option,
    curve_options,
    curve_tables,
    key_of,
    one_form,
)
from node.slots import iso_utc
from node.units import kwh

__all__ = ["allocate"]

_POINT_COLUMNS: Final = (
    Column("point", figures=False),
    Column("role", figures=False),
    Column("measured kWh"),
    Column("allocated kWh"),
    Column("left kWh"),
)


@click.command(
    short_help="Allocate curves by a key, producer by consumer.",
    epilog=example(
        "daisee supplier allocate --production roofs.csv --consumption homes.csv --key key.toml"
    ),
)
@curve_options
@market_options
@click.option(
    "--coefficients",
    "folder",
    type=FILE,
    metavar="DIR",
    help="A folder of coefficient files, one <PRM>.csv per producer, instead of a key.",
)
@click.option("--matrix", is_flag=True, help="With --csv: who got what from whom in each step.")
@csv_option
@json_option
def allocate(
    choice: CurveChoice,
    key_file: Path | None,
    source: MarketChoice,
    folder: Path | None,
    *,
    matrix: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Allocate what producers injected to what consumers drew, step by step, by any key.

    Curves are tables of whole Wh: start,<point>,... with a row per step. A step in which a curve
    has a gap stays open: nobody is given a share of what is not known.
    """
    one_form(as_csv=as_csv, as_json=as_json)
    if matrix and not as_csv:
        raise click.UsageError("--matrix goes with --csv.")
    production, consumption = curve_tables(choice)
    key = key_of(key_file, folder, production, choice.timezone)
    key, production, consumption = allocation_key(key, source, production, consumption)
    groups = None if as_csv else [0] * production.steps
    allocation = allocate_curves(key, production.points, consumption.points, groups=groups)
    if as_csv:
        lines = _matrix_lines if matrix else _step_lines
        for line in lines(allocation, production.starts_s):
            click.echo(line)
    elif as_json:
        say_document(_document(allocation, production))
    else:
        _say(allocation)


def _points(
    allocation: Allocation,
) -> Iterator[tuple[str, str, Sequence[int], Sequence[int], Sequence[int]]]:
    """Role, point, measured, allocated and left, producers first."""
    for point, curve in allocation.production.items():
        yield "producer", point, curve, allocation.given[point], allocation.surplus(point)
    for point, curve in allocation.consumption.items():
        yield "consumer", point, curve, allocation.allocated[point], allocation.complement(point)


def _step_lines(allocation: Allocation, starts_s: Sequence[int]) -> Iterator[str]:
    yield "start,role,point,measured_wh,allocated_wh,left_wh"
    rows = list(_points(allocation))
    for step, start_s in enumerate(starts_s):
        for role, point, *curves in rows:
            cells = (curve[step] for curve in curves)
            figures = ("" if wh == MISSING else str(wh) for wh in cells)
            yield ",".join((iso_utc(start_s), role, point, *figures))


def _matrix_lines(allocation: Allocation, starts_s: Sequence[int]) -> Iterator[str]:
    """Only what is not 0: most of a matrix is."""
    yield "start,producer,consumer,energy_wh"
    open_steps = set(allocation.open_steps)
    closed = [step for step in range(allocation.steps) if step not in open_steps]
    for step, matrix in zip(closed, allocation.matrices(closed), strict=True):
        stamp = iso_utc(starts_s[step])
        for producer, row in zip(allocation.production, matrix, strict=True):
            for consumer, energy_wh in zip(allocation.consumption, row, strict=True):
                if energy_wh:
                    yield f"{stamp},{producer},{consumer},{energy_wh}"


def _sum_wh(curve: Sequence[int], open_steps: Sequence[int]) -> int:
    """Over the steps that are not open."""
    return sum(curve) - sum(curve[step] for step in open_steps)


def _document(allocation: Allocation, table: CurveTable) -> dict[str, object]:
    open_steps = allocation.open_steps
    return {
        "key": allocation.key.name,
        "from": iso_utc(table.start_s),
        "to": iso_utc(table.starts_s.stop),
        "step_s": table.step_s,
        "steps": table.steps,
        "open_steps": [iso_utc(table.starts_s[step]) for step in open_steps],
        "points": [
            {
                "role": role,
                "point": point,
                "measured_wh": _sum_wh(measured, open_steps),
                "allocated_wh": _sum_wh(allocated, open_steps),
                "left_wh": _sum_wh(left, open_steps),
            }
            for role, point, measured, allocated, left in _points(allocation)
        ],
        "pairs": [
            {"producer": producer, "consumer": consumer, "energy_wh": energy_wh}
            for producer, row in zip(allocation.production, allocation.pairs[0], strict=True)
            for consumer, energy_wh in zip(allocation.consumption, row, strict=True)
        ],
    }


def _say(allocation: Allocation) -> None:
    open_steps = allocation.open_steps
    rows = [
        (point, role, *(energy_text(_sum_wh(curve, open_steps)) for curve in curves))
        for role, point, *curves in _points(allocation)
    ]
    say_table(_POINT_COLUMNS, rows)
    given_wh = sum(_sum_wh(curve, open_steps) for curve in allocation.given.values())
    say(
        f"{kwh(given_wh):.3f} kWh allocated by the key {allocation.key.name} in"
        f" {allocation.steps - len(open_steps)} steps; {len(open_steps)} steps open."
    )
    say(ACCOUNTING)
