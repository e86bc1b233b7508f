"""Slot arithmetic. A slot is ``[start, start + slot_s)`` in UTC, numbered ``unix_time // slot_s``.

All times are whole seconds since 1970-01-01T00:00:00Z. Daylight saving does not exist here.
"""

from __future__ import annotations

from datetime import UTC, datetime


def slot_at(unix_s: int, slot_s: int) -> int:
    """The slot that contains an instant."""
    return unix_s // slot_s


def slot_start_s(slot: int, slot_s: int) -> int:
    """The first instant of a slot."""
    return slot * slot_s


def slot_end_s(slot: int, slot_s: int) -> int:
    """The first instant after a slot."""
    return (slot + 1) * slot_s


def iso_utc(unix_s: int) -> str:
    """``2016-06-01T00:00:00Z``."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_iso_utc(text: str) -> int:
    """An ISO-8601 instant with an explicit UTC offset, as unix seconds.

    Raises ValueError when the text is no instant, has no offset, or has a fraction of a second.
    """
    instant = datetime.fromisoformat(text.strip())
    if instant.tzinfo is None:
        raise ValueError(f"no UTC offset in {text!r} (write 2016-06-01T00:00:00Z)")
    if instant.microsecond:
        raise ValueError(f"a fraction of a second in {text!r}")
    return int(instant.timestamp())
