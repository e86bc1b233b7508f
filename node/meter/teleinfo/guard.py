"""What stands between single frames and registers that are settled on.

The codec judges each frame alone, and six bits of checksum let some wrong digits pass. The guard
gives out a register only if

* the meter's own redundancy holds in the frame (standard mode; ``sums.py``);
* the frame before it and the frame after it agree in order: no register of the three falls, and
  none grows faster than the connection allows. So a wrong value that is given out could only lie
  between its right neighbours, a second or two of energy away; this costs one frame of delay;
* for the export, which has no redundancy, its load curve does not contradict it.

Nothing is lost by what is not given out: registers are cumulative, the next good one says it all.
Single frames still show on a live display what they say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Final

from node.meter.codec import MeterFrame
from node.meter.guard import Limits
from node.meter.teleinfo.frames import KINDS, SHORT_FRAME, maximum_power_va, option_indices
from node.meter.teleinfo.labels import DISTRIBUTOR_INDICES, SUPPLIER_INDICES, TicMode
from node.meter.teleinfo.load_curve import CurveCheck, Direction, load_curve
from node.meter.teleinfo.status import decode_stge
from node.meter.teleinfo.sums import Offsets, Relation, SumCheck

MOST_HOUSEHOLD_W: Final = 36_000
"""The strongest connection that a Linky is built for."""

LATENESS_S: Final = 3
"""By how much the arrivals of two frames may lie closer together than their measurements."""

MOST_APART_S: Final = 60
"""Frames farther apart do not vouch for each other."""

FRAMES_TO_SWAP: Final = 3
"""Frames in a row with another meter number before it is a meter of its own and no damage."""

EXPORT_CONTRADICTED: Final = "export withheld: the load curve CCAIN contradicts the index EAIT"
IMPORT_CONTRADICTED: Final = "the load curve CCASN contradicts the index EAST"


_STANDARD_REGISTERS: Final = ("EAST", *SUPPLIER_INDICES, *DISTRIBUTOR_INDICES, "EAIT")


class Doubt(StrEnum):
    """Why nothing was given out for a frame."""

    NO_INDEX = "no_index"
    NO_METER_ID = "no_meter_id"
    OTHER_METER = "other_meter"
    EXPORT_MISSING = "export_missing"
    SUMS_INCOMPLETE = "sums_incomplete"
    SUMS_UNKNOWN = "sums_unknown"
    SUMS_MOVED = "sums_moved"
    OUT_OF_ORDER = "out_of_order"


_DOUBT_OF_RELATION: Final[Mapping[Relation, Doubt]] = {
    Relation.INCOMPLETE: Doubt.SUMS_INCOMPLETE,
    Relation.LEARNING: Doubt.SUMS_UNKNOWN,
    Relation.MOVED: Doubt.SUMS_MOVED,
}


@dataclass(frozen=True, slots=True)
class Vouched:
    """A frame whose registers may be settled on, and when the host saw it. ``export_wh`` is None
    where the meter does not tell it or the guard withholds it; the frame's notes then say why."""

    frame: MeterFrame
    seen_at_s: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A frame that is good by itself, and whether it continues from the one before."""

    frame: MeterFrame
    seen_at_s: int
    continues: bool


class TeleinfoGuard:
    """Guards one stream. It keeps one frame, counters, and the learned differences of the sums.

    ``offsets`` are those learned earlier, to be stored with ``sums.offsets``. The powers are the
    most that the connection lets through each way; a frame that says less for the import is
    believed.
    """

    __slots__ = (
        "_curves",
        "_last",
        "_max_export_w",
        "_max_import_w",
        "_meter_id",
        "_newcomer",
        "_newcomer_frames",
        "doubts",
        "sums",
    )

    def __init__(
        self,
        *,
        max_import_w: int = MOST_HOUSEHOLD_W,
        max_export_w: int = MOST_HOUSEHOLD_W,
        offsets: Offsets | None = None,
    ) -> None:
        self.sums = SumCheck(offsets)
        self.doubts: Counter[Doubt] = Counter()
        self._max_import_w = max_import_w
        self._max_export_w = max_export_w
        self._meter_id: str | None = None
        self._newcomer: str | None = None
        self._newcomer_frames = 0
        self._last: _Candidate | None = None
        self._curves = {direction: CurveCheck() for direction in Direction}

    def admit(self, frame: MeterFrame, seen_at_s: int) -> Vouched | None:
        """Take the next frame, seen at a time by a clock that does not go back. Returns the frame
        before it once this one vouches for it."""
        if SHORT_FRAME in frame.notes:
            return None
        doubt = self._doubt(frame)
        if doubt is not None:
            self.doubts[doubt] += 1
            return None
        before = self._last
        continues = before is not None and self._continues(before, frame, seen_at_s)
        self._last = _Candidate(frame, seen_at_s, continues)
        if before is None:
            return None
        if not continues:
            self.doubts[Doubt.OUT_OF_ORDER] += 1
            return None
        return self._vouch(before) if before.continues else None

    def _doubt(self, frame: MeterFrame) -> Doubt | None:
        """What speaks against a frame by itself."""
        if frame.meter_id is None:
            return Doubt.NO_METER_ID
        if not self._is_of_meter(frame.meter_id):
            return Doubt.OTHER_METER
        if frame.import_wh is None:
            return Doubt.NO_INDEX
        if frame.kind == KINDS[TicMode.STANDARD]:
            relation = self.sums.observe(frame.fields)
            if relation is not Relation.HOLDS:
                return _DOUBT_OF_RELATION[relation]
            if frame.export_wh is None and not _is_consumer(frame):
                return Doubt.EXPORT_MISSING
        return None

    def _is_of_meter(self, meter_id: str) -> bool:
        """Whether this is the meter as known; another number must repeat itself to be believed."""
        if self._meter_id is None:
            self._meter_id = meter_id
        if meter_id == self._meter_id:
            self._newcomer, self._newcomer_frames = None, 0
            return True
        self._newcomer_frames = self._newcomer_frames + 1 if meter_id == self._newcomer else 1
        self._newcomer = meter_id
        if self._newcomer_frames < FRAMES_TO_SWAP:
            return False
        self._meter_id, self._newcomer, self._newcomer_frames = meter_id, None, 0
        self.sums = SumCheck()
        self._last = None
        self._curves = {direction: CurveCheck() for direction in Direction}
        return True

    def _continues(self, before: _Candidate, frame: MeterFrame, seen_at_s: int) -> bool:
        """Whether a frame can follow from the one before: order, and no more than can have flowed.

        Time is the longer of what host and meter say has passed.
        """
        passed_s = seen_at_s - before.seen_at_s
        if frame.taken_at_s is not None and before.frame.taken_at_s is not None:
            by_meter_s = frame.taken_at_s - before.frame.taken_at_s
            if by_meter_s < 0:
                return False
            passed_s = max(passed_s, by_meter_s)
        if passed_s > MOST_APART_S or not _in_order(before.frame, frame):
            return False
        power_va = maximum_power_va(frame.fields)
        import_w = self._max_import_w if power_va is None else min(self._max_import_w, power_va)
        return _can_flow(
            before.frame.import_wh, frame.import_wh, _limits(import_w), passed_s
        ) and _can_flow(
            before.frame.export_wh, frame.export_wh, _limits(self._max_export_w), passed_s
        )

    def _vouch(self, candidate: _Candidate) -> Vouched:
        frame = candidate.frame
        if self._contradicts(Direction.IMPORT, frame, frame.import_wh):
            frame = replace(frame, notes=(*frame.notes, IMPORT_CONTRADICTED))
        if self._contradicts(Direction.EXPORT, frame, frame.export_wh):
            notes = (*frame.notes, EXPORT_CONTRADICTED)
            frame = replace(frame, export_wh=None, notes=notes)
        return Vouched(frame, candidate.seen_at_s)

    def _contradicts(
        self, direction: Direction, frame: MeterFrame, register_wh: int | None
    ) -> bool:
        """Whether the last period that could be compared disagrees with the curve."""
        if register_wh is None or frame.taken_at_s is None:
            return False
        curve = load_curve(frame.fields, direction)
        return self._curves[direction].observe(frame.taken_at_s, register_wh, curve) is False


def _in_order(before: MeterFrame, after: MeterFrame) -> bool:
    """Whether no certified register falls from one frame to the next."""
    if before.kind != after.kind:
        return False
    standard = after.kind == KINDS[TicMode.STANDARD]
    earlier, later = before.fields, after.fields
    # All have nine digits, so that text compares as numbers do.
    return all(
        earlier[label] <= later[label]
        for label in (_STANDARD_REGISTERS if standard else option_indices(later))
        if label in earlier and label in later
    )


@lru_cache(maxsize=64)
def _limits(max_power_w: int) -> Limits:
    return Limits(max_power_w, lateness_s=LATENESS_S)


def _can_flow(before_wh: int | None, after_wh: int | None, limits: Limits, passed_s: int) -> bool:
    if before_wh is None or after_wh is None:
        return before_wh is after_wh
    return 0 <= after_wh - before_wh <= limits.may_grow_wh(passed_s)


def _is_consumer(frame: MeterFrame) -> bool:
    """Whether the meter itself says that it tells no export."""
    status = frame.fields.get("STGE")
    return status is not None and not decode_stge(status).producer
