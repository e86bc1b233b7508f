"""Opening an order's evidence commitment: the salt, both readings, the digest of the raw frames.

The commitment stands on chain since the order was accepted, before anybody knew of a dispute. Who
opens it shows what the meter said then; whether the meter was right is the ruling's to say.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from node.billing.claims import SALT_BYTES
from node.errors import ConfigurationError
from node.market.orders import evidence_commitment
from node.model import NO_EVIDENCE, OrderAccepted, RegisterReading, Side
from node.slots import iso_utc, parse_iso_utc, slot_end_s, slot_start_s

__all__ = ["Opening", "OpeningVerdict", "check_opening", "opening_document", "opening_from"]


@dataclass(frozen=True, slots=True)
class Opening:
    """What a household shows of one slot."""

    salt: bytes
    before: RegisterReading
    after: RegisterReading
    frames_digest: bytes = b""


class OpeningVerdict(StrEnum):
    """What an opening is worth. MATCHES: it is what was committed to, and the order is exactly what
    was read. BELOW: the same, and the order was less than was read, as where a limit cut it."""

    MATCHES = "matches"
    BELOW = "below"
    NO_COMMITMENT = "no_commitment"
    OTHER_COMMITMENT = "other_commitment"
    OTHER_SLOT = "other_slot"
    OTHER_METER = "other_meter"
    ABOVE = "above"

    @property
    def is_sound(self) -> bool:
        """Whether it backs the order."""
        return self in {OpeningVerdict.MATCHES, OpeningVerdict.BELOW}


def check_opening(opening: Opening, order: OrderAccepted, slot_s: int) -> OpeningVerdict:
    """Hold an opening to the event by which the chain accepted an order.

    The commitment comes first: readings that were not committed to prove nothing, whatever they
    say.
    """
    before, after = opening.before, opening.after
    if order.evidence == NO_EVIDENCE:
        return OpeningVerdict.NO_COMMITMENT
    committed = evidence_commitment(opening.salt, before, after, opening.frames_digest)
    if not hmac.compare_digest(committed, order.evidence):
        return OpeningVerdict.OTHER_COMMITMENT
    ends = slot_start_s(order.slot, slot_s), slot_end_s(order.slot, slot_s)
    if (before.taken_at_s, after.taken_at_s) != ends:
        return OpeningVerdict.OTHER_SLOT
    if after.meter_id not in {before.meter_id, *_successor(before, after)}:
        return OpeningVerdict.OTHER_METER
    if order.side is Side.ASK:
        read_wh = after.export_wh - before.export_wh
    else:
        read_wh = after.import_wh - before.import_wh
    if order.energy_wh > read_wh:
        return OpeningVerdict.ABOVE
    return OpeningVerdict.MATCHES if order.energy_wh == read_wh else OpeningVerdict.BELOW


def _successor(before: RegisterReading, after: RegisterReading) -> set[str]:
    """The meter that went on from the one before, once its owner said so."""
    return {after.meter_id} if after.continues == before.meter_id else set()


def opening_document(opening: Opening) -> dict[str, object]:
    """An opening for JSON."""
    return {
        "salt": opening.salt.hex(),
        "before": _reading_document(opening.before),
        "after": _reading_document(opening.after),
        "frames_digest": opening.frames_digest.hex(),
    }


def _reading_document(reading: RegisterReading) -> dict[str, object]:
    return {
        "meter": reading.meter_id,
        "taken_at": iso_utc(reading.taken_at_s),
        "import_wh": reading.import_wh,
        "export_wh": reading.export_wh,
        "continues": reading.continues,
    }


def opening_from(document: Mapping[str, Any]) -> Opening:
    """The opening of a document. Raises ConfigurationError for what is none."""
    try:
        return Opening(
            _salt(document["salt"]),
            _reading(document["before"]),
            _reading(document["after"]),
            bytes.fromhex(document.get("frames_digest", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"this opens nothing ({error})", next_step="make it again: daisee dispute opening"
        ) from error


def _salt(text: str) -> bytes:
    salt = bytes.fromhex(text)
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt of {len(salt)} bytes")
    return salt


def _reading(document: Mapping[str, Any]) -> RegisterReading:
    return RegisterReading(
        meter_id=str(document["meter"]),
        taken_at_s=parse_iso_utc(document["taken_at"]),
        import_wh=int(document["import_wh"]),
        export_wh=int(document["export_wh"]),
        continues=document.get("continues"),
    )
