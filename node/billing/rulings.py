"""The operator's ruling, and what it changes of a market's allocations.

Only the touched periods are reconciled again, each fill at the price and the fee of its slot. What
comes out are differences; nothing that was settled is rewritten. What a ruling changes of bills is
``node.billing.in_force``'s to say, and ``node.billing.monthly``'s to carry out.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from node.billing.curve_store import Said
from node.billing.reconcile import Entry, Fill, SideOf, period_of, reconcile, revised
from node.billing.series import MISSING, WATT_MINUTES_PER_WH, Curve, StepQuality
from node.errors import ConfigurationError
from node.slots import iso_utc, parse_iso_utc

__all__ = [
    "MarketRuling",
    "Outcome",
    "Ruling",
    "SignedRuling",
    "corrected_curve",
    "market_entries",
    "ruled_curves",
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


@dataclass(frozen=True, slots=True)
class MarketRuling:
    """What the operator ruled of a household that trades, and when."""

    reference: Series
    made_at_s: int


def ruled_curves(
    official: Mapping[SideOf, Curve],
    rulings: Iterable[MarketRuling],
    said: Callable[[Curve, int], Said | None],
) -> dict[SideOf, Curve]:
    """The operator's curves with the rulings that are in force: of a step's ruling and a correction
    of the curve the later one, as in ``node.billing.in_force``; ``said`` tells who said last what
    the curve has in a step. What was ruled outside the curves is left out.

    Raises ConfigurationError for a ruling in other steps than its curve.
    """
    found = dict(official)
    for ruling in sorted(rulings, key=lambda one: one.made_at_s):
        reference = ruling.reference
        place = (reference.household, reference.side)
        if place not in found:
            continue
        values = []
        for start_s, value in _steps(reference):
            latest = said(official[place], start_s)
            inside = official[place].start_s <= start_s < official[place].end_s
            holds = latest is None or not latest.is_corrected or latest.at_s <= ruling.made_at_s
            values.append(value if inside and holds else MISSING)
        if any(value != MISSING for value in values):
            found[place] = corrected_curve(
                found[place], replace(reference, values_wh=tuple(values))
            )
    return found


def _steps(reference: Series) -> Iterator[tuple[int, int]]:
    for place, value in enumerate(reference.values_wh):
        yield reference.from_s + place * reference.step_s, value


def market_entries(
    fills: Sequence[Fill],
    official: Mapping[SideOf, Curve],
    ruling: MarketRuling,
    slot_s: int,
    *,
    earlier: Sequence[Entry] | None = None,
    rulings: Sequence[MarketRuling] = (),
    said: Callable[[Curve, int], Said | None] = lambda _curve, _start_s: None,
) -> list[Entry]:
    """What a ruling changes of the market's allocations: correction entries that lead from what is
    in force to what holds now. They sum to zero in energy and in money.

    ``earlier`` are all entries that were made before, ``rulings`` those that they were made with;
    without them it is taken that the curves were reconciled as they are. Only the periods that the
    ruling touches are reconciled again, each fill at the price and the fee of its slot. Raises
    ConfigurationError if there is no curve to correct.
    """
    reference = ruling.reference
    if (reference.household, reference.side) not in official:
        raise ConfigurationError(f"household {reference.household} has no curve on that side")
    period_s = period_of(slot_s, official.values())
    periods = {
        number
        for start_s in reference.stated()
        for number in range(start_s // period_s, -(-(start_s + reference.step_s) // period_s))
    }
    inside = [fill for fill in fills if fill.slot * slot_s // period_s in periods]
    if earlier is None:
        before: Sequence[Entry] = reconcile(
            inside, ruled_curves(official, rulings, said), slot_s
        ).entries
    else:
        before = [entry for entry in earlier if entry.slot * slot_s // period_s in periods]
    now = ruled_curves(official, (*rulings, ruling), said)
    return revised(before, reconcile(inside, now, slot_s).entries)
