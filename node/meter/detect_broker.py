"""Finding meters behind an MQTT broker: listening to everything for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from node.errors import ConfigurationError, MeterError, MeterSilent
from node.meter.codec import MeterFrame
from node.meter.decoders import MessageDecoder, message_decoder
from node.meter.messages import JsonValue, parse_json
from node.meter.settings import BrokerSettings, MeterSettings
from node.meter.transports.mqtt import Heard, listening

__all__ = ["BrokerVerdict", "Device", "Survey", "listen_to_broker"]

LISTEN_S: Final = 20

MAX_DEVICES: Final = 64
MAX_MESSAGES: Final = 50_000

_GUESSES: Final = {
    "import_wh": ("energy", "total", "import", "total_in", "e_in", "consumption", "energy_import"),
    "export_wh": ("export", "returned", "total_out", "e_out", "produced_energy", "energy_export"),
    "power_w": ("power", "power_curr", "active_power"),
}
_UNITS: Final = {"import_wh": "kWh", "export_wh": "kWh", "power_w": "W"}
_TASMOTA: Final = ("SENSOR", "STATUS8", "STATUS10")
_READY: Final = frozenset({"tasmota", "shelly"})


@dataclass(frozen=True, slots=True)
class Device:
    """Something that tells energy or power. ``guesses`` are paths that look like registers, where
    only the owner knows what they mean."""

    kind: str
    topic: str
    messages: int = 0
    meter_id: str | None = None
    import_wh: int | None = None
    export_wh: int | None = None
    power_w: int | None = None
    power_va: int | None = None
    names: tuple[str, ...] = ()
    guesses: tuple[tuple[str, str], ...] = ()

    @property
    def is_certain(self) -> bool:
        """Whether the table is ready, or the owner has to say what the names mean."""
        return self.kind in _READY


@dataclass(frozen=True, slots=True)
class BrokerVerdict:
    """What was heard on a broker; ``trouble`` says why nothing could be."""

    broker: BrokerSettings
    messages: int = 0
    devices: tuple[Device, ...] = ()
    trouble: str = ""

    def table(self, device: Device) -> dict[str, object]:
        """The ``[meter]`` table for one device."""
        broker = self.broker
        table: dict[str, object] = {
            "kind": device.kind,
            "broker": f"{broker.host}:{broker.port}",
            "topic": device.topic,
        }
        if broker.user is not None:
            table["user"] = broker.user
        if broker.password_file is not None:
            table["password_file"] = str(broker.password_file)
        if broker.tls:
            table["tls"] = True
        if broker.ca_file is not None:
            table["ca_file"] = str(broker.ca_file)
        if device.guesses:
            table["paths"] = [
                {"register": register, "path": path, "unit": _UNITS[register]}
                for register, path in device.guesses
            ]
        return table


class Survey:
    """Sorts messages by the device that they are from."""

    def __init__(self) -> None:
        self.messages = 0
        self._devices: dict[tuple[str, str], Device] = {}
        self._decoders: dict[str, MessageDecoder] = {
            kind: message_decoder(MeterSettings(kind, url="http://"))
            for kind in ("tasmota", "shelly", "emon")
        }

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices so far; those that need no word of their owner first."""
        return tuple(
            sorted(
                self._devices.values(),
                key=lambda device: (not device.is_certain, device.kind, device.topic),
            )
        )

    def observe(self, topic: str, payload: bytes) -> None:
        """Take one message."""
        self.messages += 1
        place = _place(topic)
        if place is None:
            self._guess(topic, payload)
            return
        kind, device = place
        for item in self._decoders[kind](topic, payload):
            if isinstance(item, MeterFrame):
                self._take(kind, device, item)

    def _take(self, kind: str, topic: str, frame: MeterFrame) -> None:
        values = (frame.import_wh, frame.export_wh, frame.power_w, frame.power_va)
        if kind != "emon" and all(value is None for value in values):
            return
        before = self._device(kind, topic)
        if before is None:
            return
        names = dict.fromkeys((*before.names, *frame.fields)) if kind == "emon" else ()
        self._devices[kind, topic] = replace(
            before,
            messages=before.messages + 1,
            meter_id=frame.meter_id or before.meter_id,
            import_wh=_newer(frame.import_wh, before.import_wh),
            export_wh=_newer(frame.export_wh, before.export_wh),
            power_w=_newer(frame.power_w, before.power_w),
            power_va=_newer(frame.power_va, before.power_va),
            names=tuple(names)[:MAX_DEVICES],
        )

    def _guess(self, topic: str, payload: bytes) -> None:
        """A message of nobody that is known, with names that look like registers."""
        value = parse_json(payload)
        if not isinstance(value, dict):
            return
        numbers = dict(_numbers(value))
        guesses = tuple(
            (register, path)
            for register, names in _GUESSES.items()
            for path in [_first(numbers, names)]
            if path is not None
        )
        before = self._device("json", topic) if guesses else None
        if before is not None:
            self._devices["json", topic] = replace(
                before,
                messages=before.messages + 1,
                names=tuple(numbers)[:MAX_DEVICES],
                guesses=guesses,
            )

    def _device(self, kind: str, topic: str) -> Device | None:
        known = self._devices.get((kind, topic))
        if known is None and len(self._devices) < MAX_DEVICES:
            return Device(kind, topic)
        return known


async def listen_to_broker(broker: BrokerSettings, listen_s: float = LISTEN_S) -> BrokerVerdict:
    """Listen to all that a broker lets this user hear."""
    survey = Survey()
    try:
        async with listening(broker, ("#",)) as heard:
            await _survey(heard, survey, listen_s)
    except (MeterSilent, MeterError, ConfigurationError) as error:
        reason = f"{error.message}; {error.next_step}" if error.next_step else error.message
        return BrokerVerdict(broker, survey.messages, survey.devices, reason)
    return BrokerVerdict(broker, survey.messages, survey.devices)


async def _survey(heard: Heard, survey: Survey, listen_s: float) -> None:
    try:
        async with asyncio.timeout(listen_s):
            async for topic, payload, _ in heard.messages():
                survey.observe(topic, payload)
                if survey.messages == MAX_MESSAGES:
                    return
    except TimeoutError:
        return


def _place(topic: str) -> tuple[str, str] | None:
    """Kind and device of a topic whose layout is known."""
    way = topic.split("/")
    if way[-1] in _TASMOTA and len(way) > 1:
        is_usual = len(way) == 3 and way[0] in {"tele", "stat"}
        return "tasmota", way[1] if is_usual else topic
    if way[0] == "shellies" and len(way) > 2:
        return "shelly", way[1]
    if len(way) > 2 and (way[-2] == "status" or way[-2:] == ["events", "rpc"]):
        return "shelly", "/".join(way[:-2])
    if way[0] == "emon" and len(way) in {2, 3}:
        return "emon", way[1]
    if way[:2] == ["emonhub", "rx"] and len(way) == 4:
        return "emon", way[2]
    return None


def _numbers(value: dict[str, JsonValue], before: str = "") -> Iterator[tuple[str, Decimal]]:
    """Every number of a document, up to two names deep, with its path."""
    for name, part in value.items():
        path = before + name.replace(".", "\\.")
        if isinstance(part, Decimal):
            yield path, part
        elif isinstance(part, dict) and not before:
            yield from _numbers(part, f"{path}.")


def _first(numbers: dict[str, Decimal], names: tuple[str, ...]) -> str | None:
    return next((path for path in numbers if path.rpartition(".")[2].lower() in names), None)


def _newer(value: int | None, before: int | None) -> int | None:
    return before if value is None else value
