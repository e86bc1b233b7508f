"""What makes a frame believed, protocol by protocol. The last word on its registers has the guard.

* A Linky's frames are vouched for by ``TeleinfoGuard``: its checksum has six bits.
* On every other serial line a frame is believed once the frame before it and the frame after it
  agree in order; where there is no checksum, two before it and two after it. Two bytes of checksum
  let one damaged frame in 65,536 pass. A wrong register that still comes out lies between its right
  neighbours.
* Messages of a network come whole or not at all: they are believed at once, for minutes may pass
  until the next. But a broker repeats them, keeps them for days, and gives them out late.

Time is the node's. What a meter says of the time is used for one thing: to know a message again.
"""

from __future__ import annotations

from collections import Counter, deque
from enum import StrEnum
from functools import lru_cache
from typing import Final, Protocol

from node.meter.arrivals import Arrived
from node.meter.codec import MeterFrame
from node.meter.guard import Limits
from node.meter.p1 import NO_CHECKSUM
from node.meter.settings import MeterSettings, Way
from node.meter.sml import NO_PIN
from node.meter.teleinfo import Offsets, TeleinfoGuard, Vouched, maximum_power_va
from node.meter.teleinfo.guard import LATENESS_S, MOST_APART_S
from node.model import EvidenceClass

MOST_STALE: Final = 5
"""Messages in a row that are older than the last one. If more of them come, then the meter's clock
was set back and its registers fell: that is for the guard and the owner."""

MOST_AT_ONE_TIME: Final = 5
"""Messages that say other values at the time of the last one. If more of them come, then the
meter's clock stands still, and is not asked until it moves again. Of such a meter the same message
so many times over is a meter at rest, and no broker that repeats itself."""

PERIODS_APART: Final = 4
"""Frames that lie farther apart than so many periods do not vouch for each other."""

MAX_DEVICES: Final = 16
"""Devices whose last message is remembered; a household has a few."""

WITHOUT_PIN_WH: Final = 1_000
"""A German meter without its PIN tells whole kWh."""

NEIGHBOURS: Final = 1
NEIGHBOURS_WITHOUT_CHECKSUM: Final = 2
"""How many frames on each side must agree with one. On a bad line every tenth one without checksum
says other digits: with one neighbour a million damaged frames left two values that could not be
true, with two neighbours none (`scripts/campaign frames`)."""

LINES_WITHOUT_NETWORK: Final = frozenset({Way.SERIAL, Way.TCP, Way.FILE})
"""A serial line; TCP brings the same bytes from a serial line elsewhere, a file is a recording."""

_WITHOUT_CHECKSUM: Final = frozenset({"emon", "citizenwatt"})
"""Kinds whose lines never have one; of P1 telegrams each one says."""

_MESSAGES: Final = frozenset({"tasmota", "shelly", "sunspec", "json"})
"""Kinds that are never a serial stream, even in a file."""


class Doubt(StrEnum):
    """Why nothing was given out for a frame; a Linky's guard has reasons of its own besides."""

    RETAINED = "retained"
    OUT_OF_ORDER = "out_of_order"
    REPEATED = "repeated"
    SAME_TIME_OTHER_VALUES = "same_time_other_values"
    STALE = "stale"


CLOCK_STANDS: Final = "the meter's clock stands still: it is not believed"
"""The note of a device whose messages all say the same time and other values."""


@lru_cache(maxsize=64)
def _limits(max_power_w: int, resolution_wh: int, evidence_class: EvidenceClass) -> Limits:
    return Limits(
        max_power_w,
        resolution_wh=resolution_wh,
        may_restart=evidence_class is EvidenceClass.C,
        lateness_s=LATENESS_S,
    )


def import_limits(frame: MeterFrame, settings: MeterSettings) -> Limits:
    """What the import register of a frame can have grown by: no more than its owner says, nor than
    a Linky says of its connection."""
    power_va = maximum_power_va(frame.fields) if frame.kind.startswith("linky") else None
    max_power_w = settings.max_power_w if power_va is None else min(settings.max_power_w, power_va)
    return _limits(max_power_w, _resolution_wh(frame, settings), frame.evidence_class)


