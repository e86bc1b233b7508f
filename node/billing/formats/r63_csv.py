"""Enedis R63 as CSV: load curves on order, one row a step, up to a hundred points in a file.

Columns come with or without accents, and some may lack, so they are found by their names. Bare
stamps are in the legal time of France. Nearly all rows differ from the one before in stamp and
value only: such a run is read without looking at its other cells again, which is what makes a year
of a hundred points a matter of seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Final

from node.billing.amounts import NO_NUMBER
from node.billing.conformity import FindingClass, Treatment
from node.billing.formats.enedis import CurveRow, enedis_lane
from node.billing.formats.head import Format, Head, folded
from node.billing.formats.text_lines import cells_of, text_lines
from node.billing.rows import Intake, Lane, Refusal, Unreadable
from node.billing.series import StepQuality
from node.billing.stamps import SKIPPED

__all__ = ["R63_CSV", "columns_of"]

# What a lost or doubled accent leaves of a letter is matched by the dots.
_COLUMNS: Final = {
    "prm": r"identifiant prm",
    "quantity": r"grandeur physique",
    "business": r"grandeur m.{0,3}tier",
    "stage": r"etape m.{0,3}tier|.{0,3}tape m.{0,3}tier",
    "unit": r"unit.{0,2}",
    "stamp": r"horodate",
    "value": r"valeur",
    "nature": r"nature",
    "step": r"pas",
    "likelihood": r"indice de vraisemblance",
}
_MUST: Final = frozenset({"prm", "quantity", "business", "unit", "stamp", "value", "step"})
COLUMNS_FAULT: Final = Refusal(
    FindingClass.CORRUPT, Treatment.ASK, "columns", "another number of columns than the header"
)


def columns_of(header: str, patterns: Mapping[str, str], must: frozenset[str]) -> dict[str, int]:
    """Where the columns stand. Raises Unreadable if one that must be there is not."""
    names = [folded(cell) for cell in cells_of(header)]
    found = {}
    for column, pattern in patterns.items():
        places = [place for place, name in enumerate(names) if re.fullmatch(pattern, name)]
        if len(places) > 1:
            raise Unreadable(f"the column {column} is there {len(places)} times", 1)
        if places:
            found[column] = places[0]
    missing = sorted(must - set(found))
    if missing:
        raise Unreadable(f"no column for {', '.join(missing)}", 1)
    return found


def _recognises(head: Head) -> bool:
    line = head.first_line
    return "identifiant prm" in line and "horodate" in line and "calendrier" not in line


@dataclass(slots=True)
class _Run:
    """Rows of one lane on consecutive lines, not handed over yet."""

    head: str
    tail: list[str]
    lane: Lane
    quality: StepQuality
    first_line: int
    stamps_s: list[int]
    values: list[int]
    refused: int = 0

    def close(self) -> None:
        """Hand them over."""
        if self.refused:
            last = self.first_line + self.refused - 1
            self.lane.refuse_all(self.first_line, last, self.refused, "")
        elif self.stamps_s:
            self.lane.take_run(self.first_line, self.stamps_s, self.values, self.quality)


class _Reader:
    def __init__(self, header: str, intake: Intake) -> None:
        self._columns = columns_of(header, _COLUMNS, _MUST)
        self._width = len(cells_of(header))
        self._intake = intake
        stamp = self._columns["stamp"]
        self._after = self._width - stamp - 2
        self._runs = stamp > 0 and self._columns["value"] == stamp + 1 and self._after > 0

    def read(self, lines: Iterator[tuple[int, str]]) -> None:
        """All rows after the header."""
        run: _Run | None = None
        splits = self._after + 2
        read_stamp = self._intake.stamps.read
        try:
            for number, line in lines:
                if run is not None:
                    cells = line.rsplit(";", splits)
                    if cells[0] == run.head and cells[3:] == run.tail:
                        if run.lane.refusal is not None:
                            run.refused += 1
                            continue
                        stamp_s, value = read_stamp(cells[1]), run.lane.amounts.read(cells[2])
                        if value > NO_NUMBER and (stamp_s > SKIPPED or stamp_s < 0):
                            run.stamps_s.append(stamp_s)
                            run.values.append(value)
                            continue
                    run.close()
                    run = None
                run = self._row(number, line)
        finally:  # a file that breaks off has its rows counted all the same
            if run is not None:
                run.close()

    def _row(self, number: int, line: str) -> _Run | None:
        """One row by itself; and what the next one is compared with."""
        if not line.strip():
            return None
        cells = cells_of(line)
        if len(cells) != self._width:
            self._intake.refuse(COLUMNS_FAULT, number, raw=line)
            return None
        cells = [cell.strip() for cell in cells]
        of = {name: cells[place] for name, place in self._columns.items()}
        lane, quality = enedis_lane(
            self._intake,
            CurveRow(
                of["prm"],
                of["business"],
                of["quantity"],
                of["unit"],
                of["step"],
                of.get("nature", ""),
                of.get("stage", ""),
                of.get("likelihood", ""),
            ),
        )
        lane.add(number, of["stamp"], of["value"], quality, line)
        if not self._runs or '"' in line:
            return None
        parts = line.rsplit(";", self._after + 2)
        return _Run(parts[0], parts[3:], lane, quality, number + 1, [], [])


def _read(stream: IO[bytes], intake: Intake, _: Head) -> None:
    lines = text_lines(stream)
    header = next(lines, (1, ""))[1]
    _Reader(header, intake).read(lines)


R63_CSV: Final = Format("r63-csv", "Enedis R63 load curve, CSV", "Europe/Paris", _recognises, _read)
