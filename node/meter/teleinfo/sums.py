"""The meter's own redundancy: EAST = sum of EASF01..10 = sum of EASD01..04.

The same energy is counted three times, by total, by the supplier's calendar and by the
distributor's. A calendar change may leave a constant difference, so the difference is learned, and
what counts is that it does not move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from node.meter.teleinfo.labels import DISTRIBUTOR_INDICES, SUPPLIER_INDICES

RANGE_WH: Final = 10**9
"""Nine digits: every register starts again from 0 here."""

_NEEDED: Final = ("EAST", *SUPPLIER_INDICES, *DISTRIBUTOR_INDICES)

FRAMES_TO_LEARN: Final = 3
"""Frames in a row that must show the same difference, other than none, before it is learned."""

FRAMES_TO_MOVE: Final = 60
"""Frames in a row before a difference that moved is learned anew: about two minutes in which no
register is given out. Noise does not repeat itself that often; a new calendar does."""


@dataclass(frozen=True, slots=True)
class Offsets:
    """By how much the total exceeds each of its two splits, modulo the range of a register."""

    supplier_wh: int
    distributor_wh: int

    def words(self) -> str:
        """The differences with their signs, for a person."""
        supplier_wh, distributor_wh = (
            offset_wh - RANGE_WH if 2 * offset_wh > RANGE_WH else offset_wh
            for offset_wh in (self.supplier_wh, self.distributor_wh)
        )
        return f"sum(EASF) {supplier_wh:+} Wh and sum(EASD) {distributor_wh:+} Wh"


NO_OFFSETS: Final = Offsets(0, 0)


class Relation(Enum):
    """What a frame says about the redundancy."""

    HOLDS = "holds"
    INCOMPLETE = "incomplete"
    LEARNING = "learning"
    MOVED = "moved"


def offsets_of(fields: Mapping[str, str]) -> Offsets | None:
    """The differences in one frame, None if one of the fifteen registers is missing."""
    said = [fields[label] for label in _NEEDED if label in fields]
    if len(said) < len(_NEEDED):
        return None
    total_wh, *split_wh = map(int, said)
    supplier_wh = sum(split_wh[: len(SUPPLIER_INDICES)])
    distributor_wh = sum(split_wh) - supplier_wh
    supplier_wh, distributor_wh = total_wh - supplier_wh, total_wh - distributor_wh
    if supplier_wh == distributor_wh == 0:
        return NO_OFFSETS
    return Offsets(supplier_wh % RANGE_WH, distributor_wh % RANGE_WH)


class SumCheck:
    """Learns a meter's differences when first seen, and notices when they move.

    No difference at all, as the specification has it, is believed at once. ``alarms`` counts how
    often a difference that had been learned moved; ``offsets`` may be stored and handed in again.
    """

    __slots__ = ("_contender", "_frames", "_is_moving", "alarms", "offsets")

    def __init__(self, offsets: Offsets | None = None) -> None:
        self.offsets = offsets
        self.alarms = 0
        self._contender: Offsets | None = None
        self._frames = 0
        self._is_moving = False

    def observe(self, fields: Mapping[str, str]) -> Relation:
        """Judge one frame of the standard mode."""
        seen = offsets_of(fields)
        if seen is None:
            return Relation.INCOMPLETE
        if self.offsets is None and seen == NO_OFFSETS:
            self.offsets = seen
        if seen == self.offsets:
            self._contender, self._frames, self._is_moving = None, 0, False
            return Relation.HOLDS
        return self._contend(seen)

    def _contend(self, seen: Offsets) -> Relation:
        self._frames = self._frames + 1 if seen == self._contender else 1
        self._contender = seen
        is_new = self.offsets is None
        # One frame may be noise; the same difference twice is something that a person should know.
        if not is_new and self._frames == 2 and not self._is_moving:
            self._is_moving = True
            self.alarms += 1
        if self._frames < (FRAMES_TO_LEARN if is_new else FRAMES_TO_MOVE):
            return Relation.LEARNING if is_new else Relation.MOVED
        self.offsets = seen
        self._contender, self._frames, self._is_moving = None, 0, False
        return Relation.HOLDS
