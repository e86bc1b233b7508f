"""From a list of values to registers, power and server id.

Power has a direction only in 16.7.0, which is signed. 15.7.0 is the sum of both directions and
1.7.0 import alone: they are shown, and no power is taken from them. The meter's time is mostly
seconds since it was switched on: it is not read at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from node.meter.codec import MAX_REJECTED_BYTES, Decoded, MeterFrame, Rejected
from node.meter.sml.messages import MAX_SCALER, Entry, ValueList, value_lists
from node.meter.sml.tlv import Element, MalformedError
from node.model import EvidenceClass

KIND: Final = "sml"

NO_PIN: Final = (
    "only whole kWh and no power: enter the PIN that your meter operator gives you at the meter "
    "(press its button or flash a torch), or slots stay empty until the next kWh"
)
NO_DIRECTION: Final = (
    "the meter tells power without its direction: it is shown, and not used as import or export"
)
NO_REGISTERS: Final = "the frame tells no energy register"

_UNIT_WH: Final = 30
_UNIT_W: Final = 27

_NET_POWER: Final = "0100100700ff"
_POWER_WITHOUT_DIRECTION: Final = ("01000f0700ff", "0100010700ff")
_SERVER_IDS: Final = ("0100600100ff", "0100000009ff")
_TARIFFS: Final = range(1, 10)


def decode_body(body: bytes, *, checked: bool = True, valueless: bool = False) -> Decoded:
    """What a body without its transport says: a frame, or why it is refused.

    ``checked`` and ``valueless`` as for ``value_lists``.
    """
    try:
        lists = value_lists(body, checked=checked, valueless=valueless)
        return _frame(lists)
    except MalformedError as error:
        return Rejected(str(error), body[:MAX_REJECTED_BYTES])


def _frame(lists: Sequence[ValueList]) -> MeterFrame:
    entries = _entries_by_code(lists)
    import_wh, export_wh = _register_wh(entries, "01"), _register_wh(entries, "02")
    return MeterFrame(
        kind=KIND,
        evidence_class=EvidenceClass.B,
        meter_id=_server_id(entries, lists),
        import_wh=import_wh,
        export_wh=export_wh,
        power_w=_power_w(entries),
        fields={code: _text(entry.value, entry.scaler) for code, entry in entries.items()},
        notes=tuple(_notes(entries, import_wh, export_wh)),
    )


def _entries_by_code(lists: Sequence[ValueList]) -> Mapping[str, Entry]:
    if not lists:
        raise MalformedError("there is no list of values in it")
    entries: dict[str, Entry] = {}
    for entry in (entry for values in lists for entry in values.entries):
        if entries.setdefault(entry.code, entry) != entry:
            raise MalformedError(f"{entry.code} is said twice, with different values")
    return entries


def _register_wh(entries: Mapping[str, Entry], quantity: str) -> int | None:
    """The total, or the sum of the tariffs where there is no total, cut to whole Wh."""
    total = f"0100{quantity}0800ff"
    tariffs = [f"0100{quantity}08{tariff:02x}ff" for tariff in _TARIFFS]
    said = [entries[code] for code in ([total] if total in entries else tariffs) if code in entries]
    values = [_exact(entry, _UNIT_WH) for entry in said]
    readable = [value for value in values if value is not None]
    if not readable or len(readable) < len(said):
        return None
    if min(readable) < 0:
        raise MalformedError(f"an energy register of {total} is negative")
    return int(sum(readable) // 10**MAX_SCALER)


def _power_w(entries: Mapping[str, Entry]) -> int | None:
    """Import positive, cut towards 0 to whole W."""
    entry = entries.get(_NET_POWER)
    exact = None if entry is None else _exact(entry, _UNIT_W)
    if exact is None:
        return None
    whole = abs(exact) // 10**MAX_SCALER
    return whole if exact >= 0 else -whole


def _exact(entry: Entry, unit: int) -> int | None:
    """A number in the unit times 10**MAX_SCALER: an integer for every scaler there is."""
    value = entry.value
    if isinstance(value, bool) or not isinstance(value, int) or entry.unit != unit:
        return None
    return value * int(10 ** (entry.scaler + MAX_SCALER))


def _server_id(entries: Mapping[str, Entry], lists: Sequence[ValueList]) -> str | None:
    """From the entries, else from the head of the list: some meters say it only there."""
    for code in _SERVER_IDS:
        entry = entries.get(code)
        if entry is not None and isinstance(entry.value, bytes):
            return entry.value.hex()
    heads = [values.server_id.hex() for values in lists if values.server_id]
    return heads[0] if heads else None


def _notes(entries: Mapping[str, Entry], import_wh: int | None, export_wh: int | None) -> list[str]:
    registers = [value for value in (import_wh, export_wh) if value is not None]
    has_directionless = any(code in entries for code in _POWER_WITHOUT_DIRECTION)
    if not registers:
        return [NO_REGISTERS]
    if _NET_POWER in entries:
        return []
    if has_directionless:
        return [NO_DIRECTION]
    return [] if any(value % 1000 for value in registers) else [NO_PIN]


def _text(value: Element, scaler: int) -> str:
    """A value as text: a scaled number in full, octets in hexadecimal, lists in brackets."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return f"[{', '.join(_text(element, 0) for element in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _scaled(value, scaler)


def _scaled(value: int, scaler: int) -> str:
    """``(216, -1)`` as ``21.6``, ``(2160, -2)`` too, ``(21, 3)`` as ``21000``."""
    if scaler >= 0:
        return str(value * 10**scaler)
    whole, decimals = divmod(abs(value), 10**-scaler)
    shown = f"{decimals:0{-scaler}d}".rstrip("0") or "0"
    return f"{'-' if value < 0 else ''}{whole}.{shown}"
