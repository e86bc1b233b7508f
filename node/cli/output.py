"""How every command speaks: one JSON document or text on stdout, all else on stderr.

Tables are drawn only on a terminal (in colour unless ``NO_COLOR`` is set); elsewhere the same
figures come as plain aligned text, which ``grep`` and ``awk`` can read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from node.clock import wall_seconds
from node.units import cent_per_kwh, eur, kwh

__all__ = [
    "Column",
    "counted",
    "counting",
    "energy_text",
    "example",
    "json_option",
    "json_text",
    "money_text",
    "price_text",
    "say",
    "say_document",
    "say_documents",
    "say_table",
]

QUIET_S: Final = 1.0
"""Work shorter than this shows no progress."""

_GAP: Final = 2
"""Columns of the terminal between two columns of a drawn table."""

_AT_ONCE: Final = 500
"""Things that are counted together: counting must not cost what it counts."""

_F = TypeVar("_F", bound=Callable[..., object])
_T = TypeVar("_T")


def json_option(command: _F) -> _F:
    """The option that every command has."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print one JSON document instead.",
    )(command)


def example(*lines: str) -> str:
    """The end of a command's help: how it is typed."""
    return "\n".join(("\b", "Example:", *(f"  {line}" for line in lines)))


def json_text(document: Mapping[str, object]) -> str:
    """A document on one line with sorted keys: also how a line of ``slots.jsonl`` is written."""
    return json.dumps(document, sort_keys=True, ensure_ascii=False)


def say_document(document: Mapping[str, object]) -> None:
    """Print the one document of a command; indented where a person reads it."""
    if sys.stdout.isatty():
        click.echo(json.dumps(document, sort_keys=True, ensure_ascii=False, indent=2))
    else:
        click.echo(json_text(document))


def say_documents(key: str, documents: Iterable[Mapping[str, object]]) -> None:
    """Print one document that holds a list, however long, an element at a time."""
    click.echo(f"{{{json.dumps(key)}: [", nl=False)
    for number, document in enumerate(documents):
        click.echo((", " if number else "") + json_text(document), nl=False)
    click.echo("]}")


def say(text: str = "") -> None:
    """Print a line for a person."""
    click.echo(text)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, and whether it holds figures (set to the right)."""

    heading: str
    figures: bool = True


def say_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, drawn on a terminal that is wide enough and plain elsewhere."""
    lines = list(rows)
    widths = [
        max(len(text) for text in (*column.heading.split(" "), *(row[index] for row in lines)))
        for index, column in enumerate(columns)
    ]
    console = Console()
    if console.is_terminal and sum(widths) + _GAP * len(widths) <= console.width:
        console.print(_drawn(columns, lines, widths))
        return
    for line in _aligned(columns, lines):
        click.echo(line)


def _drawn(columns: Sequence[Column], rows: list[Sequence[str]], widths: Sequence[int]) -> Table:
    """A table whose headings may wrap and whose cells never do: a cut figure is a wrong one."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, collapse_padding=True)
    for column, width in zip(columns, widths, strict=True):
        justify: JustifyMethod = "right" if column.figures else "left"
        table.add_column(column.heading, justify=justify, min_width=width)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _aligned(columns: Sequence[Column], rows: list[Sequence[str]]) -> Iterator[str]:
    cells = [[column.heading for column in columns], *rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    for row in cells:
        yield "  ".join(
            cell.rjust(width) if column.figures else cell.ljust(width)
            for column, cell, width in zip(columns, row, widths, strict=True)
        ).rstrip()


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """Progress of unknown length: a function to be told how many more are done.

    On a terminal, and after a second, the count stands on stderr until the work is over.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} {task.description}"))
    progress = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
    task = progress.add_task(what, total=None)
    quiet_until_s = wall_seconds() + QUIET_S

    def advance(more: int) -> None:
        if wall_seconds() > quiet_until_s:
            progress.start()  # again is harmless
        progress.advance(task, more)

    try:
        yield advance
    finally:
        progress.stop()


def counted(things: Iterable[_T], what: str) -> Iterator[_T]:
    """Pass things on and count them as ``counting`` does."""
    with counting(what) as advance:
        for number, thing in enumerate(things, start=1):
            if number % _AT_ONCE == 0:
                advance(_AT_ONCE)
            yield thing


def money_text(units: int) -> str:
    """Credit units as EUR, to a hundredth of a cent."""
    return f"{eur(units):.4f}"


def price_text(units_per_wh: int | None) -> str:
    """A price as cents per kWh; ``-`` where there is none."""
    return "-" if units_per_wh is None else f"{cent_per_kwh(units_per_wh):.2f}"


def energy_text(energy_wh: int | None) -> str:
    """Energy as kWh; ``-`` where it is not known yet."""
    return "-" if energy_wh is None else f"{kwh(energy_wh):.3f}"
