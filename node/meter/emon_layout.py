"""How the bytes of an OpenEnergyMonitor radio node are laid out: names, types and scales.

The owner copies them from the node's section of ``emonhub.conf``; numbers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Final

DATACODES: Final = "bBhHiIlLqQfd"
"""The letters that emonhub knows for numbers: signed and unsigned in 8 to 64 bits, and floats."""

MAX_PACKET_BYTES: Final = 66
"""What an RFM69 sends at once."""

RESERVED_NAMES: Final = frozenset({"node", "bytes", "rssi", "time"})
"""What a frame says beside the values of a packet."""

_EXACT: Final = Context(prec=80)


@dataclass(frozen=True, slots=True)
class NodeLayout:
    """One letter of ``datacodes`` for each name; values beyond the given ``scales`` have scale 1.
    Raises ValueError when that does not fit together."""

    names: tuple[str, ...]
    datacodes: str
    scales: tuple[Decimal, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        unknown = set(self.datacodes) - set(DATACODES)
        if unknown:
            raise ValueError(f"datacodes {''.join(sorted(unknown))!r}; known: {DATACODES}")
        if len(self.datacodes) != len(self.names) or len(set(self.names)) != len(self.names):
            raise ValueError(f"{len(self.datacodes)} datacodes for the names {self.names}")
        if RESERVED_NAMES & set(self.names):
            raise ValueError(f"a value is called one of {sorted(RESERVED_NAMES)}")
        if len(self.scales) > len(self.names):
            raise ValueError(f"{len(self.scales)} scales for {len(self.names)} names")
        if not 0 < self.size <= MAX_PACKET_BYTES:
            raise ValueError(f"{self.size} bytes; a packet has 1 to {MAX_PACKET_BYTES}")

    @property
    def size(self) -> int:
        """The bytes of a packet."""
        return struct.calcsize(self._format)

    @property
    def _format(self) -> str:
        return f"<{self.datacodes}"

    def values_of(self, packet: bytes) -> dict[str, Decimal] | None:
        """The scaled values by name; None when the packet has another size."""
        if len(packet) != self.size:
            return None
        numbers = (Decimal(str(number)) for number in struct.unpack(self._format, packet))
        scales = (*self.scales, *[Decimal(1)] * (len(self.names) - len(self.scales)))
        scaled = (
            number if scale == 1 or not number.is_finite() else _EXACT.multiply(number, scale)
            for number, scale in zip(numbers, scales, strict=True)
        )
        return dict(zip(self.names, scaled, strict=True))


_HUNDREDTH: Final = Decimal("0.01")

EMONTX4: Final = NodeLayout(
    names=(
        "MSG",
        "Vrms",
        *(f"P{clamp}" for clamp in range(1, 7)),
        *(f"E{clamp}" for clamp in range(1, 7)),
        *(f"T{probe}" for probe in range(1, 4)),
        "pulse",
    ),
    datacodes="Lh" + 6 * "h" + 6 * "l" + 3 * "h" + "L",
    scales=(Decimal(1), _HUNDREDTH, *[Decimal(1)] * 12, *[_HUNDREDTH] * 3),
    name="emonTx4",
)
"""The emonTx4 with six clamps, as emonhub configures it by itself. ``MSG`` counts packets: a gap is
a loss, a repetition a duplicate. A temperature of 300 means that there is no probe."""
