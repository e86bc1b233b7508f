"""Shelly of all generations: one entry for whatever a device sends or answers.

A frame is one meter of a device, ``<device>/switch:0``; ``em:0`` and ``emdata:0`` are the same
meter. The sign of a clamp depends on how it was put around the wire: a household that sees import
and export swapped turns the clamp, or says so in the device.
"""

from __future__ import annotations

from typing import Final

from node.meter import shelly_gen1, shelly_gen2
from node.meter.codec import Decoded, MeterFrame, Rejected
from node.meter.messages import parse_json, plausible_id, refused
from node.meter.recorded import messages_of
from node.meter.shelly_gen2 import Body, Status
from node.model import EvidenceClass

KIND: Final = shelly_gen1.KIND

_GEN1_BASE: Final = "shellies"


def decode_message(topic: str, payload: bytes, known: Status | None = None) -> list[Decoded]:
    """What one message says, a frame for each meter in it; without a topic it is taken for an
    answer over HTTP. ``known`` is the device's last full status (``remember``), which changes need.
    Never raises."""
    way = topic.split("/")
    if way[-1] == "online":
        return _availability(way[:-1], payload)
    device = ""
    if way[0] == _GEN1_BASE and len(way) > 2:
        device = way[1]
        if way[2] != "info":
            return shelly_gen1.decode_value(device, way[2:], payload)
    value = parse_json(payload)
    if isinstance(value, Rejected):
        return [value]
    if not isinstance(value, dict):
        return [refused("not an object of components", payload)]
    if "meters" in value or "emeters" in value:
        return shelly_gen1.decode_status(device, value, payload)
    return shelly_gen2.decode_components(shelly_gen2.components_of(topic, value), payload, known)


def remember(known: Status, topic: str, payload: bytes) -> dict[str, Body]:
    """What is known of a device from the second generation on, after one more message."""
    value = parse_json(payload)
    if not isinstance(value, dict):
        return dict(known)
    return shelly_gen2.remember(known, shelly_gen2.components_of(topic, value))


def decode_ndjson(recording: bytes) -> list[Decoded]:
    """Every message of a recording; changes are laid over what it said before of the device."""
    found: list[Decoded] = []
    known: dict[str, dict[str, Body]] = {}
    for topic, payload in messages_of(recording):
        device = topic.removesuffix("/events/rpc").partition("/status/")[0]
        found += decode_message(topic, payload, known.get(device))
        known[device] = remember(known.get(device, {}), topic, payload)
    return found


def _availability(way: list[str], payload: bytes) -> list[Decoded]:
    """The last will: the broker says ``false`` when the device went silent."""
    if payload not in {b"true", b"false"}:
        return [refused("online is neither true nor false", payload)]
    device = "/".join(way[1:] if way[:1] == [_GEN1_BASE] else way)
    said = payload.decode("ascii")
    return [MeterFrame(KIND, EvidenceClass.C, plausible_id(device), fields={"online": said})]
