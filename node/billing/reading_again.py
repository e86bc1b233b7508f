"""Reading a file again of which more can be taken than before.

Some rows are refused for want of what a person knows: the segment of a point, or that a point takes
part at all. Once the operation says it, the same file gives more. It is kept as a further import,
which stands where the first does: so it undoes nothing that a later file said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from node.billing.conformity import Finding

__all__ = [
    "KEEPING",
    "ImportOf",
    "first_name",
    "named_again",
    "newest_reading",
    "refused_in_reading",
]

ImportOf = Callable[[str, str], int | None]
"""The import of a file by its digest and name; None if it was not imported."""

KEEPING: Final = frozenset(
    {"same_value", "less_trusted", "older_file", "other_step", "index_differs"}
)
"""Rules of findings that come of what is kept already, and not of the file alone."""

_AGAIN: Final = re.compile(r", read again( \(\d+\))?$")


def named_again(file: str, times: int) -> str:
    """The name of a file that is read again once more, or more often; 0 is the first reading."""
    more = f" ({times})" if times > 1 else ""
    return f"{file}, read again{more}" if times else file


def first_name(file: str) -> str:
    """The name under which a file was read first."""
    return _AGAIN.sub("", file)


def newest_reading(import_of: ImportOf, digest: str, file: str) -> tuple[int, int]:
    """The newest import of this very file, and how often it was read; 0 and 0 for none."""
    known = times = 0
    while number := import_of(digest, named_again(file, times)):
        known, times = number, times + 1
    return known, times


def refused_in_reading(findings: Iterable[Finding]) -> int:
    """The rows that were refused when a file was read."""
    return sum(finding.rows for finding in findings if finding.rule not in KEEPING)
