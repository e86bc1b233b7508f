"""OpenEnergyMonitor: the serial lines of an emonTx or emonPi, and what emonhub publishes by MQTT.

Serial lines come in four formats, none of them with a checksum::

    MSG:1,Vrms:234.5,P1:100,E1:5        name:value pairs
    ct1:0,ct2:0,vrms:524,pulse:0        the same from older firmware
    {"power1":100,"power2":200}         JSON
    OK 5 0 0 0 0 (-0)                   bytes of a radio packet: node, bytes, signal strength

The bytes of a radio packet mean something only by the node's layout, which the owner copies from
``emonhub.conf``. emonhub publishes ``emon/<node>/<name>`` with one value each,
``emonhub/rx/<node id>/values`` with all of them, and JSON on ``emon/<node>``; not retained, and
only the last with a time.

Which of the clamps sits on the grid connection nobody knows but the owner: without a mapping all
values are shown, and none is taken for a register. ``E`` values are Wh counted in the emonTx
itself: they restart with it, and are **net**, so they fall while power flows out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from node.meter.codec import Decoded, Rejected
from node.meter.emon_layout import NodeLayout
from node.meter.json_path import NO_MAPPING, PathMapping, Register, mapped_frame
from node.meter.messages import (
    JsonValue,
    Labels,
    decimal_of,
    parse_json,
    plausible_id,
    refused,
)
from node.meter.recorded import messages_of

KIND: Final = "emon"

MAX_LINE_BYTES: Final = 1024
"""The longest line of any firmware known has less than 400."""

MAX_VALUES: Final = 128

NET_NOTE: Final = (
    "E counts net energy and falls while power flows out: it cannot show what was exported"
)

_NAME: Final = re.compile(r"[\w-]{1,32}", re.ASCII)
_PACKET: Final = re.compile(rb"OK (\d{1,3})((?: \d{1,3})+)(?: \((-?\d{1,3})\))? ?")


@dataclass(frozen=True, slots=True)
class EmonSettings:
    """What the owner says: which node's values feed which registers (an empty ``node`` means any),
    how the bytes of radio nodes are laid out, and emonhub's base topics."""

    mapping: PathMapping = NO_MAPPING
    node: str = ""
    layouts: Mapping[int, NodeLayout] = field(default_factory=dict)
    nodevar_base: str = "emon/"
    node_base: str = "emonhub/"
    json_base: str = "emon/"


DEFAULT: Final = EmonSettings()


