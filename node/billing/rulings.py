"""The operator's ruling, and what it changes of a market's allocations.

Only the touched periods are reconciled again, each fill at the price and the fee of its slot. What
comes out are differences; nothing that was settled is rewritten. What a ruling changes of bills is
``node.billing.in_force``'s to say, and ``node.billing.monthly``'s to carry out.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from node.billing.claims import (
    MAX_TEXT,
    SALT_BYTES,
    Series,
    canonical,
    series_document,
    series_from,
)
from node.billing.reconcile import Entry, Fill, SideOf, period_of, reconcile, revised
from node.billing.series import WATT_MINUTES_PER_WH, Curve, StepQuality, touched_steps
from node.errors import ConfigurationError
from node.slots import iso_utc, parse_iso_utc

__all__ = [
    "Outcome",
    "Ruling",
    "SignedRuling",
    "corrected_curve",
    "market_entries",
    "ruling_document",
    "ruling_from",
]


class Outcome(StrEnum):
    """UPHELD: the claim is right. ADJUSTED: neither value was. REJECTED: the measure stays."""

    UPHELD = "upheld"
    ADJUSTED = "adjusted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the distribution operator decided. ``reference`` is what was measured, from now on; None
    if the claim was rejected. ``rules`` names the version under which the steps were settled. The
    salt keeps the digest on chain from telling anything."""

    claim: bytes
    outcome: Outcome
    reference: Series | None
    rules: str
    made_at_s: int
    salt: bytes
    text: str = ""

    def __post_init__(self) -> None:
        if (self.outcome is Outcome.REJECTED) != (self.reference is None):
            raise ValueError(f"a claim that is {self.outcome} states values unless it is rejected")
        if len(self.salt) != SALT_BYTES:
            raise ValueError(f"a salt of {len(self.salt)} bytes instead of {SALT_BYTES}")
        if len(self.text) > MAX_TEXT:
            raise ValueError(f"a text of {len(self.text)} characters; at most {MAX_TEXT}")

    def digest(self) -> bytes:
        """32 bytes for the chain."""
        return hashlib.sha256(canonical(_content(self))).digest()


@dataclass(frozen=True, slots=True)
class SignedRuling:
    """A ruling and the operator's 64-byte signature (EIP-2098)."""

    ruling: Ruling
    signature: bytes


def _content(ruling: Ruling) -> dict[str, object]:
    reference = ruling.reference
    return {
        "claim": ruling.claim.hex(),
        "outcome": ruling.outcome.value,
        "reference": None if reference is None else series_document(reference),
        "rules": ruling.rules,
        "made_at": iso_utc(ruling.made_at_s),
        "salt": ruling.salt.hex(),
        "text": ruling.text,
    }


def ruling_document(signed: SignedRuling) -> dict[str, object]:
    """A signed ruling for JSON."""
    return {**_content(signed.ruling), "signature": signed.signature.hex()}


def ruling_from(document: Mapping[str, Any]) -> SignedRuling:
    """The signed ruling of a document. Raises ConfigurationError for what is none."""
    try:
        reference = document["reference"]
        ruling = Ruling(
            claim=bytes.fromhex(document["claim"]),
            outcome=Outcome(document["outcome"]),
            reference=None if reference is None else series_from(reference),
            rules=str(document["rules"]),
            made_at_s=parse_iso_utc(document["made_at"]),
            salt=bytes.fromhex(document["salt"]),
            text=str(document.get("text", "")),
        )
        return SignedRuling(ruling, bytes.fromhex(document["signature"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"this is no signed ruling ({error})") from error


def corrected_curve(curve: Curve, reference: Series) -> Curve:
    """The operator's curve with a ruling's values in place of its own, marked as corrected.

    Raises ConfigurationError for other steps, or a span that the curve does not cover.
    """
    if reference.step_s != curve.step_s:
        raise ConfigurationError(
            f"the ruling has steps of {reference.step_s} s, the curve of {curve.step_s} s",
            next_step="rule in the steps of the official curve",
        )
    values, quality = array("q", curve.watt_minutes), bytearray(curve.quality)
    for start_s, value_wh in reference.stated().items():
        place = (start_s - curve.start_s) // curve.step_s
        if not 0 <= place < len(values):
            raise ConfigurationError(f"the curve does not cover {iso_utc(start_s)}")
        values[place] = value_wh * WATT_MINUTES_PER_WH
        quality[place] = StepQuality.CORRECTED
    return replace(curve, watt_minutes=values, quality=bytes(quality))


def market_entries(
    fills: Sequence[Fill],
    official: Mapping[SideOf, Curve],
    reference: Series,
    slot_s: int,
) -> list[Entry]:
    """What a ruling changes of the market's allocations: correction entries that lead from what was
    reconciled with the curves before to what holds now. They sum to zero in energy and in money.

    Only the periods that the ruling touches are reconciled again, each fill at the price and the
    fee of its slot. Raises ConfigurationError if there is no curve to correct.
    """
    place = (reference.household, reference.side)
    if place not in official:
        raise ConfigurationError(f"household {reference.household} has no curve on that side")
    before = official[place]
    after = corrected_curve(before, reference)
    period_s = period_of(slot_s, official.values())
    periods = {
        number
        for run in touched_steps(before, after)
        for number in range(run.from_s // period_s, -(-run.to_s // period_s))
    }
    inside = [fill for fill in fills if fill.slot * slot_s // period_s in periods]
    earlier = reconcile(inside, official, slot_s).entries
    now = reconcile(inside, {**official, place: after}, slot_s).entries
    return revised(earlier, now)
