"""The life of a dispute, as a pure state machine. The clock is an argument everywhere.

::

    open ──> evidence ──> ruled ───> settled
                 │
                 └──────> expired ─> settled

OPEN waits for the first piece of evidence or the supplier's answer, EVIDENCE for the distribution
operator's ruling. Whoever is silent loses its say, not its rights: after the supplier's days the
dispute goes on without its answer; after the operator's days it has EXPIRED, the operator's newest
value stays, marked as contested, and nothing is credited. The operator's ruling is the reference.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from node.billing.claims import SignatureCheck, SignedClaim
from node.billing.rulings import SignedRuling
from node.errors import Refused

__all__ = [
    "MAX_EVIDENCE",
    "Deadlines",
    "Dispute",
    "Evidence",
    "EvidenceKind",
    "State",
    "advance",
    "give_evidence",
    "months_before",
    "open_dispute",
    "rule",
    "settle",
]

DAY_S: Final = 86_400
MAX_EVIDENCE: Final = 500
"""Pieces of evidence of one dispute: a week of quarter hours with room to spare."""


class State(StrEnum):
    """Where a dispute stands."""

    OPEN = "open"
    EVIDENCE = "evidence"
    RULED = "ruled"
    EXPIRED = "expired"
    SETTLED = "settled"


class EvidenceKind(StrEnum):
    """An opened commitment, somebody's answer, or any other document."""

    OPENING = "opening"
    ANSWER = "answer"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The parameters of a community: days from the opening of a dispute until the supplier must
    have answered and the operator ruled, and how many months back a claim can change a bill."""

    supplier_days: int = 10
    operator_days: int = 21
    depth_months: int = 14

    def __post_init__(self) -> None:
        if not 0 < self.supplier_days < self.operator_days:
            raise ValueError("the supplier answers before the operator rules")
        if self.depth_months <= 0:
            raise ValueError(f"a depth of {self.depth_months} months")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A piece of evidence: the document itself is kept elsewhere, its digest here."""

    kind: EvidenceKind
    given_by: str
    given_s: int
    digest: bytes
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Dispute:
    """One dispute. ``is_informational``: older than the depth, so it changes no bill.
    ``is_contested``: nobody ruled, and the value that stays is under doubt."""

    signed: SignedClaim
    state: State
    opened_s: int
    answer_by_s: int
    rule_by_s: int
    is_informational: bool = False
    is_contested: bool = False
    evidence: tuple[Evidence, ...] = ()
    ruling: SignedRuling | None = None
    closed_s: int | None = None
    settlement: bytes = b""

    @property
    def number(self) -> str:
        """What it is called: the digest of its claim."""
        return self.signed.claim.digest().hex()


def months_before(instant_s: int, months: int) -> int:
    """The same day and time some months earlier, or the last day of a shorter month."""
    at = datetime.fromtimestamp(instant_s, UTC)
    year, month = divmod(at.year * 12 + at.month - 1 - months, 12)
    for day in range(at.day, at.day - 4, -1):
        try:
            return int(at.replace(year=year, month=month + 1, day=day).timestamp())
        except ValueError:
            continue  # the 31st of a month that has none
    raise AssertionError(at)


def open_dispute(
    signed: SignedClaim,
    check: SignatureCheck,
    authorised: Collection[str],
    known: Collection[str],
    deadlines: Deadlines,
    now_s: int,
) -> Dispute:
    """Open a dispute. ``authorised`` are the addresses that may claim for this household in the
    claim's role, ``known`` the numbers of all disputes there are.

    Raises Refused: ``wrong_signature``, ``not_authorised``, ``replayed``, ``in_the_future``.
    """
    claim = signed.claim
    signer = check.claimant(claim.head(), signed.signature)
    if signer is None:
        raise Refused("the claim carries no signature", reason="wrong_signature")
    if not _is_among(signer, authorised):
        raise Refused(
            f"{signer} may not claim for household {claim.series.household} as {claim.source}",
            reason="not_authorised",
            next_step="sign with the household's own key, or have this one registered",
        )
    if claim.digest().hex() in known:
        raise Refused(
            "this very claim is in the book already",
            reason="replayed",
            next_step="a new fact needs a new claim, with a salt of its own",
        )
    if claim.series.to_s > now_s or claim.made_at_s > now_s:
        raise Refused("the claim is about what has not happened yet", reason="in_the_future")
    return Dispute(
        signed,
        State.OPEN,
        now_s,
        now_s + deadlines.supplier_days * DAY_S,
        now_s + deadlines.operator_days * DAY_S,
        is_informational=claim.series.from_s < months_before(now_s, deadlines.depth_months),
    )