class EmonLineCodec:
    """The serial stream of one emonTx or emonPi."""

    kind: str = KIND

    def __init__(self, settings: EmonSettings = DEFAULT) -> None:
        self._settings = settings
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Decoded]:
        """Every line that is complete by now."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest[: MAX_LINE_BYTES + 1]  # one too long stays too long, and is refused so
        return [decoded for line in lines for decoded in decode_line(line, self._settings)]

    def finish(self) -> list[Decoded]:
        """A line without its end may lack digits of its last number."""
        rest, self._rest = self._rest.strip(), b""
        return [refused("the stream ended within a line", rest)] if rest else []


def decode_line(line: bytes, settings: EmonSettings = DEFAULT) -> list[Decoded]:
    """One serial line, with or without its end. Nothing for an empty one. Never raises."""
    said = line.strip()
    if not said:
        return []
    if len(said) > MAX_LINE_BYTES:
        return [refused(f"a line of more than {MAX_LINE_BYTES} bytes", said)]
    if said.startswith(b"{"):
        return _json_values(said, settings.node, settings)
    if said.startswith(b"OK "):
        return _packet(said, settings)
    if b":" in said:
        return _pairs(said, settings)
    return [refused("not a line of values", said)]


def decode_message(topic: str, payload: bytes, settings: EmonSettings = DEFAULT) -> list[Decoded]:
    """What emonhub published; without a topic the payload is taken for a serial line. Never
    raises."""
    if not topic:
        return decode_line(payload, settings)
    if topic.startswith(f"{settings.node_base}rx/") and topic.endswith("/values"):
        node = topic.removeprefix(f"{settings.node_base}rx/").removesuffix("/values")
        return _listed_values(payload, node, settings)
    for base in sorted({settings.nodevar_base, settings.json_base}, key=len, reverse=True):
        way = topic.removeprefix(base).split("/") if topic.startswith(base) else []
        if len(way) == 1:
            return _json_values(payload, way[0], settings)
        if len(way) == 2:
            return _one_value(payload, *way, settings=settings)
    return [refused(f"topic {topic[:80]} is none of emonhub's", payload)]


def decode_ndjson(recording: bytes, settings: EmonSettings = DEFAULT) -> list[Decoded]:
    """Every message, or serial line, of a recording."""
    return [
        decoded
        for topic, payload in messages_of(recording)
        for decoded in decode_message(topic, payload, settings)
    ]


def _pairs(said: bytes, settings: EmonSettings) -> list[Decoded]:
    """``name:value`` pairs. Without a checksum, one that is damaged speaks against all of them."""
    values: dict[str, JsonValue] = {}
    for pair in said.decode("latin-1").split(","):
        name, _, text = (part.strip() for part in pair.partition(":"))
        value = decimal_of(text)
        if not _NAME.fullmatch(name) or value is None or name in values:
            return [refused(f"{pair[:40]!r} is no pair of a name and a number", said)]
        values[name] = value
    if len(values) > MAX_VALUES:
        return [refused(f"more than {MAX_VALUES} values", said)]
    return _frame(said, settings.node, values, settings)


def _json_values(payload: bytes, node: str, settings: EmonSettings) -> list[Decoded]:
    value = parse_json(payload)
    if isinstance(value, Rejected):
        return [value]
    if not isinstance(value, dict) or not 0 < len(value) <= MAX_VALUES:
        return [refused(f"not an object of 1 to {MAX_VALUES} values", payload)]
    return _frame(payload, node, value, settings)


def _packet(said: bytes, settings: EmonSettings) -> list[Decoded]:
    """A radio packet. Its bytes are decoded by the layout of its node, if there is one."""
    match = _PACKET.fullmatch(said)
    if match is None:
        return [refused("not a radio packet: OK, node, bytes, signal strength", said)]
    node, numbers = int(match[1]), [int(byte) for byte in match[2].split()]
    if max(numbers) > 255:
        return [refused("a byte above 255", said)]
    layout = settings.layouts.get(node)
    values: dict[str, JsonValue] = {"node": Decimal(node)}
    if layout is None:
        values["bytes"] = match[2].strip().decode("ascii")
    else:
        decoded = layout.values_of(bytes(numbers))
        if decoded is None:
            reason = f"{len(numbers)} bytes; the layout of node {node} has {layout.size}"
            return [refused(reason, said)]
        values |= decoded
    if match[3] is not None:
        values["rssi"] = Decimal(match[3].decode("ascii"))
    name = layout.name if layout is not None and layout.name else str(node)
    return _frame(said, name, values, settings)


def _listed_values(payload: bytes, node: str, settings: EmonSettings) -> list[Decoded]:
    """All values of a node, which emonhub has decoded and scaled: named by the node's layout, else
    numbered from 1. One more than the layout names is the signal strength."""
    texts = payload.decode("latin-1").strip().split(",")
    if len(texts) > MAX_VALUES:
        return [refused(f"more than {MAX_VALUES} values", payload)]
    layout = settings.layouts.get(int(node)) if re.fullmatch(r"[0-9]{1,3}", node) else None
    names = [*layout.names, "rssi"] if layout else [str(i + 1) for i in range(len(texts))]
    if layout and len(texts) not in {len(layout.names), len(layout.names) + 1}:
        reason = f"{len(texts)} values; the layout of node {node} has {len(layout.names)}"
        return [refused(reason, payload)]
    values: dict[str, JsonValue] = {}
    for name, text in zip(names, texts, strict=False):
        value = decimal_of(text)
        values[name] = text if value is None else value
    return _frame(payload, layout.name if layout and layout.name else node, values, settings)


def _one_value(payload: bytes, node: str, name: str, *, settings: EmonSettings) -> list[Decoded]:
    value = decimal_of(payload.decode("latin-1").strip())
    if value is None:
        return [refused(f"{name[:40]} is not a number", payload)]
    return _frame(payload, node, {name: value}, settings)


def _frame(
    payload: bytes, node: str, values: dict[str, JsonValue], settings: EmonSettings
) -> list[Decoded]:
    """The values of one node, and the registers that they feed."""
    labels = Labels(payload)
    for name, value in values.items():
        if name == "bytes":
            labels.keep(name, value)
        else:
            labels.number(name, value)
    is_mapped = settings.node in {"", node}
    mapping = settings.mapping if is_mapped else NO_MAPPING
    meter_id = mapping.meter_id or plausible_id(node)
    frame = mapped_frame(KIND, meter_id, values, mapping, labels)
    if "time" in values and frame.taken_at_s is None:
        frame = replace(frame, taken_at_s=labels.unix_s("time", values["time"]))
    flows_out = frame.power_w is not None and frame.power_w < 0
    if flows_out and frame.import_wh is not None and not mapping.feeds(Register.EXPORT_WH):
        frame = replace(frame, notes=(NET_NOTE,))
    return labels.close(frame)
