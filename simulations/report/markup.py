"""The parts of the page: panels, paragraphs, legends, lists and tables. Every word is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from simulations.report.text import Text

MOST_ROWS_AT_ONCE: Final = 24
"""Rows of a table on the page; a longer one scrolls on a screen and stands whole in print."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; figures are set to the right."""

    heading: Text
    is_figure: bool = True


def panel(panel_id: str, title: Text, words: str, content: str, css: str = "") -> str:
    """A section: its heading and words beside its chart, or above it where room is short."""
    return (
        f'<section class="panel {css}" aria-labelledby="{panel_id}-h"><div class="words">'
        f'<h2 id="{panel_id}-h">{title.html()}</h2>{words}</div>'
        f'<div class="content">{content}</div></section>'
    )


def paragraph(text: Text, css: str = "") -> str:
    """A paragraph."""
    return f'<p class="{css}">{text.html()}</p>' if css else f"<p>{text.html()}</p>"


def swatch(css: str) -> str:
    """A small sample of a fill or a line."""
    if css in {"price", "retail", "feed-in", "median"}:
        drawn = f'<line class="{css}" x2="22" y1="7" y2="7"/>'
    else:
        drawn = f'<rect class="{css}" width="22" height="14" rx="2"/>'
    return f'<svg class="swatch" width="22" height="14" aria-hidden="true">{drawn}</svg>'


def legend(entries: Sequence[tuple[str, Text, Text | None]]) -> str:
    """What each fill or line stands for, each with its figure if it has one."""
    items = "".join(
        f"<li>{swatch(css)}<span>{words.html()}</span>"
        + (f"<b>{figure.html()}</b>" if figure else "")
        + "</li>"
        for css, words, figure in entries
    )
    return f'<ul class="legend">{items}</ul>'


def facts(entries: Sequence[tuple[Text, Text]], css: str = "facts") -> str:
    """Names and their values, as a definition list."""
    pairs = "".join(
        f"<div><dt>{words.html()}</dt><dd>{value.html()}</dd></div>" for words, value in entries
    )
    return f'<dl class="{css}">{pairs}</dl>'


def listing(entries: Sequence[Text]) -> str:
    """A plain list."""
    return "<ul>" + "".join(f"<li>{entry.html()}</li>" for entry in entries) + "</ul>"


def table(
    table_id: str, caption: Text, columns: Sequence[Column], rows: Sequence[Sequence[Text]]
) -> str:
    """The table of a panel of the same id; the first cell names its row.

    It scrolls inside its own box on a narrow page, and what explains it does not.
    """
    heads = "".join(
        f'<th scope="col"{_figure(column)}>{column.heading.html()}</th>' for column in columns
    )
    body = "".join(
        f'<tr><th scope="row"><bdi>{row[0].html()}</bdi></th>'
        + "".join(
            f"<td{_figure(column)}>{cell.html()}</td>"
            for column, cell in zip(columns[1:], row[1:], strict=True)
        )
        + "</tr>"
        for row in rows
    )
    css = "scroll long" if len(rows) > MOST_ROWS_AT_ONCE else "scroll"
    return (
        f'<p class="note" id="{table_id}-c">{caption.html()}</p>'
        f'<div class="{css}" role="region" tabindex="0" aria-labelledby="{table_id}-h">'
        f'<table aria-labelledby="{table_id}-h" aria-describedby="{table_id}-c">'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _figure(column: Column) -> str:
    """The attribute that sets a column's figures under each other."""
    return ' class="figure"' if column.is_figure else ""
