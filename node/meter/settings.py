"""The ``[meter]`` table: which meter, how it is reached, and what its owner says of it.

Everything is checked when it is read, key by key, so that a slip of the pen is told with the key's
name and not found at the first frame. Passwords and keys stand in files of their own, never here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Final

from node.meter.emon_layout import NodeLayout
from node.meter.json_path import NO_MAPPING, PathMapping, PathRule, Register
from node.meter.lines import BAUDS, LINES, Line, LineMode
from node.meter.settings_table import SettingsTable
from node.meter.tasmota import ListMeaning

__all__ = ["DEFAULT_MAX_POWER_W", "KINDS", "BrokerSettings", "MeterSettings", "Way"]

DEFAULT_MAX_POWER_W: Final = 36_000
"""36 kVA is the most that a household's connection has where nothing else is said."""

MQTT_PORT: Final = 1883
MQTT_TLS_PORT: Final = 8883
MODBUS_PORT: Final = 502


class Way(StrEnum):
    """How a meter is reached; the key that is given decides."""

    SERIAL = "port"
    TCP = "url of tcp://"
    MQTT = "broker"
    HTTP = "url of http://"
    MODBUS = "url of modbus://"
    FILE = "file"


KINDS: Final[Mapping[str, tuple[Way, ...]]] = {
    "linky": (Way.SERIAL, Way.TCP),
    "linky-historic": (Way.SERIAL, Way.TCP),
    "linky-standard": (Way.SERIAL, Way.TCP),
    "dsmr-p1": (Way.SERIAL, Way.TCP),
    "sml": (Way.SERIAL, Way.TCP),
    "emon": (Way.SERIAL, Way.TCP, Way.MQTT),
    "tasmota": (Way.MQTT, Way.HTTP),
    "shelly": (Way.MQTT, Way.HTTP),
    "citizenwatt": (Way.HTTP, Way.SERIAL),
    "sunspec": (Way.MODBUS,),
    "json": (Way.MQTT, Way.HTTP),
    "replay": (Way.FILE,),
}
"""Every kind of meter, and the ways in which it can be reached."""

