"""CitizenWatt: the sensor's radio packets and the base's web API. Advisory only.

The sensor multiplies the current of one clamp with an assumed voltage of 240 V: an apparent power
without a direction. There is no register anywhere, so nothing here can be settled; ``kwatthours``
of the base are such powers added up over time.

A packet is one AES-128-ECB block, little-endian: power (int16), voltage, battery in mV,
milliseconds that the sensor was awake, and six bytes of padding. The sensor never clears the
padding: from the second packet on it is left over from the one before, and says nothing. Nothing
authenticates a packet, and the default key is published: anybody nearby can forge one. It is held
against what a sensor can say, and its timer against the packet before.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from Crypto.Cipher import AES

from node.meter.codec import MAX_REJECTED_BYTES, Decoded, MeterFrame, Rejected
from node.meter.messages import JsonValue, Labels, parse_json, raw_text, refused, round_w
from node.meter.recorded import messages_of
from node.model import EvidenceClass

KIND: Final = "citizenwatt"

DEFAULT_KEY: Final = bytes(range(16))
PACKET_BYTES: Final = 16

MAX_POWER_VA: Final = 24_000
"""100 A at the assumed 240 V, the most that the sensor's clamp measures. The field is an int16."""

TIMER_RANGE_MS: Final = 2**32
MAX_PAUSE_MS: Final = 3_600_000
"""How far the timer may run on from one packet to the next; one comes every 8 s."""

RESTART_PACKETS: Final = 5
"""So many packets in a row that follow one another, but not the last one believed: the sensor was
restarted, or was out of reach."""

MAX_ANSWERS: Final = 2_000
"""Measures in one answer of the base."""

NOTE: Final = "apparent power of one clamp at an assumed 240 V, without a direction: advisory only"
PERIOD_NOTE: Final = "energy of a period, added up by the base from power: not a register"

_LAYOUT: Final = struct.Struct("<hHHL6x")
_PATH: Final = re.compile(
    r"(?:https?://[^/]*)?/api/(\d{1,9})/get/(watts|kwatthours|euros)/by_(?:id|time)/.*"
)


@dataclass(frozen=True, slots=True)
class Packet:
    """What one block says."""

    power_va: int
    voltage_v: int
    battery_mv: int
    timer_ms: int

    @property
    def fault(self) -> str:
        """Why no sensor can have said this; empty if one can."""
        if not 0 <= self.power_va <= MAX_POWER_VA:
            return f"a power of {self.power_va} VA"
        if self.voltage_v and not 90 <= self.voltage_v <= 300:
            return f"a voltage of {self.voltage_v} V"
        if not 1_500 <= self.battery_mv <= 6_000:
            return f"a battery of {self.battery_mv} mV"
        return ""

    def follows(self, before: Packet) -> bool:
        """Whether this can be the packet after another one of the same sensor."""
        run_on_ms = (self.timer_ms - before.timer_ms) % TIMER_RANGE_MS
        return not self.fault and 0 < run_on_ms <= MAX_PAUSE_MS

    def frame(self) -> MeterFrame:
        """As a reading: without a register, and without W."""
        fields = {
            "power_W": str(self.power_va),
            "voltage_V": str(self.voltage_v),
            "battery_mV": str(self.battery_mv),
            "timer_ms": str(self.timer_ms),
        }
        return MeterFrame(
            KIND,
            EvidenceClass.C,
            KIND,
            power_va=self.power_va,
            fields=fields,
            notes=(NOTE,),
        )


def open_packet(block: bytes, key: bytes = DEFAULT_KEY) -> Packet | None:
    """Decrypt one block; None if it has another length. Raises ValueError for a key that is not 16
    bytes long."""
    decrypt = _decryption(key)
    return _opened(block, decrypt) if len(block) == PACKET_BYTES else None


def decode_packet(block: bytes, key: bytes = DEFAULT_KEY) -> Decoded:
    """One packet by itself, without a look at its timer."""
    packet = open_packet(block, key)
    if packet is None:
        return refused(f"{len(block)} bytes; a packet has {PACKET_BYTES}", block)
    if packet.fault:
        return refused(f"{packet.fault}: another key, or no packet", block)
    return packet.frame()


