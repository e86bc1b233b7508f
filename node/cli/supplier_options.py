"""Options that the commands of ``daisee supplier`` share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Final, TypeVar, cast

import click

from node.billing.allocation import Key
from node.billing.coefficients import read_french_file
from node.billing.curve_files import CurveTable, read_curve_table
from node.billing.curve_store import CurveStore
from node.billing.keys import default_dynamic, full_dynamic, read_key
from node.billing.months import Month, zone_of
from node.billing.series import DAY_S, Curve, Direction, resampled
from node.errors import ConfigurationError
from node.slots import iso_utc
from node.store.curves import CurveDatabase

__all__ = [
    "FILE",
    "CurveChoice",
    "csv_option",
    "curve_options",
    "curve_tables",
    "imported_curves",
    "key_of",
    "month_of",
    "month_options",
    "one_form",
    "timezone_option",
]

FILE: Final = click.Path(path_type=Path)

_F = TypeVar("_F", bound=Callable[..., object])


def timezone_option(command: _F) -> _F:
    """The zone whose clock months and stamps follow."""
    return click.option(
        "--timezone",
        default="Europe/Paris",
        show_default=True,
        metavar="ZONE",
        help="The operation's local time.",
    )(command)


def month_options(command: _F) -> _F:
    """A month, and the zone whose month it is."""
    return click.option(
        "--month", required=True, metavar="YYYY-MM", help="The month, in local time."
    )(timezone_option(command))


def csv_option(command: _F) -> _F:
    """The rows as a table for programs."""
    return click.option("--csv", "as_csv", is_flag=True, help="Print the rows as CSV instead.")(
        command
    )


def one_form(*, as_csv: bool, as_json: bool) -> None:
    """Refuse two forms at once."""
    if as_csv and as_json:
        raise click.UsageError("--csv or --json, not both.")


def month_of(text: str, timezone: str) -> Month:
    """The month that the options name. Raises click.BadParameter, or ConfigurationError for a zone
    that is not known."""
    try:
        return Month.parse(text, zone_of(timezone))
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--month") from error


@dataclass(frozen=True, slots=True)
class CurveChoice:
    """Where the curves come from: two tables, or what was imported, in a month."""

    produced: Path | None
    consumed: Path | None
    database: Path | None
    month: str | None
    timezone: str


def curve_options(command: _F) -> _F:
    """The curves that a key is applied to, handed over as ``choice``, and the key."""
    options = (
        click.option("--production", "produced", type=FILE, help="A table of producers' curves."),
        click.option("--consumption", "consumed", type=FILE, help="A table of consumers' curves."),
        click.option(
            "--curves", "database", type=FILE, help="Instead of tables: the imported curves."
        ),
        click.option("--month", metavar="YYYY-MM", help="With --curves: the month, in local time."),
        click.option(
            "--key", "key_file", type=FILE, help="The key.  [default: pro rata of consumption]"
        ),
    )

    @wraps(command)
    def chosen(
        *,
        produced: Path | None,
        consumed: Path | None,
        database: Path | None,
        month: str | None,
        timezone: str,
        **others: object,
    ) -> object:
        choice = CurveChoice(produced, consumed, database, month, timezone)
        return command(choice=choice, **others)

    wrapped: Callable[..., object] = timezone_option(chosen)
    for option in reversed(options):
        wrapped = option(wrapped)
    return cast("_F", wrapped)


def curve_tables(choice: CurveChoice) -> tuple[CurveTable, CurveTable]:
    """Producers' and consumers' curves, of the same steps.

    Raises click.UsageError for a choice that names neither or both, ConfigurationError for files
    and curves that cannot be used.
    """
    tables, database, month = (choice.produced, choice.consumed), choice.database, choice.month
    if database is not None and month is not None and tables == (None, None):
        return _imported(database, month_of(month, choice.timezone))
    produced, consumed = tables
    if produced is None or consumed is None or database is not None or month is not None:
        raise click.UsageError(
            "Say which curves: --production FILE --consumption FILE, or --curves FILE --month M."
        )
    production, consumption = read_curve_table(produced), read_curve_table(consumed)
    if production.starts_s != consumption.starts_s:
        raise ConfigurationError(
            f"covers other steps than {produced}: {_span_text(consumption)},"
            f" and that {_span_text(production)}",
            file=consumed,
            next_step="give both curves for the same time and in the same steps",
        )
    return production, consumption


def _imported(database: Path, month: Month) -> tuple[CurveTable, CurveTable]:
    """All points' curves of a month, at the longest step that any of them has."""
    curves = imported_curves(database, month)
    by_direction = {
        direction: {point: curve for (point, way), curve in curves.items() if way is direction}
        for direction in (Direction.INJECTION, Direction.WITHDRAWAL)
    }
    if not all(by_direction.values()):
        raise ConfigurationError(
            f"holds no curves of both production and consumption in {month}",
            file=database,
            next_step="import them with daisee dso import",
        )
    step_s = max(curve.step_s for curve in curves.values())
    steps = month.slots(step_s)
    span = (steps.start * step_s, steps.stop * step_s)
    production, consumption = (
        CurveTable(
            span[0],
            step_s,
            {
                point: resampled(curve, step_s).energy_wh_between(*span)
                for point, curve in sorted(found.items())
            },
        )
        for found in by_direction.values()
    )
    return production, consumption


def imported_curves(database: Path, month: Month) -> dict[tuple[str, Direction], Curve]:
    """The operator's newest curves of the days that a month touches, by point and direction."""
    found = {}
    first_s = month.start_s - month.start_s % DAY_S
    end_s = month.end_s + -month.end_s % DAY_S
    with CurveDatabase.open_read_only(database) as kept:
        store = CurveStore(kept)
        for series in store.series():
            curve = store.curve(series.point_id, series.direction, first_s, end_s)
            if curve is None:
                text = f"{series.point_id} has no {series.direction} curve in {month}: left out"
                click.echo(text, err=True)
            else:
                found[series.point_id, series.direction] = curve
    return found


def _span_text(table: CurveTable) -> str:
    return f"{table.steps} steps of {table.step_s} s from {iso_utc(table.start_s)}"


def key_of(key_file: Path | None, folder: Path | None, table: CurveTable, timezone: str) -> Key:
    """The key of a file, of a folder of coefficient files for the table's steps, or the default."""
    if key_file is not None and folder is not None:
        raise click.UsageError("--key or --coefficients, not both.")
    if key_file is not None:
        return read_key(key_file)
    if folder is None:
        return default_dynamic()
    zone = zone_of(timezone)
    read = (
        read_french_file(folder / f"{point}.csv", table.starts_s, zone) for point in table.points
    )
    return full_dynamic(dict(read))