def advance(dispute: Dispute, now_s: int) -> Dispute:
    """What the passing of time has made of a dispute; every other step begins with it."""
    if dispute.state is State.OPEN and now_s >= dispute.answer_by_s:
        dispute = replace(dispute, state=State.EVIDENCE)
    if dispute.state is State.EVIDENCE and now_s >= dispute.rule_by_s:
        return replace(dispute, state=State.EXPIRED, is_contested=True, closed_s=dispute.rule_by_s)
    return dispute


def give_evidence(dispute: Dispute, evidence: Evidence) -> Dispute:
    """Add a piece of evidence, at the time that it carries. The same one again changes nothing.

    Raises Refused (``closed``, ``too_much``).
    """
    dispute = advance(dispute, evidence.given_s)
    _refuse_unless(dispute, State.OPEN, State.EVIDENCE)
    given = {(piece.kind, piece.digest) for piece in dispute.evidence}
    if (evidence.kind, evidence.digest) in given:
        return dispute
    if len(dispute.evidence) >= MAX_EVIDENCE:
        raise Refused(f"{MAX_EVIDENCE} pieces of evidence are enough", reason="too_much")
    return replace(dispute, state=State.EVIDENCE, evidence=(*dispute.evidence, evidence))


def rule(
    dispute: Dispute,
    signed: SignedRuling,
    check: SignatureCheck,
    rulers: Collection[str],
    now_s: int,
) -> Dispute:
    """Take the distribution operator's ruling. ``rulers`` are its addresses.

    Raises Refused: ``closed`` (before the evidence, after the deadline, twice), ``other_claim``,
    ``wrong_signature``, ``not_authorised``.
    """
    dispute = advance(dispute, now_s)
    _refuse_unless(dispute, State.EVIDENCE)
    ruling, claim = signed.ruling, dispute.signed.claim
    if ruling.claim != claim.digest():
        raise Refused("the ruling is about another claim", reason="other_claim")
    reference = ruling.reference
    if reference is not None and (
        (reference.household, reference.side) != (claim.series.household, claim.series.side)
        or reference.from_s < claim.series.from_s
        or reference.to_s > claim.series.to_s
    ):
        raise Refused("the ruling states what was not in dispute", reason="other_claim")
    signer = check.ruler(ruling.claim, ruling.outcome.value, ruling.digest(), signed.signature)
    if signer is None:
        raise Refused("the ruling carries no signature", reason="wrong_signature")
    if not _is_among(signer, rulers):
        raise Refused(f"{signer} is not the distribution operator", reason="not_authorised")
    return replace(dispute, state=State.RULED, ruling=signed, closed_s=now_s)


def settle(dispute: Dispute, settlement: bytes, now_s: int) -> Dispute:
    """Close a dispute for good. ``settlement`` is the digest of the notes, empty if there are none.

    Raises Refused (``closed``; ``nothing_to_settle``: notes without a ruling that could give any).
    """
    dispute = advance(dispute, now_s)
    _refuse_unless(dispute, State.RULED, State.EXPIRED)
    if settlement and (
        dispute.is_informational
        or dispute.ruling is None
        or dispute.ruling.ruling.reference is None
    ):
        raise Refused("nothing was ruled that could change a bill", reason="nothing_to_settle")
    return replace(dispute, state=State.SETTLED, settlement=settlement)


def _is_among(address: str, addresses: Collection[str]) -> bool:
    """Whatever the case that its digits are written in."""
    return address.lower() in {one.lower() for one in addresses}


def _refuse_unless(dispute: Dispute, *states: State) -> None:
    if dispute.state not in states:
        wanted = " or ".join(states)
        raise Refused(
            f"dispute {dispute.number[:12]} is {dispute.state}, not {wanted}",
            reason="closed",
            next_step="daisee dispute show tells its deadlines and what comes next",
        )
