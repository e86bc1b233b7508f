"""The operator's ruling, and what it changes: the touched steps are run again, no others.

They run under the rules of their own time: an allocation keeps the key that it was made with,
resolved for its members, and a fill the price and the fee of its slot. What comes out are
differences. Nothing that was billed or settled is rewritten.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from node.billing.allocation import Allocation, Matrix
from node.billing.claims import (
    MAX_TEXT,
    SALT_BYTES,
    Series,
    canonical,
    series_document,
    series_from,
)
from node.billing.reconcile import Entry, Fill, SideOf, period_of, reconcile, revised
from node.billing.series import MISSING, WATT_MINUTES_PER_WH, Curve, StepQuality, touched_steps
from node.errors import ConfigurationError
from node.model import Side
from node.slots import iso_utc, parse_iso_utc

__all__ = [
    "Outcome",
    "Rerun",
    "Ruling",
    "SignedRuling",
    "StepChange",
    "corrected_curve",
    "market_entries",
    "rerun",
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


@dataclass(frozen=True, slots=True)
class StepChange:
    """What changed in one step: Wh by producer and consumer, in the allocation's order."""

    step: int
    matrix: Matrix


@dataclass(frozen=True, slots=True)
class Rerun:
    """An allocation after a ruling, and the steps in which it differs from the one before."""

    before: Allocation
    after: Allocation
    changes: tuple[StepChange, ...]


def rerun(allocation: Allocation, point: str, side: Side, values_wh: Mapping[int, int]) -> Rerun:
    """Allocate the steps again of which a point's energy is now another: ``values_wh`` by step.

    All other steps stay as they were, to the Wh. A step that was open and has its last value now is
    allocated for the first time; one that still lacks another curve stays open. The sums by group
    (``pairs``) are the caller's to correct, who knows the groups. Raises ConfigurationError if the
    point has no such curve, ValueError for a step that the curves do not have.
    """
    table = allocation.production if side is Side.ASK else allocation.consumption
    if point not in table:
        raise ConfigurationError(f"{point} has no curve on this side of the allocation")
    for step in values_wh:
        if not 0 <= step < allocation.steps:
            raise ValueError(f"step {step} is not among the {allocation.steps} of the curves")
    touched = sorted(step for step, value in values_wh.items() if table[point][step] != value)
    curve = array("q", table[point])
    for step in touched:
        curve[step] = values_wh[step]
    corrected = dict(table) | {point: curve}
    after = replace(
        allocation,
        production=corrected if side is Side.ASK else allocation.production,
        consumption=corrected if side is Side.BID else allocation.consumption,
    )
    still_open = set(allocation.open_steps) & set(_open(after, touched))
    after = replace(
        after,
        open_steps=tuple(
            step for step in allocation.open_steps if step not in touched or step in still_open
        ),
    )
    ran = [step for step in touched if step not in still_open]
    now = list(after.matrices(ran))
    was = _before(allocation, ran)
    changes = tuple(
        StepChange(step, _difference(old, new))
        for step, old, new in zip(ran, was, now, strict=True)
    )
    return Rerun(allocation, _filled(after, ran, now), changes)


def _open(allocation: Allocation, steps: Iterable[int]) -> list[int]:
    curves = (*allocation.production.values(), *allocation.consumption.values())
    return [step for step in steps if any(curve[step] == MISSING for curve in curves)]


def _before(allocation: Allocation, steps: Sequence[int]) -> list[Matrix]:
    """What each step was before; nothing where it was open."""
    closed = [step for step in steps if step not in allocation.open_steps]
    known = dict(zip(closed, allocation.matrices(closed), strict=True))
    nothing = [[0] * len(allocation.consumption) for _ in allocation.production]
    return [known.get(step, nothing) for step in steps]


def _difference(before: Matrix, after: Matrix) -> Matrix:
    return [
        [new - old for old, new in zip(was, now, strict=True)]
        for was, now in zip(before, after, strict=True)
    ]


def _filled(after: Allocation, steps: Sequence[int], matrices: Sequence[Matrix]) -> Allocation:
    """The allocation with the new figures of the steps that were run again."""
    given = {point: array("q", curve) for point, curve in after.given.items()}
    allocated = {point: array("q", curve) for point, curve in after.allocated.items()}
    for step, matrix in zip(steps, matrices, strict=True):
        for curve, row in zip(given.values(), matrix, strict=True):
            curve[step] = sum(row)
        for place, curve in enumerate(allocated.values()):
            curve[step] = sum(row[place] for row in matrix)
    return replace(after, given=given, allocated=allocated)


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
