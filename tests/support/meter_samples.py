"""Frames as they arrive of a meter that needs no codec, and a storage that can fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from node.meter.arrivals import Arrived
from node.meter.codec import MeterFrame
from node.meter.settings import BrokerSettings, MeterSettings
from node.model import EvidenceClass, SampleBatch

NOON_S: Final = 1_764_590_400
"""A slot begins here."""

MESSAGES: Final = MeterSettings(
    "json", broker=BrokerSettings("localhost"), topic="meter", max_power_w=9_000, period_s=10
)
"""A meter that sends messages over a network: they are believed at once."""

LINKY: Final = MeterSettings("linky", port="/dev/null", period_s=2)
P1: Final = MeterSettings("dsmr-p1", port="/dev/null", period_s=10)


def frame(
    import_wh: int | None,
    export_wh: int | None = None,
    *,
    meter_id: str | None = "m1",
    taken_at_s: int | None = None,
    kind: str = "json",
    evidence: EvidenceClass = EvidenceClass.B,
    notes: Sequence[str] = (),
) -> MeterFrame:
    """What a codec would have made of a message."""
    return MeterFrame(
        kind,
        evidence,
        meter_id,
        import_wh=import_wh,
        export_wh=export_wh,
        power_w=500,
        taken_at_s=taken_at_s,
        notes=notes,
    )


def came(at_s: int, decoded: MeterFrame, *, retained: bool = False) -> Arrived:
    """It came."""
    return Arrived(at_s, decoded, retained=retained)


@dataclass(slots=True)
class MemoryStorage:
    """Keeps what a transaction committed; ``commit`` and ``roll_back`` end one."""

    states: dict[str, str] = field(default_factory=dict)
    batches: dict[tuple[str, int], SampleBatch] = field(default_factory=dict)
    _open_states: dict[str, str] = field(default_factory=dict)
    _open_batches: dict[tuple[str, int], SampleBatch] = field(default_factory=dict)

    def meter_state(self, source: str) -> str | None:
        return (self.states | self._open_states).get(source)

    def set_meter_state(self, source: str, state: str) -> None:
        self._open_states[source] = state

    def add_samples(self, batch: SampleBatch) -> None:
        self._open_batches.setdefault((batch.meter_id, batch.from_s), batch)

    def commit(self) -> None:
        self.states |= self._open_states
        self.batches = self._open_batches | self.batches
        self.roll_back()

    def roll_back(self) -> None:
        self._open_states, self._open_batches = {}, {}