def export_limits(frame: MeterFrame, settings: MeterSettings) -> Limits:
    """The same for the export: what a plant may feed in is not in any frame."""
    return _limits(settings.max_power_w, _resolution_wh(frame, settings), frame.evidence_class)


def _resolution_wh(frame: MeterFrame, settings: MeterSettings) -> int:
    return WITHOUT_PIN_WH if NO_PIN in frame.notes else settings.resolution_wh


class Voucher(Protocol):
    """Judges the frames of one stream or device, in the order in which they came."""

    def admit(self, frame: MeterFrame, seen_at_s: int) -> Vouched | None:
        """Take the next frame; return one whose registers may be guarded, with its own time."""
        ...


class OrderVoucher:
    """Gives a frame out when its neighbours agree with it in order: from one to the next no
    register falls, and none grows faster than the connection allows. Costs a frame of delay, two
    without a checksum."""

    __slots__ = ("_chain", "_most_apart_s", "_settings", "doubts")

    def __init__(self, settings: MeterSettings, doubts: Counter[str]) -> None:
        self.doubts = doubts
        self._settings = settings
        self._most_apart_s = max(MOST_APART_S, PERIODS_APART * settings.period_s)
        self._chain: deque[Vouched] = deque(maxlen=2 * NEIGHBOURS_WITHOUT_CHECKSUM + 1)

    def admit(self, frame: MeterFrame, seen_at_s: int) -> Vouched | None:
        """Take the next frame; return the one that it was the last to vouch for."""
        if frame.import_wh is None and frame.export_wh is None:
            return None
        if self._chain and not self._continues(self._chain[-1], frame, seen_at_s):
            self.doubts[Doubt.OUT_OF_ORDER] += 1
            self._chain.clear()
        self._chain.append(Vouched(frame, seen_at_s))
        neighbours = _neighbours_of(frame)
        if len(self._chain) < 2 * neighbours + 1:
            return None
        return self._chain[-1 - neighbours]

    def _continues(self, before: Vouched, frame: MeterFrame, seen_at_s: int) -> bool:
        passed_s = seen_at_s - before.seen_at_s
        last = before.frame
        # What the earlier one says of its resolution holds for the step between the two.
        most_wh = export_limits(last, self._settings).may_grow_wh(passed_s)
        return (
            passed_s <= self._most_apart_s
            and frame.meter_id == last.meter_id
            and _can_grow(last.import_wh, frame.import_wh, most_wh)
            and _can_grow(last.export_wh, frame.export_wh, most_wh)
        )


def _neighbours_of(frame: MeterFrame) -> int:
    has_none = frame.kind in _WITHOUT_CHECKSUM or NO_CHECKSUM in frame.notes
    return NEIGHBOURS_WITHOUT_CHECKSUM if has_none else NEIGHBOURS


def _can_grow(before_wh: int | None, after_wh: int | None, most_wh: int) -> bool:
    if before_wh is None or after_wh is None:
        return before_wh is after_wh
    return 0 <= after_wh - before_wh <= most_wh


