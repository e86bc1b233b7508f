"""Enedis's historical order (HDM): one point's curve, stamped with offset, mostly without a step.

Two lines of description (with the unit in them, or none), then ``Horodate;Valeur``. The step is not
stated and may change where the meter was set anew, so it is read from the distances between stamps;
a change counts only if it lasts, because a few missing rows look the same for a moment. A file with
its unit is of a Linky meter, stamped at the END; one without is of a C4 meter, in W all the same,
stamped at the START.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import IO, Final

from node.billing.conformity import FindingClass, Treatment
from node.billing.formats.enedis import OTHER_QUANTITY, minutes_s, side_by_segment
from node.billing.formats.head import Format, Head, folded
from node.billing.formats.r63_csv import COLUMNS_FAULT, columns_of
from node.billing.formats.text_lines import cells_of, text_lines
from node.billing.identifiers import prm_fault
from node.billing.rows import Intake, Refusal, Stamped, TooMuch, Unreadable
from node.billing.series import STEPS_S, Direction, StepQuality
from node.billing.stamps import NO_STAMP, SKIPPED

__all__ = ["HDM", "steps_between"]

_COLUMNS: Final = {
    "prm": r"identifiant prm",
    "kind": r"type de donn.{0,3}es",
    "quantity": r"grandeur physique",
    "business": r"grandeur m.{0,3}tier",
    "stage": r".{0,3}tape m.{0,3}tier",
    "unit": r"unit.{0,2}",
    "step": r"pas en minutes",
}
_MUST: Final = frozenset({"prm", "kind", "quantity", "business", "unit"})
_DIRECTIONS: Final = {
    "consommation": Direction.WITHDRAWAL,
    "production": Direction.INJECTION,
}
MAX_BLOCK_ROWS: Final = 1_000_000
"""Nine years at five minutes; the rows of a point wait together until their step is known."""

_LASTING: Final = 3
"""Distances of this many rows in a row make a step; fewer may be missing rows."""

_NO_STEP: Final = Refusal(
    FindingClass.NON_STANDARD,
    Treatment.ASK,
    "step",
    "the file states no step, and the distances to the other rows show none",
)


@dataclass(slots=True)
class _Block:
    """One description and the rows under it."""

    prm: str
    direction: Direction | None
    unit: str
    step_s: int
    corrected: bool
    is_curve: bool
    lines: list[int] = field(default_factory=list)
    rows: list[tuple[str, str]] = field(default_factory=list)


def _recognises(head: Head) -> bool:
    line = head.first_line
    return "identifiant prm" in line and "pas en minutes" in line


def _read(stream: IO[bytes], intake: Intake, _: Head) -> None:
    reader = _Reader(intake)
    try:
        for number, line in text_lines(stream):
            if line.strip():
                reader.take(number, line)
    except Unreadable:
        reader.count_waiting()
        raise
    reader.finish()


class _Reader:
    """Follows descriptions and the rows under them."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._block: _Block | None = None
        self._columns: dict[str, int] | None = None
        self._width = 0

    def take(self, number: int, line: str) -> None:
        """One line that is not blank."""
        start = folded(line[:64])
        if start.startswith("identifiant prm"):
            self._close()
            self._columns, self._width = columns_of(line, _COLUMNS, _MUST), len(cells_of(line))
        elif self._columns is not None:
            cells = [cell.strip() for cell in cells_of(line)]
            if len(cells) != self._width:
                raise Unreadable("the description has another number of columns", number)
            self._block = _block({name: cells[at] for name, at in self._columns.items()})
            self._columns = None
        elif self._block is None:
            raise Unreadable("rows before any description", number)
        elif not start.startswith("horodate;"):
            _keep(self._intake, self._block, number, line)

    def finish(self) -> None:
        """The end of the file."""
        if self._block is None:
            raise Unreadable("no description of a point")
        self._close()

    def count_waiting(self) -> None:
        """Rows that will not be handed over, because the file is broken."""
        if self._block is not None:
            self._intake.count(len(self._block.rows))

    def _close(self) -> None:
        if self._block is not None:
            block, self._block = self._block, None
            _hand_over(self._intake, block)