_PERIODS_S: Final = {
    "linky": 3,
    "linky-historic": 3,
    "linky-standard": 2,
    "dsmr-p1": 10,
    "sml": 5,
    "emon": 10,
    "tasmota": 300,
    "shelly": 60,
    "citizenwatt": 10,
    "sunspec": 10,
    "json": 60,
    "replay": 10,
}
_POLL_S: Final = 10
_KEYS: Final = (
    *("kind", "port", "baud", "mode", "broker", "topic", "user", "password_file", "tls", "ca_file"),
    *("url", "poll_s", "key_file", "sensor", "unit", "reversed", "file", "pace", "paths"),
    *("time_path", "lists", "layouts", "meter_id", "max_power_w", "resolution_wh", "period_s"),
    "producer_expected",
)
_BRACKETED: Final = re.compile(r"\[(?P<host>[0-9A-Fa-f:.]+)\](?::(?P<port>[0-9]{1,5}))?")
_PLAIN: Final = re.compile(r"(?P<host>[^\s/:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
_SCHEMES: Final = {
    "tcp": Way.TCP,
    "http": Way.HTTP,
    "https": Way.HTTP,
    "modbus": Way.MODBUS,
}


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """An MQTT broker. The password stands in a file; ``ca_file`` is for brokers whose certificate
    the system does not know."""

    host: str
    port: int = MQTT_PORT
    user: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class MeterSettings:
    """What is known of a meter before it speaks.

    ``kind`` is one of KINDS. Of ``port``, ``broker``, ``url`` and ``file`` exactly one is given;
    ``way`` says which. ``line`` is None where the lines of the kind are tried in turn. ``topic`` is
    the device's name on the broker (for ``json`` the very topic). ``meter_id`` names a source that
    does not name itself, and chooses among several meters of one device. ``max_power_w`` bounds
    what the registers can grow by; ``period_s`` is how often the meter is expected to speak;
    ``producer_expected`` is set by a household that sells. ``pace`` is how many times as fast as
    life a file is replayed.
    """

    kind: str
    port: str | None = None
    line: Line | None = None
    broker: BrokerSettings | None = None
    topic: str | None = None
    url: str | None = None
    poll_s: int = _POLL_S
    user: str | None = None
    password_file: Path | None = None
    key_file: Path | None = None
    sensor: int = 1
    unit: int = 1
    is_reversed: bool = False
    file: Path | None = None
    pace: int = 1
    mapping: PathMapping = NO_MAPPING
    lists: ListMeaning = ListMeaning.PHASES
    layouts: Mapping[int, NodeLayout] = field(default_factory=dict)
    meter_id: str | None = None
    max_power_w: int = DEFAULT_MAX_POWER_W
    resolution_wh: int = 1
    period_s: int = 10
    producer_expected: bool = False

    @property
    def way(self) -> Way:
        """How the meter is reached. Raises ValueError unless exactly one way is given."""
        return _way(self.port, self.broker, self.url, self.file)

    @classmethod
    def from_table(cls, table: Mapping[str, object], file: Path) -> MeterSettings:
        """Read a ``[meter]`` table of ``file``; relative paths in it start from the file's folder.

        Raises ConfigurationError that names the key.
        """
        reader = SettingsTable("meter", table, file, _KEYS)
        kind = reader.choice("kind", tuple(KINDS))
        if kind is None:
            raise reader.fault("kind", "is missing", f"write one of: {', '.join(KINDS)}")
        return _read(kind, reader)


def _read(kind: str, reader: SettingsTable) -> MeterSettings:
    user, password_file = reader.text("user"), reader.path("password_file")
    broker = _broker(reader, user, password_file)
    port, url, file = reader.text("port"), _url(reader), reader.path("file")
    try:
        way = _way(port, broker, url, file)
    except ValueError as error:
        raise reader.fault("kind", f"{kind}: {error}", _ways_of(kind)) from error
    if way not in KINDS[kind]:
        raise reader.fault("kind", f"{kind} is not reached by {way.value}", _ways_of(kind))
    topic = reader.text("topic")
    mapping = _mapping(reader)
    if kind == "json":
        if not mapping.rules:
            raise reader.fault("paths", "is missing", 'write paths = [{register = "import_wh", ...')
        if way is Way.MQTT and topic is None:
            raise reader.fault("topic", "is missing", "write the topic to listen to")
    pace = reader.whole("pace", 1, 1, 3_600)
    poll_s = reader.whole("poll_s", _POLL_S, 1, 3_600)
    polled = way in {Way.HTTP, Way.MODBUS}
    return MeterSettings(
        kind=kind,
        port=port,
        line=_line(kind, reader),
        broker=broker,
        topic=topic,
        url=url,
        poll_s=poll_s,
        user=user,
        password_file=password_file,
        key_file=reader.path("key_file"),
        sensor=reader.whole("sensor", 1, 0, 10**9 - 1),
        unit=reader.whole("unit", 1, 0, 247),
        is_reversed=reader.flag("reversed"),
        file=file,
        pace=pace,
        mapping=mapping,
        lists=ListMeaning(reader.choice("lists", tuple(ListMeaning)) or ListMeaning.PHASES),
        layouts=_layouts(reader),
        meter_id=mapping.meter_id,
        max_power_w=reader.whole("max_power_w", DEFAULT_MAX_POWER_W * pace, 1, 10**9),
        resolution_wh=reader.whole("resolution_wh", 1, 1, 10_000),
        period_s=reader.whole("period_s", poll_s if polled else _PERIODS_S[kind], 1, 3_600),
        producer_expected=reader.flag("producer_expected"),
    )


def _way(port: object, broker: object, url: str | None, file: object) -> Way:
    ways = [
        way
        for way, given in ((Way.SERIAL, port), (Way.MQTT, broker), (Way.FILE, file))
        if given is not None
    ]
    if url is not None:
        ways.append(_SCHEMES[url.partition("://")[0]])
    if len(ways) != 1:
        said = " and ".join(way.value for way in ways) or "neither port, broker, url nor file"
        raise ValueError(f"{said} given; exactly one says how the meter is reached")
    return ways[0]


def _ways_of(kind: str) -> str:
    return f"{kind} is reached by {' or '.join(way.value for way in KINDS[kind])}"


def _url(reader: SettingsTable) -> str | None:
    url = reader.text("url")
    if url is not None:
        scheme, mark, rest = url.partition("://")
        if "@" in rest.partition("/")[0]:
            raise reader.fault(
                "url",
                "the address holds a user or a password, which others can read here",
                "write user and password_file instead",
            )
        if not mark or scheme not in _SCHEMES or not rest.strip("/"):
            known = ", ".join(f"{name}://" for name in _SCHEMES)
            raise reader.fault("url", f"{url!r} is no address", f"begin with one of {known}")
    return url


def _broker(
    reader: SettingsTable, user: str | None, password_file: Path | None
) -> BrokerSettings | None:
    address = reader.text("broker")
    tls, ca_file = reader.flag("tls"), reader.path("ca_file")
    if address is None:
        return None
    default = MQTT_TLS_PORT if tls or ca_file else MQTT_PORT
    try:
        host, port = host_and_port(address, default)
    except ValueError as error:
        raise reader.fault("broker", str(error), "write host or host:port") from error
    return BrokerSettings(host, port, user, password_file, tls or ca_file is not None, ca_file)


def host_and_port(address: str, default_port: int) -> tuple[str, int]:
    """``host``, ``host:port``, ``[::1]`` or ``[::1]:port`` taken apart. Raises ValueError."""
    match = _BRACKETED.fullmatch(address) or _PLAIN.fullmatch(address)
    if match is None:
        raise ValueError(f"{address!r} is no host and port")
    port = default_port if match["port"] is None else int(match["port"])
    if not 0 < port < 65_536:
        raise ValueError(f"{address!r} has no port from 1 to 65535")
    return match["host"], port


def _line(kind: str, reader: SettingsTable) -> Line | None:
    """What is given of speed and characters, completed by what the kind of meter is used to."""
    baud = reader.whole("baud", 0, 0, BAUDS[-1])
    mode = reader.choice("mode", tuple(LineMode))
    if baud == 0 and mode is None:
        return None
    if baud not in {0, *BAUDS}:
        raise reader.fault("baud", f"{baud} is no usual speed", f"one of {BAUDS}")
    if kind not in LINES:
        raise reader.fault("baud" if baud else "mode", f"{kind} has no serial line")
    like = next((line for line in LINES[kind] if line.baud == baud), LINES[kind][0])
    return Line(baud or like.baud, like.mode if mode is None else LineMode(mode))


def _mapping(reader: SettingsTable) -> PathMapping:
    rules: list[PathRule] = []
    for part in reader.tables("paths", ("register", "path", "unit", "sign")):
        register = part.choice("register", tuple(Register))
        unit, path = part.text("unit"), part.text("path", may_be_empty=True)
        if register is None or unit is None:
            missing = "register" if register is None else "unit"
            raise part.fault(missing, "is missing", "for example import_wh in kWh")
        sign = part.whole("sign", 1, -1, 1)
        try:
            rules.append(PathRule(path or "", Register(register), unit, sign))
        except ValueError as error:
            raise part.fault("unit", str(error)) from error
    try:
        return PathMapping(tuple(rules), reader.text("meter_id"), reader.text("time_path"))
    except ValueError as error:
        raise reader.fault("paths", str(error)) from error


def _layouts(reader: SettingsTable) -> dict[int, NodeLayout]:
    """Radio nodes as ``emonhub.conf`` has them: names, datacodes, scales."""
    found: dict[int, NodeLayout] = {}
    for part in reader.tables("layouts", ("node", "name", "names", "datacodes", "scales")):
        node = part.whole("node", 0, 0, 255)
        names, codes = part.texts("names"), part.text("datacodes") or ""
        scales = tuple(Decimal(text) for text in part.numbers("scales"))
        name = part.text("name") or ""
        try:
            found[node] = NodeLayout(names, codes, scales, name)
        except ValueError as error:
            raise part.fault("datacodes", str(error)) from error
    return found
