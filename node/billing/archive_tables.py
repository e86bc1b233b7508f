"""The curves that a period was billed from, as they lie in its folder, and how they go.

Each revision has a table for what was measured and shared on either side, and the sums of each two;
one that was billed by the market's allocation, what the market had filled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from node.billing.bill_files import write_file
from node.billing.bill_keeping import PAIRS
from node.billing.market_key import MARKET_FILES
from node.errors import ConfigurationError

__all__ = ["TABLES", "has_curves", "names_one_of", "take_curves_out"]

TABLES: Final = (
    *("production.csv", "consumption.csv", "given.csv", "allocated.csv"),
    *MARKET_FILES,
)


def has_curves(folder: Path) -> bool:
    """Whether anything of them is in a period's folder."""
    return any(True for _ in _files(folder, *TABLES, PAIRS))


def names_one_of(folder: Path, points: Collection[str]) -> bool:
    """Whether anything of them names one of these points."""
    return any(_names(path, points) for path in _files(folder, *TABLES, PAIRS))


def take_curves_out(folder: Path, points: Collection[str] | None) -> None:
    """Take the columns of some points out of a period's tables; None deletes the tables. The sums
    go in both cases, and first: whoever is interrupted finds a table that still says what to do.

    Raises ConfigurationError for what cannot be deleted or written.
    """
    for path in _files(folder, PAIRS):
        _delete(path)
    for path in _files(folder, *TABLES):
        if points is None or path.name not in TABLES:
            _delete(path)
        else:
            _narrow(path, points)


def _files(folder: Path, *names: str) -> Iterator[Path]:
    """Files of these names in all revisions, and what a write of one that was cut off left."""
    for name in names:
        yield from sorted([*folder.glob(f"*/{name}"), *folder.glob(f"*/.{name}.part")])


def _names(path: Path, points: Collection[str]) -> bool:
    with path.open(encoding="utf-8", errors="replace") as stream:
        head = stream.read() if PAIRS in path.name else stream.readline()
    return any(point in head for point in points)


def _narrow(path: Path, points: Collection[str]) -> None:
    """Leave the columns of other points; a table that has none goes."""
    rows = [line.split(",") for line in path.read_text("utf-8").splitlines()]
    head = rows[0]
    kept = [place for place, name in enumerate(head) if name not in points]
    if len(kept) < 2:
        _delete(path)
    elif len(kept) < len(head):
        write_file(path, "".join(",".join(row[n] for n in kept) + "\n" for row in rows))


def _delete(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise ConfigurationError(f"cannot be deleted ({error.strerror})", file=path) from error
