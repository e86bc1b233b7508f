"""One document for whoever helps: settings, findings and states, with nothing private in it."""

from __future__ import annotations

import getpass
import platform
import socket
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from node import __version__
from node.config import NodeConfig, load_config
from node.doctor.findings import Report
from node.doctor.redaction import redacted_settings, redacted_text, secrets_of, typed_texts
from node.errors import ConfigurationError, DaiseeError
from node.store import NodeDatabase

__all__ = ["dump_document"]

SCHEMA: Final = "daisee.dump/1"

_LIBRARIES: Final = (
    *("aiohttp", "aiomqtt", "click", "coincurve", "eth-account", "paho-mqtt", "pycryptodome"),
    *("pymodbus", "pyserial", "web3"),
)

_SHOWN: Final[Mapping[str, Sequence[str]]] = {
    "node": (
        *("at_s", "since_s", "meter_ok", "chain_ok", "last_frame_at_s", "slot_start_s"),
        "counters",
    ),
    "meter": (
        *("state", "connected", "last_frame_at_s", "frames", "rejected", "held", "notes"),
        "fault",
    ),
    "chain": ("known", "reachable", "since_s", "block"),
    "clock": ("now_s", "synchronised", "meter_ahead_s"),
    "backup": ("at_s", "trouble"),
    "counters": (),
}
"""Of the status page, what says how the node is and not how its household lives: no energy, no
money. Nothing named here means all of it."""

_METERS: Final = 200


def dump_document(
    file: Path,
    environment: Mapping[str, str],
    report: Report,
    page: Mapping[str, Any] | None,
    *,
    flags: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """The document. ``report`` and ``page`` come from an examination of the same settings."""
    names = _names_of_this_machine()
    settings: dict[str, object] | None
    try:
        config = load_config(file, environment, flags=flags)
    except ConfigurationError:
        settings = None
        hidden = typed_texts(_content(file), names)
    else:
        settings = redacted_settings(config)
        hidden = secrets_of(config, [*names, *_meters_of(config)])
    document = report.document()
    document["checks"] = [
        {
            **check,
            "evidence": redacted_text(check["evidence"], hidden),
            "next_step": redacted_text(check["next_step"], hidden),
        }
        for check in report.rows()
    ]
    return {
        "schema": SCHEMA,
        "versions": _versions(),
        "settings": settings,
        "doctor": document,
        "status": None if page is None else _status(page, hidden),
    }


def _names_of_this_machine() -> list[str]:
    """How the machine, its user and its user's folder are called."""
    host = socket.gethostname()
    names = [host, host.partition(".")[0], str(Path.home())]
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        return names
    return [*names, user]


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _meters_of(config: NodeConfig) -> list[str]:
    """The names of the meters that the database knows."""
    path = config.storage.database
    try:
        with NodeDatabase.open_read_only(path) as database:
            return sorted({reading.meter_id for reading in database.last_readings(_METERS)})
    except DaiseeError:
        return []


def _status(page: Mapping[str, Any], hidden: Sequence[str]) -> dict[str, object]:
    shown: dict[str, object] = {}
    for part, names in _SHOWN.items():
        found = page.get(part)
        if isinstance(found, dict):
            shown[part] = {
                name: _plain(value, hidden)
                for name, value in found.items()
                if not names or name in names
            }
    troubles = page.get("troubles")
    shown["troubles"] = _plain(troubles if isinstance(troubles, list) else [], hidden)
    return shown


def _plain(value: object, hidden: Sequence[str]) -> object:
    """A JSON value with every text in it redacted."""
    if isinstance(value, str):
        return redacted_text(value, hidden)
    if isinstance(value, Mapping):
        return {name: _plain(inner, hidden) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, hidden) for inner in value]
    return value


def _versions() -> dict[str, str]:
    return {
        "daisee": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        **dict(_libraries()),
    }


def _libraries() -> Iterator[tuple[str, str]]:
    for name in _LIBRARIES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"
