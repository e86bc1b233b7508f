"""Options that the commands of ``daisee supplier`` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import click

from node.billing.allocation import Key
from node.billing.coefficients import read_french_file
from node.billing.curve_files import CurveTable, read_curve_table
from node.billing.keys import default_dynamic, full_dynamic
from node.billing.months import Month, zone_of
from node.errors import ConfigurationError
from node.slots import iso_utc

__all__ = [
    "FILE",
    "csv_option",
    "curve_options",
    "curve_tables",
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


def curve_options(command: _F) -> _F:
    """The curves that a key is applied to, and the key."""
    options = (
        click.option(
            "--production", "produced", required=True, type=FILE, help="Producers' curves."
        ),
        click.option(
            "--consumption", "consumed", required=True, type=FILE, help="Consumers' curves."
        ),
        click.option(
            "--key", "key_file", type=FILE, help="The key.  [default: pro rata of consumption]"
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def curve_tables(produced: Path, consumed: Path) -> tuple[CurveTable, CurveTable]:
    """Both tables, of the same steps."""
    production, consumption = read_curve_table(produced), read_curve_table(consumed)
    if production.starts_s != consumption.starts_s:
        raise ConfigurationError(
            f"covers other steps than {produced}: {_span_text(consumption)},"
            f" and that {_span_text(production)}",
            file=consumed,
            next_step="give both curves for the same time and in the same steps",
        )
    return production, consumption


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
