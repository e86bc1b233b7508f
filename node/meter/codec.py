"""What every codec of a meter protocol has in common: bytes in, readings and refusals out.

A codec is pure: no I/O, no clock, no exception for whatever bytes come. It keeps a bounded buffer,
gives the same result however the stream is cut into chunks, and collects what it refuses as values.
Transports bring the bytes; a source turns readings into registers that a node can trust.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from node.model import EvidenceClass

MAX_BUFFER_BYTES: Final = 65_536
"""No codec keeps more than this of a stream that makes no sense."""

MAX_REJECTED_BYTES: Final = 512
"""How much of refused bytes is kept to show them to a person."""


@dataclass(frozen=True, slots=True)
class MeterFrame:
    """What one frame, telegram or message of a meter says.

    Registers are cumulative Wh, whole (finer digits are cut off, never rounded up); None means that
    the frame does not say it. ``power_w`` is signed, import positive; apparent power is
    ``power_va``: it is not W and is never taken for it. ``taken_at_s`` is the meter's own time as
    unix seconds where the frame has a trustworthy one. ``fields`` holds every accepted label or
    OBIS code with its raw value, in the order of the frame.
    """

    kind: str
    evidence_class: EvidenceClass
    meter_id: str | None = None
    import_wh: int | None = None
    export_wh: int | None = None
    power_w: int | None = None
    power_va: int | None = None
    taken_at_s: int | None = None
    complete: bool = True
    fields: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """Bytes that a codec refused, and why, in words that a person can act on."""

    reason: str
    raw: bytes


Decoded = MeterFrame | Rejected


class Codec(Protocol):
    """A protocol's decoder for one stream. A new stream needs a new codec."""

    kind: str

    def feed(self, chunk: bytes) -> list[Decoded]:
        """Take the next bytes; return what is complete by now. Never raises on any bytes."""
        ...

    def finish(self) -> list[Decoded]:
        """The stream has ended: what was still incomplete is rejected, if it was anything."""
        ...
