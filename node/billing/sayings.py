"""Which of two files of the operator's was said later, and which file said a step last.

Files come in any order, and what is kept must not depend on it. So a file stands where it says that
it was written, or, where it does not say, when it was imported first; of two of one second, the
later by name. And the file that said a step last is kept with the step, also if it only repeated
what was kept: what an older file says otherwise was taken back by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from node.billing.curve_rows import CurveStorage, Row
from node.billing.reading_again import first_name
from node.billing.series import DAY_S

__all__ = ["NOBODY", "Sayings", "Stand", "said_text"]

NOBODY: Final = 0
"""Stands where no import said anything; imports are numbered from 1."""

_PUBLISHED, _IMPORTED = 4, 5
"""Columns of an import."""


@dataclass(frozen=True, slots=True, order=True)
class Stand:
    """Where a file stands among all: by the time of its writing, then by name and content."""

    at_s: int
    file: str
    digest: str


class Sayings:
    """The stands of imports, each looked up once."""

    def __init__(self, storage: CurveStorage) -> None:
        self._storage = storage
        self._stands: dict[int, Stand] = {}

    def stand(self, number: int) -> Stand:
        """Where an import's file stands. One that is read again stands where it did."""
        if number not in self._stands:
            row = self._storage.import_numbered(number)
            file, digest = first_name(row[1]), row[2]
            at_s = row[_PUBLISHED]
            if at_s is None:
                first = self._storage.import_of(digest, file) or number
                at_s = self._storage.import_numbered(first)[_IMPORTED]
            self._stands[number] = Stand(at_s, file, digest)
        return self._stands[number]

    def last(self, numbers: Iterable[int]) -> int:
        """The import that was said last of some; NOBODY if there are none."""
        said = {number for number in numbers if number != NOBODY}
        return max(said, key=self.stand) if len(said) > 1 else next(iter(said), NOBODY)

    def over(self, rows: Sequence[Row], from_s: int, to_s: int, step_s: int) -> list[int]:
        """Which import said last each step of whole days, from the rows of days."""
        per_day = DAY_S // step_s
        said = [NOBODY] * ((to_s - from_s) // step_s)
        for row in rows:
            parts = _parts(row)
            first = (row[0] - from_s) // step_s
            said[first : first + per_day] = (
                parts * (per_day // len(parts))
                if len(parts) in {1, per_day}
                else self._fitted(parts, per_day)
            )
        return said

    def _fitted(self, parts: Sequence[int], steps: int) -> Iterator[int]:
        """A day's parts on other steps: of all that overlap a step, the last."""
        for step in range(steps):
            first, after = step * len(parts) // steps, -(-(step + 1) * len(parts) // steps)
            yield self.last(parts[first:after])


def _parts(row: Row) -> list[int]:
    version, numbers = row[1], row[3]
    return [version] if numbers is None else list(map(int, numbers.split(",")))


def said_text(said: Sequence[int], quality: bytes, version: int) -> str | None:
    """Who said a day's steps, for a row of this version; steps without a value are nobody's."""
    numbers = {number for number, code in zip(said, quality, strict=True) if code}
    if numbers == {version}:
        return None
    return ",".join(map(str, numbers if len(numbers) == 1 else said))
