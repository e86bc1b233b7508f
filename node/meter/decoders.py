"""Which decoder reads what a meter sends: by its settings, for streams and for messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError
from node.meter import citizenwatt, emon, json_path, shelly, tasmota
from node.meter.citizenwatt import CitizenWattCodec
from node.meter.codec import Codec, Decoded
from node.meter.emon import EmonLineCodec, EmonSettings
from node.meter.p1 import EncryptedP1Codec, P1Codec
from node.meter.settings import MeterSettings
from node.meter.shelly_gen2 import Body
from node.meter.sml import SmlCodec
from node.meter.tasmota import TasmotaSettings
from node.meter.teleinfo import TeleinfoCodec, TicMode

__all__ = ["MakeCodec", "MessageDecoder", "ShellyDecoder", "message_decoder", "stream_codec"]

MakeCodec = Callable[[], Codec]
"""Makes the decoder of a new stream."""

MessageDecoder = Callable[[str, bytes], list[Decoded]]
"""Takes a topic (or the path that was asked for) and a payload. Never raises."""

MAX_SECRET_BYTES: Final = 4_096

MAX_DEVICES: Final = 64
"""Devices of one source whose last status is remembered."""

_TIC_MODES: Final = {
    "linky": TicMode.AUTO,
    "linky-historic": TicMode.HISTORIC,
    "linky-standard": TicMode.STANDARD,
}


def stream_codec(settings: MeterSettings) -> MakeCodec:
    """For what comes over a serial line or through TCP.

    Raises ConfigurationError for a key that cannot be read, ValueError for a kind without streams.
    """
    kind = settings.kind
    if kind in _TIC_MODES:
        return lambda: TeleinfoCodec(_TIC_MODES[kind])
    key = None if settings.key_file is None else _key(settings.key_file)
    if kind == "dsmr-p1":
        return P1Codec if key is None else lambda: EncryptedP1Codec(key)
    if kind == "citizenwatt":
        return lambda: CitizenWattCodec(citizenwatt.DEFAULT_KEY if key is None else key)
    if kind == "emon":
        chosen = emon_settings(settings)
        return lambda: EmonLineCodec(chosen)
    if kind == "sml":
        return SmlCodec
    raise ValueError(f"{kind} does not come as a stream")


def message_decoder(settings: MeterSettings) -> MessageDecoder:
    """For messages of a broker and answers over HTTP, of one connection.

    Raises ValueError for a kind without messages.
    """
    match settings.kind:
        case "emon":
            emon_chosen = emon_settings(settings)
            return lambda topic, payload: emon.decode_message(topic, payload, emon_chosen)
        case "tasmota":
            chosen = TasmotaSettings(settings.mapping, settings.lists)
            return lambda topic, payload: tasmota.decode_message(topic, payload, chosen)
        case "shelly":
            return ShellyDecoder()
        case "citizenwatt":
            return citizenwatt.decode_message
        case "json":
            return lambda topic, payload: json_path.decode_message(topic, payload, settings.mapping)
    raise ValueError(f"{settings.kind} does not come as messages")


def emon_settings(settings: MeterSettings) -> EmonSettings:
    """Which node's values feed the registers: the topic names it where messages are heard."""
    topic = settings.topic or ""
    node = "" if "+" in topic or "#" in topic else topic
    return EmonSettings(settings.mapping, node, settings.layouts)


class ShellyDecoder:
    """Remembers each device's last full status, which the changes that follow need."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Body]] = {}

    def __call__(self, topic: str, payload: bytes) -> list[Decoded]:
        """What one message says."""
        device = topic.removesuffix("/events/rpc").partition("/status/")[0]
        known = self._known.get(device, {})
        found = shelly.decode_message(topic, payload, known)
        if device in self._known or len(self._known) < MAX_DEVICES:
            self._known[device] = shelly.remember(known, topic, payload)
        return found


def secret(file: Path) -> str:
    """The first line of a file that holds a password or key. Raises ConfigurationError."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_SECRET_BYTES)
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read ({error.strerror})",
            file=file,
            next_step="write the secret into it, readable by the daemon's user alone (chmod 600)",
        ) from error
    line = content.split(b"\n")[0].strip()
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError("is no text", file=file) from error


def _key(file: Path) -> bytes:
    """The 16 bytes of a key, as 32 hexadecimal digits."""
    try:
        key = bytes.fromhex(secret(file))
    except ValueError as error:
        raise ConfigurationError("is no hexadecimal key", file=file) from error
    if len(key) != 16:
        raise ConfigurationError(
            f"holds {len(key)} bytes; a key of AES-128 has 16, written as 32 digits", file=file
        )
    return key
