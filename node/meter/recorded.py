"""Recorded messages: one JSON object per line, ``{"topic": ..., "payload": ...}``.

That is what ``mosquitto_sub -F %j`` and ``-F %J`` write, and what people send us. A line without
such an envelope is a bare payload, and so is a file that is one JSON document over many lines.
"""

from __future__ import annotations

import json
from typing import Final

from node.meter.codec import Rejected
from node.meter.messages import MAX_MESSAGE_BYTES, JsonValue, parse_json, raw_text

MAX_ENVELOPE_BYTES: Final = 7 * MAX_MESSAGE_BYTES
"""A payload within its own bound can grow to six times its size when JSON escapes it."""

Message = tuple[str, bytes]
"""Topic (empty when none was recorded) and payload."""


def messages_of(recording: bytes) -> list[Message]:
    """Every message of a recording, in order. Whatever is no envelope is left to the decoder, which
    reads or refuses it."""
    whole = parse_json(recording, MAX_ENVELOPE_BYTES)
    if not isinstance(whole, Rejected):
        return [_message(whole, recording.strip())]
    lines = (line.strip() for line in recording.splitlines())
    return [_message(parse_json(line, MAX_ENVELOPE_BYTES), line) for line in lines if line]


def envelope(topic: str, payload: bytes) -> bytes:
    """One line of a recording. Bytes that are no text are kept as hexadecimal."""
    try:
        said = {"topic": topic, "payload": payload.decode("utf-8")}
    except UnicodeDecodeError:
        said = {"topic": topic, "payload_hex": payload.hex()}
    return json.dumps(said).encode("ascii") + b"\n"


def _message(value: JsonValue | Rejected, line: bytes) -> Message:
    if not isinstance(value, dict):
        return "", line
    topic = value.get("topic")
    if not isinstance(topic, str):
        return "", line
    if "payload" in value:
        return topic, raw_text(value["payload"]).encode("utf-8")
    hexadecimal = value.get("payload_hex")
    if isinstance(hexadecimal, str):
        return topic, _bytes_of(hexadecimal, line)
    return "", line


def _bytes_of(hexadecimal: str, line: bytes) -> bytes:
    try:
        return bytes.fromhex(hexadecimal)
    except ValueError:
        return line
