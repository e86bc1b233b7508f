"""``daisee dso curves``: what is kept of official curves, and what a month still lacks."""

from __future__ import annotations

import csv
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import click

from node.billing.completeness import Coverage, coverage
from node.billing.curve_store import CurveStore
from node.billing.estimating import with_short_gaps_estimated
from node.billing.perimeter import midnight_s, read_perimeter
from node.billing.series import DAY_S, MISSING, Curve, Direction, StepQuality
from node.cli.output import (
    Column,
    energy_text,
    example,
    json_option,
    say,
    say_document,
    say_table,
)
from node.errors import Disagreement
from node.slots import iso_utc
from node.store.curves import CurveDatabase

__all__ = ["LEGAL_ZONE", "curves", "database_option"]

MOST_SHOWN: Final = 20
LEGAL_ZONE: Final = ZoneInfo("Europe/Paris")
"""In which dates on the command line and in the perimeter begin: Datadis's and EDC's zones have
the same midnights."""

_F = TypeVar("_F", bound=Callable[..., object])


def database_option(command: _F) -> _F:
    """Where official curves are kept."""
    return click.option(
        "--database",
        type=click.Path(path_type=Path),
        required=True,
        envvar="DAISEE_CURVES",
        show_envvar=True,
        help="Where official curves are kept.",
    )(command)


