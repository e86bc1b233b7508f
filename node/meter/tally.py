"""What a meter has said so far, for a person who looks on: the last values, and how good they are.

Nothing here is kept or settled. The registers go through the same guard as a node's, so that a
person sees what a node would hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from node.meter.arrivals import Arrived
from node.meter.codec import MeterFrame, Rejected
from node.meter.guard import GuardState, Limits, Verdict, first_sample, observe
from node.meter.settings import MeterSettings, Way
from node.model import EvidenceClass

__all__ = ["MeterTally", "Tally"]

MAX_METERS: Final = 64
MAX_NOTES: Final = 32
MAX_REASONS: Final = 8


@dataclass(slots=True)
class MeterTally:
    """One meter of a source. Registers are as the meter says them; ``held`` counts values that a
    node would not have believed."""

    meter_id: str
    kind: str
    evidence_class: str
    frames: int = 0
    last_at_s: int = 0
    import_wh: int | None = None
    export_wh: int | None = None
    power_w: int | None = None
    power_va: int | None = None
    held: int = 0
    guards: dict[str, GuardState] = field(default_factory=dict)

    @property
    def power_text(self) -> str:
        """The power with its unit: apparent power is named as such."""
        if self.power_w is not None:
            return f"{self.power_w} W"
        return "-" if self.power_va is None else f"{self.power_va} VA"


class Tally:
    """Counts what arrives from one source.

    ``accepted`` and ``refused`` count groups on a Linky's line, frames or messages everywhere else;
    what is refused before the first frame was met in its middle, and is not counted.
    """

    def __init__(self, settings: MeterSettings) -> None:
        self._settings = settings
        self.meters: dict[str, MeterTally] = {}
        self.accepted = 0
        self.refused = 0
        self.frames = 0
        self.retained = 0
        self.notes: dict[str, None] = {}
        self.reasons: list[str] = []

    @property
    def is_replay(self) -> bool:
        """Whether a file is replayed: its end is no fault."""
        return self._settings.way is Way.FILE

    @property
    def held(self) -> int:
        """Values that a node would not have believed."""
        return sum(meter.held for meter in self.meters.values())

    @property
    def refused_ppm(self) -> int:
        """The share that was refused, in parts per million."""
        total = self.accepted + self.refused
        return self.refused * 1_000_000 // total if total else 0

    def observe(self, arrived: Arrived) -> MeterTally | None:
        """Count one arrival; the meter that spoke, if one did."""
        decoded = arrived.decoded
        if isinstance(decoded, Rejected):
            self._refuse(decoded)
            return None
        self.frames += 1
        self.retained += arrived.retained
        is_linky = decoded.kind.startswith("linky")
        labels = [label for label in decoded.fields if not label.endswith(".horodate")]
        self.accepted += len(labels) if is_linky else 1
        for note in decoded.notes:
            if len(self.notes) < MAX_NOTES:
                self.notes[note] = None
        return self._take(decoded, arrived)

    def _refuse(self, rejected: Rejected) -> None:
        if self.frames:
            self.refused += 1
        self.reasons = [*self.reasons[-(MAX_REASONS - 1) :], rejected.reason]

    def _take(self, frame: MeterFrame, arrived: Arrived) -> MeterTally | None:
        name = frame.meter_id or "-"
        if name not in self.meters and len(self.meters) == MAX_METERS:
            return None
        meter = self.meters.setdefault(
            name, MeterTally(name, frame.kind, frame.evidence_class.value)
        )
        meter.frames += 1
        meter.last_at_s = arrived.at_s
        meter.import_wh = _newer(frame.import_wh, meter.import_wh)
        meter.export_wh = _newer(frame.export_wh, meter.export_wh)
        if frame.power_w is not None or frame.power_va is not None:
            meter.power_w, meter.power_va = frame.power_w, frame.power_va
        if not arrived.retained:
            self._guard(meter, frame, arrived.at_s)
        return meter

    def _guard(self, meter: MeterTally, frame: MeterFrame, at_s: int) -> None:
        limits = Limits(
            self._settings.max_power_w,
            self._settings.resolution_wh,
            may_restart=frame.evidence_class is EvidenceClass.C,
        )
        for register, value in (("import", frame.import_wh), ("export", frame.export_wh)):
            if value is None:
                continue
            state = meter.guards.get(register)
            if state is None:
                meter.guards[register] = first_sample(value, at_s)
                continue
            meter.guards[register], verdict = observe(state, limits, value, at_s)
            meter.held += verdict is Verdict.HELD


def _newer(value: int | None, before: int | None) -> int | None:
    return before if value is None else value
