"""What the node believes of its meter: pure, no I/O, no clock. ``LiveMeter`` feeds it.

What arrives is vouched for (``vouching``), its registers are guarded and counted (``counted``), and
an instant is answered between the samples before and after it. Counted totals only ever grow, by
what the registers grew: the energies of all slots add up to the last minus the first of them,
meter by meter, whatever was lost, damaged or repeated on the way.

Another serial number is another meter. Its registers are a series of their own, and count for
nothing until the owner says that the meter was replaced; then they go on from the old one's totals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.errors import MeterError
from node.meter.arrivals import Arrived
from node.meter.codec import MeterFrame
from node.meter.guard import Verdict
from node.meter.health import MeterHealth, MeterState
from node.meter.sample_log import Sample, SampleLog
from node.meter.series import KeptState, MeterSeries, read_state, write_state
from node.meter.settings import MeterSettings
from node.meter.teleinfo import CLOCK_DEGRADED, NOT_PRODUCER, Vouched
from node.meter.vouching import CLOCK_STANDS, Vouching, export_limits, import_limits
from node.model import EvidenceClass, Quality, RegisterReading, SampleBatch
from node.ports import MeterStorage

STATE_KEY: Final = "meter"
"""Under which name a storage keeps the state of the household's meter."""

SAMPLES_TO_SWAP: Final = 3
"""Samples of another meter, with none of the known one between them, before a person is asked."""

MAX_CLOSED: Final = 16
"""Replaced meters that are remembered."""

SILENT_PERIODS: Final = 3
"""A meter that has said nothing for so many of its periods is silent."""


@dataclass(frozen=True, slots=True)
class MeterSample:
    """A sample that was vouched for: which meter's, what it said, and the totals counted by then,
    None before there are any."""

    meter_id: str
    said: Sample
    counted: RegisterReading | None


@dataclass(frozen=True, slots=True)
class _Handed:
    """What was given to a storage last; durable if the storage still has this text."""

    text: str
    batches: Sequence[SampleBatch]


