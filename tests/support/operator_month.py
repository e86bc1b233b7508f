"""A distribution operator's files for an operation: R63 CSV of any days, with production."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

from tests.support.curve_files import R63_HEADER, ends

WattsOf = Callable[[int], int | None]
"""Mean watts of a step by its number; None for a value that the operator has not."""


def write_r63(
    path: Path,
    first: date,
    days: int,
    consumers: Mapping[str, WattsOf],
    producers: Mapping[str, WattsOf],
    stage: str = "BRUT",
) -> Path:
    """One file of half hours, with bare local stamps at the steps' ends as Enedis writes them; its
    values raw, or of another stage."""
    stamps = [end.strftime("%Y-%m-%d %H:%M:%S") for end in ends(first, days, 1800)]
    lines = [R63_HEADER]
    for points, trade in ((consumers, "CONS"), (producers, "PROD")):
        for point, watts_of in points.items():
            for number, stamp in enumerate(stamps):
                watts = watts_of(number)
                value = "" if watts is None else str(watts)
                lines.append(
                    f"{point};2025-01-01 00:00:00;2026-01-01 00:00:00;PA;{trade};{stage};W;"
                    f"{stamp};{value};B;PT30M;0;0"
                )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