@click.command(
    short_help="List official curves, their months and steps.",
    epilog=example(
        "daisee dso curves --database curves.db",
        "daisee dso curves --database curves.db --perimeter perimeter.csv --month 2026-10",
        "daisee dso curves --database curves.db --point 30000000000011 --month 2026-10 --csv",
    ),
)
@database_option
@click.option(
    "--perimeter",
    "perimeter_file",
    type=click.Path(path_type=Path),
    help="CSV of the points that a month must have.  [default: those that are kept]",
)
@click.option("--point", help="The delivery point whose steps are shown.")
@click.option(
    "--direction",
    type=click.Choice([direction.value for direction in Direction]),
    default=Direction.WITHDRAWAL.value,
    show_default=True,
)
@click.option("--month", help="The month of the steps, such as 2026-10.")
@click.option("--as-of", type=int, help="As this version left it.  [default: the newest]")
@click.option("--estimate", is_flag=True, help="Fill gaps of up to two hours, marked as estimated.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead.")
@json_option
def curves(
    database: Path,
    perimeter_file: Path | None,
    point: str | None,
    direction: str,
    month: str | None,
    as_of: int | None,
    *,
    estimate: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """List official curves, what a month lacks of them, or the steps of one point in a month.

    Steps without a value are gaps, shown as such: never as 0. A month that lacks any ends with 7.
    """
    if point is not None and month is None:
        raise click.UsageError("--point needs --month")
    if point is None and (as_csv or estimate or as_of is not None):
        raise click.UsageError("--csv, --estimate and --as-of need --point")
    perimeter = None if perimeter_file is None else read_perimeter(perimeter_file, LEGAL_ZONE)
    with CurveDatabase.open_read_only(database) as kept:
        store = CurveStore(kept)
        if month is None:
            _say_series(store, as_json=as_json)
            return
        from_s, to_s = _month(month)
        if point is None:
            _say_coverage(coverage(store, from_s, to_s, perimeter), as_json=as_json)
            return
        first_day, after = from_s - from_s % DAY_S, to_s + (-to_s) % DAY_S
        days = store.curve(point, Direction(direction), first_day, after, as_of=as_of)
        versions = store.versions(point, Direction(direction))
    if days is None:
        raise click.UsageError(f"no {direction} curve of {point} in {month}")
    if estimate:
        days = with_short_gaps_estimated(days)
    curve, energy_wh = days.window(from_s, to_s), days.energy_wh_between(from_s, to_s)
    if as_json:
        say_document(_curve_document(curve, energy_wh, versions))
    elif as_csv:
        _say_csv(curve, energy_wh)
    else:
        _say_curve(curve, energy_wh, versions)


def _month(text: str) -> tuple[int, int]:
    try:
        first = date.fromisoformat(f"{text}-01")
        after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    except ValueError as error:
        raise click.UsageError(f"{text!r} is no month; write 2026-10") from error
    return midnight_s(first, LEGAL_ZONE), midnight_s(after, LEGAL_ZONE)


def _say_series(store: CurveStore, *, as_json: bool) -> None:
    kept = store.series()
    if as_json:
        documents = [
            {
                "point": one.point_id,
                "direction": one.direction,
                "from": iso_utc(one.from_s),
                "to": iso_utc(one.to_s),
                "days": one.days,
                "version": one.version,
            }
            for one in kept
        ]
        say_document({"curves": documents})
        return
    headings = ("point", "direction", "from", "to")
    say_table(
        [*(Column(text, figures=False) for text in headings), Column("days"), Column("version")],
        [
            (
                one.point_id,
                one.direction,
                iso_utc(one.from_s),
                iso_utc(one.to_s),
                str(one.days),
                str(one.version),
            )
            for one in kept
        ],
    )


def _steps(curve: Curve, energy_wh: array[int]) -> Iterator[tuple[int, int | None, StepQuality]]:
    for index, (value, code) in enumerate(zip(energy_wh, curve.quality, strict=True)):
        yield curve.step_start_s(index), None if value == MISSING else value, StepQuality(code)


def _curve_document(curve: Curve, energy_wh: array[int], versions: list[int]) -> dict[str, object]:
    return {
        "point": curve.point_id,
        "direction": curve.direction,
        "step_s": curve.step_s,
        "version": curve.version,
        "versions": versions,
        "source": curve.source,
        "steps": [
            {"start": iso_utc(at_s), "energy_wh": value, "quality": quality.word}
            for at_s, value, quality in _steps(curve, energy_wh)
        ],
    }


def _say_csv(curve: Curve, energy_wh: array[int]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("start", "energy_wh", "quality"))
    for at_s, value, quality in _steps(curve, energy_wh):
        writer.writerow((iso_utc(at_s), "" if value is None else value, quality.word))


def _say_curve(curve: Curve, energy_wh: array[int], versions: list[int]) -> None:
    total_wh = sum(value for value in energy_wh if value != MISSING)
    say(
        f"{curve.point_id} {curve.direction}: {energy_text(total_wh)} kWh in {curve.values} of"
        f" {len(curve)} steps of {curve.step_s // 60} min; version {curve.version} of"
        f" {', '.join(map(str, versions))}; {curve.source}"
    )
    words = Counter(StepQuality(code).word for code in curve.quality)
    for word, count in sorted(words.items()):
        say(f"  {count} steps {word}")
    for from_s, to_s in list(curve.gaps())[:MOST_SHOWN]:
        say(f"  gap from {iso_utc(from_s)} to {iso_utc(to_s)}")


def _say_coverage(found: list[Coverage], *, as_json: bool) -> None:
    """What a month has, and what it lacks."""
    if as_json:
        say_document({"coverage": [_coverage_document(one) for one in found]})
    else:
        columns = ("point", "direction", "from", "to")
        say_table(
            [
                *(Column(text, figures=False) for text in columns),
                Column("values"),
                Column("provisional"),
                Column("gaps"),
            ],
            [
                (
                    one.point_id,
                    one.direction,
                    iso_utc(one.from_s),
                    iso_utc(one.to_s),
                    str(one.values),
                    str(one.provisional),
                    str(len(one.gaps)),
                )
                for one in found
            ],
        )
    lacking = sum(bool(one.gaps) for one in found)
    if lacking:
        raise Disagreement(
            f"{lacking} of {len(found)} curves have gaps",
            next_step="ask the operator for what is missing; it can be billed when it is there",
        )


def _coverage_document(one: Coverage) -> dict[str, object]:
    return {
        "point": one.point_id,
        "direction": one.direction,
        "from": iso_utc(one.from_s),
        "to": iso_utc(one.to_s),
        "step_s": one.step_s,
        "values": one.values,
        "provisional": one.provisional,
        "gaps": [{"from": iso_utc(from_s), "to": iso_utc(to_s)} for from_s, to_s in one.gaps],
    }