def _keep(intake: Intake, block: _Block, number: int, line: str) -> None:
    cells = cells_of(line)
    if len(cells) != 2:
        intake.refuse(COLUMNS_FAULT, number, point_id=block.prm, raw=line)
        return
    if len(block.rows) >= MAX_BLOCK_ROWS:
        raise TooMuch(f"more than {MAX_BLOCK_ROWS} rows of one point")
    block.lines.append(number)
    block.rows.append((cells[0].strip(), cells[1].strip()))


def _block(of: dict[str, str]) -> _Block:
    quantity = folded(of["quantity"])
    active = quantity.endswith(("nergie active", "puissance active"))
    return _Block(
        of["prm"],
        _DIRECTIONS.get(folded(of["business"])) if active else None,
        of["unit"],
        minutes_s(of.get("step", "")),
        "corr" in folded(of.get("stage", "")),
        "courbe" in folded(of["kind"]),
    )


def _hand_over(intake: Intake, block: _Block) -> None:
    if block.direction is None or not block.is_curve:
        for line in block.lines:
            intake.refuse(OTHER_QUANTITY, line, point_id=block.prm)
        return
    stamped = Stamped.AT_END if block.unit else Stamped.AT_START
    stamps = [intake.stamps.read(stamp) for stamp, _ in block.rows]
    known = sorted({abs(at) for at in stamps if at not in {NO_STAMP, SKIPPED}})
    steps = dict(zip(known, steps_between(known, stamped), strict=True))
    quality = StepQuality.CORRECTED if block.corrected else StepQuality.METERED
    unsure = _unsure(intake, block, stamped, set(steps.values()))
    for line, stamp_s, (stamp, value) in zip(block.lines, stamps, block.rows, strict=True):
        step_s = block.step_s or steps.get(abs(stamp_s), STEPS_S[0])
        refusal = intake.refusal_of(block.prm, block.direction, prm_fault(block.prm))
        refusal = refusal or unsure or (None if step_s else _NO_STEP)
        if refusal is not None:
            intake.refuse(refusal, line, point_id=block.prm, raw=f"{stamp};{value}")
            continue
        lane = intake.lane(
            block.prm, block.direction, step_s=step_s, unit=block.unit or "W", stamped=stamped
        )
        lane.add(line, stamp, value, quality)


def _unsure(intake: Intake, block: _Block, stamped: Stamped, steps_s: set[int]) -> Refusal | None:
    """Why the side of the stamps is not certain: unit, step and segment must tell one story."""
    perimeter = intake.expected.perimeter
    stated = side_by_segment("" if perimeter is None else perimeter.segment(block.prm))
    steps_s = {block.step_s} if block.step_s else steps_s - {0}
    linky = stamped is Stamped.AT_END
    fits = all((step_s > 600) == linky for step_s in steps_s)
    if stated is stamped or (stated is None and fits):
        return None
    return Refusal(
        FindingClass.NON_STANDARD,
        Treatment.ASK,
        "stamp_side",
        f"unit {block.unit[:8]!r}, steps and segment do not agree on whether a stamp is the start"
        " or the end of its step; state the point's segment in the perimeter",
    )


def steps_between(stamps: Sequence[int], stamped: Stamped) -> list[int]:
    """The step of each of these stamps, which rise, from their distances; 0 where none shows."""
    distances = [after - before for before, after in pairwise(stamps)]
    credible: list[int] = []
    for distance, run in groupby(distances):
        length = len(list(run))
        lasts = length >= _LASTING or len(distances) == length
        credible.extend([distance if lasts and distance in STEPS_S else 0] * length)
    steps = []
    for index in range(len(stamps)):
        before = credible[index - 1] if index else 0
        after = credible[index] if index < len(credible) else 0
        own, other = (before, after) if stamped is Stamped.AT_END else (after, before)
        steps.append(own or other)
    return steps


HDM: Final = Format("hdm", "Enedis historical order (HDM), CSV", "Europe/Paris", _recognises, _read)
