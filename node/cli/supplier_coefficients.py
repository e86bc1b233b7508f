"""``daisee supplier coefficients``: the files that distribution operators take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from node.billing.allocation import allocate
from node.billing.coefficients import french_files
from node.billing.coefficients_es import (
    SpanishCoefficients,
    read_spanish_file,
    spanish_fixed,
    spanish_hourly,
)
from node.billing.curve_files import read_curve_table
from node.billing.keys import read_weights
from node.billing.months import zone_of
from node.billing.series import MISSING
from node.cli.market_source import MarketChoice, allocation_key, market_options
from node.cli.output import Column, example, json_option, say, say_document, say_table
from node.cli.supplier_options import FILE, CurveChoice, curve_options, curve_tables, key_of
from node.errors import ConfigurationError

__all__ = ["coefficients"]


@click.group(
    short_help="Write and check coefficient files.",
    epilog=example("daisee supplier coefficients check ES0021000000000001RK0FA000_2025.txt"),
)
def coefficients() -> None:
    """Write and check the coefficient files that distribution operators take."""


@coefficients.command(
    short_help="French files, one per producer.",
    epilog=example(
        "daisee supplier coefficients french --production roofs.csv --consumption homes.csv"
        " --key key.toml --out coefficients"
    ),
)
@curve_options
@market_options
@click.option("--out", required=True, type=FILE, metavar="DIR", help="An existing folder.")
@json_option
def french(
    choice: CurveChoice,
    key_file: Path | None,
    source: MarketChoice,
    out: Path,
    *,
    as_json: bool,
) -> None:
    """Write what a key comes to as coefficients, and say what their rounding takes from whom.

    Percent with one decimal, rounded down: an operator who computes from the files allocates
    somewhat less than the key.
    """
    production, consumption = curve_tables(choice)
    key = key_of(key_file, None, production, choice.timezone)
    key, production, consumption = allocation_key(key, source, production, consumption)
    allocation = allocate(key, production.points, consumption.points)
    files = french_files(allocation, production.starts_s, zone_of(choice.timezone))
    for name, text in files.texts.items():
        _write(out / name, text)
    if as_json:
        say_document(
            {
                "files": list(files.texts),
                "allocated_wh": files.allocated_wh,
                "lost_wh": dict(files.lost_wh),
            }
        )
        return
    columns = (Column("consumer", figures=False), Column("lost by rounding Wh"))
    say_table(columns, [(point, str(wh)) for point, wh in files.lost_wh.items()])
    say(
        f"{len(files.texts)} files in {out}. Of {files.allocated_wh} Wh, {files.total_lost_wh} Wh"
        " are lost to the rounding of the file."
    )


@coefficients.command(
    short_help="A Spanish file, constant or hourly.",
    epilog=example(
        "daisee supplier coefficients spanish --cau ES0021000000000001RK0FA000 --year 2026"
        " --key static.toml --out coefficients"
    ),
)
@click.option("--cau", required=True, help="The installation: a CUPS, A and three digits.")
@click.option("--year", required=True, type=click.IntRange(2000, 2099), help="The year.")
@click.option("--key", "key_file", type=FILE, help="Constant: a key with [coefficients].")
@click.option("--consumption", "consumed", type=FILE, help="Hourly: a year's curves as weights.")
@click.option("--residue-to", metavar="CUPS", help="Who gets what rounding leaves.")
@click.option("--out", required=True, type=FILE, metavar="DIR", help="An existing folder.")
@json_option
def spanish(
    cau: str,
    year: int,
    key_file: Path | None,
    consumed: Path | None,
    residue_to: str | None,
    out: Path,
    *,
    as_json: bool,
) -> None:
    """Write the file of a year: constant coefficients from a key, or hourly ones from curves.

    They sum to 1,000000 exactly; one consumer, who is named, gets what rounding leaves.
    """
    if (key_file is None) == (consumed is None):
        raise click.UsageError("--key for constant coefficients, or --consumption for hourly ones.")
    if key_file is not None:
        written = spanish_fixed(cau, year, read_weights(key_file), residue_to)
    else:
        assert consumed is not None
        written = spanish_hourly(cau, year, _hourly(consumed), residue_to)
    _write(out / written.file_name, written.text())
    if as_json:
        document = {"residue_to": written.residue_to, "residue_millionths": written.residue}
        say_document({"file": written.file_name, **document})
        return
    say(f"{out / written.file_name}: {len(written.shares)} consumers, {_kind(written)}.")
    say(
        f"{written.residue_to} gets what rounding leaves: {written.residue} millionths at most."
        if written.residue
        else "Rounding leaves nothing."
    )


def _hourly(path: Path) -> Mapping[str, Sequence[int]]:
    table = read_curve_table(path)
    if table.step_s != 3600:
        raise ConfigurationError("Spanish coefficients are for hours", file=path)
    for point, curve in table.points.items():
        if MISSING in curve:
            raise ConfigurationError(f"{point} has gaps, which are no weights", file=path)
    return table.points


def _kind(found: SpanishCoefficients) -> str:
    fixed = any(isinstance(share, int) for share in found.shares.values())
    return f"constant in {found.year}" if fixed else f"every hour of {found.year}"


def _write(path: Path, text: str) -> None:
    try:
        path.write_bytes(text.encode("ascii"))
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written ({error.strerror})", file=path, next_step="check the folder"
        ) from error


@coefficients.command(
    short_help="Check a Spanish file whole.",
    epilog=example("daisee supplier coefficients check ES0021000000000001RK0FA000_2025.txt"),
)
@click.argument("file", type=FILE)
@json_option
def check(file: Path, *, as_json: bool) -> None:
    """Check a Spanish file: its name, the letters of every CUPS, all hours, and each hour's sum."""
    found = read_spanish_file(file)
    if as_json:
        say_document(
            {
                "cau": found.cau,
                "year": found.year,
                "constant": all(isinstance(share, int) for share in found.shares.values()),
                "consumers": list(found.shares),
            }
        )
        return
    say(f"{file.name}: {len(found.shares)} consumers, {_kind(found)}; every sum is 1,000000.")