class MessageVoucher:
    """Gives a message out at once, unless it came before, or is older than one that was given out:
    its time is, and a register of it is lower. Of a clock that stands still, a lower register alone
    says so."""

    __slots__ = ("_at_one_time", "_last", "_repeated", "_stale", "doubts")

    def __init__(self, doubts: Counter[str]) -> None:
        self.doubts = doubts
        self._last: MeterFrame | None = None
        self._stale = 0
        self._repeated = 0
        self._at_one_time = 0

    @property
    def clock_stands(self) -> bool:
        """Whether the device's clock is not believed."""
        return self._at_one_time > MOST_AT_ONE_TIME

    def admit(self, frame: MeterFrame, seen_at_s: int) -> Vouched | None:
        """Take the next message; return it, if nothing speaks against it."""
        if frame.import_wh is None and frame.export_wh is None:
            return None
        doubt = None if self._last is None else self._doubt(self._last, frame)
        if doubt is Doubt.STALE and self._stale >= MOST_STALE:
            doubt = None
        if doubt is not None:
            self.doubts[doubt] += 1
            self._stale += doubt is Doubt.STALE
            self._repeated += doubt is Doubt.REPEATED
            return None
        if self._last is not None and self._last.taken_at_s != frame.taken_at_s:
            self._at_one_time = 0
        self._last = frame
        self._stale = self._repeated = 0
        return Vouched(frame, seen_at_s)

    def _doubt(self, last: MeterFrame, frame: MeterFrame) -> Doubt | None:
        """What speaks against a message, given the last one. Without the meter's own time,
        nothing."""
        if frame.taken_at_s is None or last.taken_at_s is None or frame.meter_id != last.meter_id:
            return None
        pairs = [
            (before_wh, after_wh)
            for before_wh, after_wh in (
                (last.import_wh, frame.import_wh),
                (last.export_wh, frame.export_wh),
            )
            if before_wh is not None and after_wh is not None
        ]
        if not pairs or frame.taken_at_s > last.taken_at_s:
            return None
        has_fallen = any(after < before for before, after in pairs)
        if frame.taken_at_s < last.taken_at_s:
            return Doubt.STALE if has_fallen else None
        if all(after == before for before, after in pairs):
            is_at_rest = self.clock_stands and self._repeated >= MOST_AT_ONE_TIME
            return None if is_at_rest else Doubt.REPEATED
        self._at_one_time += 1
        if not self.clock_stands:
            return Doubt.SAME_TIME_OTHER_VALUES
        return Doubt.STALE if has_fallen else None


class Vouching:
    """Stands between a connection and the guards of the registers: one voucher for a Linky or
    another serial line, one for each device that sends messages.

    ``offsets`` are what a Linky's guard has learned, to be stored and handed in again.
    """

    __slots__ = ("_devices", "_doubts", "_linky", "_settings", "_stream")

    def __init__(self, settings: MeterSettings, offsets: Offsets | None = None) -> None:
        self._settings = settings
        self._doubts: Counter[str] = Counter()
        self._linky = TeleinfoGuard(
            max_import_w=settings.max_power_w, max_export_w=settings.max_power_w, offsets=offsets
        )
        self._stream: OrderVoucher | None = None
        self._devices: dict[str, MessageVoucher] = {}

    @property
    def offsets(self) -> Offsets | None:
        """By how much a Linky's total exceeds its splits; None for other meters."""
        return self._linky.sums.offsets

    @property
    def doubts(self) -> Counter[str]:
        """How often nothing was given out, by reason."""
        return self._doubts + Counter({str(key): n for key, n in self._linky.doubts.items()})

    def clock_stands(self, device: str | None) -> bool:
        """Whether the clock of a device that sends messages stands still."""
        voucher = self._devices.get(device or "")
        return voucher is not None and voucher.clock_stands

    def admit(self, arrived: Arrived) -> Vouched | None:
        """Take what arrived; return a frame whose registers may be guarded."""
        frame = arrived.decoded
        if not isinstance(frame, MeterFrame):
            return None
        if arrived.retained:
            self._doubts[Doubt.RETAINED] += 1
            return None
        return self._voucher_of(frame).admit(frame, arrived.at_s)

    def _voucher_of(self, frame: MeterFrame) -> Voucher:
        if frame.kind.startswith("linky"):
            return self._linky
        if frame.kind not in _MESSAGES and self._settings.way in LINES_WITHOUT_NETWORK:
            if self._stream is None:
                self._stream = OrderVoucher(self._settings, self._doubts)
            return self._stream
        device = frame.meter_id or ""
        if device not in self._devices and len(self._devices) >= MAX_DEVICES:
            self._devices.clear()
        return self._devices.setdefault(device, MessageVoucher(self._doubts))