class CitizenWattCodec:
    """The packets as the base's receiver writes them into its pipe, one after the other.

    Nothing marks where a packet begins. One is recognised by what it says and by its timer, which
    follows that of the packet before, or is followed by that of the next; anything else is skipped
    byte by byte, so that a lost byte costs one packet. Raises ValueError for a key that is not 16
    bytes long.
    """

    kind: str = KIND

    def __init__(self, key: bytes = DEFAULT_KEY) -> None:
        self._decrypt = _decryption(key)
        self._buffer = b""
        self._skipped = b""
        self._timer = _Timer()

    def feed(self, chunk: bytes) -> list[Decoded]:
        """Every packet that is complete by now."""
        found: list[Decoded] = []
        buffer = self._buffer + chunk
        at = 0
        while at + PACKET_BYTES <= len(buffer):
            block = buffer[at : at + PACKET_BYTES]
            packet = _opened(block, self._decrypt)
            is_packet = not packet.fault
            if is_packet and not self._timer.is_next(packet):
                following = buffer[at + PACKET_BYTES : at + 2 * PACKET_BYTES]
                if len(following) < PACKET_BYTES:
                    break
                is_packet = _opened(following, self._decrypt).follows(packet)
            if is_packet:
                found += [*self._give_up(), self._timer.judge(packet, block)]
                at += PACKET_BYTES
                continue
            self._skipped += block[:1]
            at += 1
            if len(self._skipped) == MAX_REJECTED_BYTES:
                found += self._give_up()
        self._buffer = buffer[at:]
        return found

    def finish(self) -> list[Decoded]:
        """What is left is no packet."""
        self._skipped += self._buffer
        self._buffer = b""
        return self._give_up()

    def _give_up(self) -> list[Decoded]:
        skipped, self._skipped = self._skipped, b""
        return (
            [refused("no packet of this sensor: lost bytes, or another key", skipped)]
            if skipped
            else []
        )


@dataclass(slots=True)
class _Timer:
    """Recognises a packet that was sent before, or never sent by this sensor, by its timer."""

    believed: Packet | None = None
    doubted: Packet | None = None
    in_row: int = 0

    def is_next(self, packet: Packet) -> bool:
        """Whether it comes after the last packet believed. The first one of all always does."""
        return self.believed is None or packet.follows(self.believed)

    def judge(self, packet: Packet, block: bytes) -> Decoded:
        """The packet's frame if it is the next, or the last of a row that makes a new beginning."""
        if not self.is_next(packet):
            is_in_row = self.doubted is not None and packet.follows(self.doubted)
            self.doubted, self.in_row = packet, self.in_row + 1 if is_in_row else 1
            if self.in_row < RESTART_PACKETS:
                return refused(f"timer {packet.timer_ms} ms: not the next packet", block)
        self.believed, self.doubted, self.in_row = packet, None, 0
        return packet.frame()


def decode_message(path: str, payload: bytes) -> list[Decoded]:
    """The base's answer to a request for measures: a frame for each. Never raises."""
    value = parse_json(payload)
    if isinstance(value, Rejected):
        return [value]
    if not isinstance(value, dict) or "data" not in value:
        return [refused("not an answer of the base: no data", payload)]
    asked = _PATH.fullmatch(path)
    if path and asked is None:
        return [refused(f"{path[:80]} does not ask for measures", payload)]
    quantity = asked[2] if asked else "watts"
    if quantity == "euros":
        return [refused("euros are a cost, not a reading", payload)]
    meter_id = f"{KIND}/{asked[1]}" if asked else KIND
    measured = value["data"]
    measures = measured if isinstance(measured, list) else [measured]
    if len(measures) > MAX_ANSWERS:
        return [refused(f"{len(measures)} measures; {MAX_ANSWERS} at most", payload)]
    found: list[Decoded] = []
    for measure in measures:
        found += _measure(meter_id, quantity, measure, payload)
    return found or [refused("no measure", payload)]


def decode_ndjson(recording: bytes) -> list[Decoded]:
    """Every answer of a recording; the topic of each is the path that was asked for."""
    return [
        decoded
        for path, payload in messages_of(recording)
        for decoded in decode_message(path, payload)
    ]


def _measure(meter_id: str, quantity: str, measure: JsonValue, payload: bytes) -> list[Decoded]:
    """One measure; the base answers null, or an empty list, where it has none."""
    if not isinstance(measure, dict) or "value" not in measure:
        return [refused("no measure", payload)]
    labels = Labels(payload)
    frame = MeterFrame(KIND, EvidenceClass.C, meter_id, notes=(NOTE,))
    if quantity == "watts":
        power_va = labels.power("value", measure["value"])
        if power_va is not None and not 0 <= power_va <= MAX_POWER_VA:
            # The base reads a small negative power as one above 65,000.
            labels.refuse("value", f"{raw_text(measure['value'])} VA: no sensor measures that")
            power_va = None
        frame = replace(frame, power_va=round_w(power_va))
    else:
        labels.energy_wh("value", measure["value"], Fraction(1000))
        frame = replace(frame, notes=(NOTE, PERIOD_NOTE))
    if "timestamp" in measure and labels.accepted:
        frame = replace(frame, taken_at_s=labels.unix_s("timestamp", measure["timestamp"]))
    return labels.close(frame)


def _decryption(key: bytes) -> Callable[[bytes], bytes]:
    if len(key) != PACKET_BYTES:
        raise ValueError(f"a key of {len(key)} bytes; AES-128 has {PACKET_BYTES}")
    return AES.new(key, AES.MODE_ECB).decrypt


def _opened(block: bytes, decrypt: Callable[[bytes], bytes]) -> Packet:
    return Packet(*_LAYOUT.unpack(decrypt(block)))