class MeterBook:
    """Everything known of one household's meter. ``state`` is what an earlier book kept; raises
    MeterError if it cannot be read."""

    def __init__(self, settings: MeterSettings, state: str | None = None) -> None:
        kept = KeptState() if state is None else read_state(state)
        self._settings = settings
        self._vouching = Vouching(settings, kept.offsets)
        self._series = kept.series
        self._newcomer = kept.newcomer
        self._answered = kept.answered
        self._closed = kept.closed
        self._kept = kept.kept
        self._log = SampleLog()
        self._handed: _Handed | None = None
        self._last_at_s: int | None = None
        self._other_id: str | None = None
        self._others = 0
        self._frame: MeterFrame | None = None
        self._frame_at_s: int | None = None
        self._clock_ahead_s: int | None = None
        self._counts: Counter[str] = Counter()
        if kept.series is not None:
            self._last_at_s = kept.series.last_at_s

    def observe(self, arrived: Arrived) -> MeterSample | None:
        """Take what arrived; return the sample that it brought, which may be of a frame before."""
        frame = arrived.decoded
        if not isinstance(frame, MeterFrame):
            self._counts["rejected"] += 1
            return None
        self._counts["frames"] += 1
        if not arrived.retained:
            self._show(frame, arrived.at_s)
        vouched = self._vouching.admit(arrived)
        return None if vouched is None else self._take(vouched)

    def _show(self, frame: MeterFrame, at_s: int) -> None:
        """For a person: the last frame that says more than that the meter is there."""
        self._frame_at_s = at_s
        if frame.taken_at_s is not None:
            self._clock_ahead_s = frame.taken_at_s - at_s
        elif CLOCK_DEGRADED in frame.notes:
            self._clock_ahead_s = None
        said = (frame.import_wh, frame.export_wh, frame.power_w, frame.power_va)
        if said != (None, None, None, None):
            self._frame = frame

    def at(self, instant_s: int) -> RegisterReading | None:
        """The totals at an instant, None while no sample after it is there. The same instant again
        gives the same answer. Raises MeterError for one before everything that is known."""
        if self._answered is not None and self._answered.taken_at_s == instant_s:
            return self._answered
        series = self._series
        if series is None or not series.has_begun:
            return None
        for register in series.registers:
            if register.is_before_all(instant_s):
                raise MeterError(
                    f"meter {series.meter_id}: nothing is known of the time at {instant_s}",
                    next_step="slots are metered from the meter's first sample on",
                )
        imported, exported = (register.at(instant_s) for register in series.registers)
        if imported is None or exported is None:
            return None
        is_metered = imported.quality is exported.quality is Quality.METERED
        self._answered = series.reading_of(
            instant_s,
            imported.register_wh,
            exported.register_wh,
            Quality.METERED if is_metered else Quality.ESTIMATED,
        )
        self._fix_beginnings(series)
        return self._answered

    def latest(self) -> RegisterReading | None:
        """The totals of the newest sample; None before any."""
        if self._series is None:
            return None
        reading = self._series.reading()
        if reading is not None:
            self._fix_beginnings(self._series)
        return reading

    @property
    def frames(self) -> int:
        """How many frames were decoded."""
        return self._counts["frames"]

    @property
    def fault(self) -> MeterError | None:
        """What a person must look at before the totals can go on; None if nothing."""
        series, newcomer = self._series, self._newcomer
        if self._others >= SAMPLES_TO_SWAP:
            return MeterError(
                f"meter {self._other_id} speaks, not {self._settings.meter_id} of the settings",
                next_step="correct meter_id in the settings, or connect the right meter",
            )
        if series is not None and newcomer is not None and self._awaits_swap:
            return MeterError(
                f"meter {newcomer.meter_id} speaks where meter {series.meter_id} did",
                next_step="'daisee node confirm swap' if it was replaced, else connect the right",
            )
        if series is not None and self._awaits_restart:
            return MeterError(
                f"meter {series.meter_id}: a register goes on from another value than it had",
                next_step="check the meter; if it was reset, 'daisee node confirm restart'",
            )
        return None

    def confirm_swap(self) -> None:
        """The owner says that the meter was replaced by the one that speaks now. The old one's
        series ends with its last sample, and the totals go on with the new one. Raises ValueError
        when no other meter has been counted."""
        series, newcomer = self._series, self._newcomer
        if series is None or newcomer is None or not newcomer.has_begun:
            raise ValueError("no other meter speaks: there is no swap to confirm")
        last = series.reading()
        if last is not None:
            closed = (last.meter_id, last.taken_at_s, last.import_wh, last.export_wh)
            self._closed = (*self._closed, closed)[-MAX_CLOSED:]
        self._series = series.continued_by(newcomer)
        self._newcomer = None

    def confirm_restart(self) -> None:
        """The owner says that a register was reset: it goes on from its new value, and the step
        claims no energy. Raises ValueError when nothing is held that would go on so."""
        moved = [
            register
            for register in ([] if self._series is None else self._series.registers)
            if register.is_moved
        ]
        if not moved or self._last_at_s is None:
            raise ValueError("no register goes on from another value: there is nothing to confirm")
        for register in moved:
            register.confirm(self._last_at_s)

    def keep(self, storage: MeterStorage) -> None:
        """Hand over samples and state, once in a transaction. Whether the last one was committed
        shows in what the storage has; if not, the same samples go again."""
        if self._handed is not None and storage.meter_state(STATE_KEY) == self._handed.text:
            self._log.drop(self._handed.batches)
        batches = self._log.batches()
        for batch in batches:
            storage.add_samples(batch)
        self._kept += 1
        text = self.state()
        storage.set_meter_state(STATE_KEY, text)
        self._handed = _Handed(text, batches)

    def state(self) -> str:
        """From what a later book goes on."""
        return write_state(
            KeptState(
                self._kept,
                self._series,
                self._newcomer,
                self._answered,
                self._vouching.offsets,
                self._closed,
            )
        )

    def health(self, now_s: int, *, connected: bool, fault: str | None = None) -> MeterHealth:
        """The meter at a glance; ``fault`` is what the connection needs a person for."""
        frame, series = self._frame, self._series
        own_fault = self.fault
        return MeterHealth(
            state=self.state_at(now_s, has_fault=fault is not None),
            connected=connected,
            last_frame_at_s=self._frame_at_s,
            frames=self._counts["frames"],
            rejected=self._counts["rejected"],
            held=0 if series is None else sum(register.held for register in series.registers),
            doubts=dict(self._vouching.doubts),
            notes=self._notes(),
            meter_id=None if series is None else series.meter_id,
            power_w=None if frame is None else frame.power_w,
            power_va=None if frame is None else frame.power_va,
            registers=None if series is None else series.reading(),
            clock_ahead_s=None if CLOCK_STANDS in self._notes() else self._clock_ahead_s,
            fault=own_fault.message if own_fault is not None else fault,
        )

    def _notes(self) -> tuple[str, ...]:
        """The last frame's, and what the frames before it say of its clock."""
        frame = self._frame
        if frame is None:
            return ()
        stands = self._vouching.clock_stands(frame.meter_id)
        return (*frame.notes, CLOCK_STANDS) if stands else tuple(frame.notes)

    def state_at(self, now_s: int, *, has_fault: bool = False) -> MeterState:
        """The one thing that a person should know first."""
        frame = self._frame
        silent_s = SILENT_PERIODS * self._settings.period_s
        states = (
            (MeterState.OTHER_METER, self._others >= SAMPLES_TO_SWAP),
            (MeterState.SWAP_TO_CONFIRM, self._awaits_swap),
            (MeterState.RESTART_TO_CONFIRM, self._awaits_restart),
            (MeterState.FAULT, has_fault),
            (MeterState.WAITING, self._frame_at_s is None),
            (MeterState.SILENT, now_s - (self._frame_at_s or 0) > silent_s),
            (
                MeterState.NOT_PRODUCER,
                self._settings.producer_expected
                and frame is not None
                and NOT_PRODUCER in frame.notes,
            ),
        )
        return next((state for state, holds in states if holds), MeterState.SPEAKING)

    @property
    def _awaits_swap(self) -> bool:
        return self._newcomer is not None and self._newcomer.samples >= SAMPLES_TO_SWAP

    @property
    def _awaits_restart(self) -> bool:
        series = self._series
        return series is not None and any(register.is_moved for register in series.registers)

    def _take(self, vouched: Vouched) -> MeterSample | None:
        frame, at_s = vouched.frame, vouched.seen_at_s
        if self._last_at_s is not None and at_s < self._last_at_s:
            self._step_back(self._last_at_s - at_s + self._settings.period_s)
        self._last_at_s = at_s
        meter_id = frame.meter_id or self._settings.meter_id or frame.kind
        series = self._series_of(meter_id, frame.evidence_class)
        if series is None:
            return None
        series.samples += 1
        said = Sample(
            *(at_s, frame.import_wh, frame.export_wh, frame.power_w, frame.power_va),
            held=self._count(series, frame, at_s),
        )
        self._log.add(meter_id, said)
        self._confirm_by_settings()
        return MeterSample(meter_id, said, None if series is not self._series else series.reading())

    def _series_of(self, meter_id: str, evidence_class: EvidenceClass) -> MeterSeries | None:
        """The series that a sample belongs to: the meter's, or a newcomer's."""
        named = self._settings.meter_id
        if named is not None and meter_id != named:
            self._other_id, self._others = meter_id, self._others + 1
            return None
        self._others = 0
        if self._series is None:
            self._series = MeterSeries(meter_id, evidence_class)
        if meter_id == self._series.meter_id:
            self._newcomer = None
            self._series.evidence_class = evidence_class
            return self._series
        if self._newcomer is None or self._newcomer.meter_id != meter_id:
            self._newcomer = MeterSeries(meter_id, evidence_class)
        return self._newcomer

    def _count(self, series: MeterSeries, frame: MeterFrame, at_s: int) -> int:
        """Let the guards judge a sample; how many registers they held."""
        held = 0
        for register, register_wh, limits in (
            (series.imported, frame.import_wh, import_limits(frame, self._settings)),
            (series.exported, frame.export_wh, export_limits(frame, self._settings)),
        ):
            if register_wh is not None:
                held += register.observe(register_wh, at_s, limits) is Verdict.HELD
        if frame.export_wh is None and NOT_PRODUCER in frame.notes:
            series.exported.rest(at_s)
        return held

    def _confirm_by_settings(self) -> None:
        """Settings that name the new meter are its owner's word."""
        newcomer = self._newcomer
        if (
            newcomer is not None
            and newcomer.has_begun
            and newcomer.meter_id == self._settings.meter_id
        ):
            self.confirm_swap()

    def _step_back(self, by_s: int) -> None:
        for series in (self._series, self._newcomer):
            for register in () if series is None else series.registers:
                register.step_back(by_s)

    @staticmethod
    def _fix_beginnings(series: MeterSeries) -> None:
        """A total was given out; a register that joins from now on begins where it was."""
        for register in series.registers:
            register.begin_at_latest_from(0)
