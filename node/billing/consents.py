"""Consents: one for each purpose and recipient, given, dated, and as easily withdrawn.

No purpose is bundled with another, and what somebody agreed to is the wording of that day. A curve
of hours or finer needs its subscriber's consent; without a curve nobody can be allocated anything,
so withdrawing that one ends the membership, at the next period. People are told so when they join.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from node.billing.months import Month

__all__ = ["EVERYBODY", "Consent", "Purpose", "holds", "leaves_at"]

EVERYBODY: Final = "*"
"""The recipient of what is made public."""


class Purpose(StrEnum):
    """What a consent is for.

    SHARING: the curve is collected so that energy can be shared. SUPPLIER_CURVE: the supplier named
    as recipient sees the curve. PEER_COMPARISON: own figures count in comparisons among members.
    PUBLICATION: figures may be told in public without hiding whose they are, as a town's roof may.
    RESEARCH: the curve goes, without a name, to the recipient named.
    """

    SHARING = "sharing"
    SUPPLIER_CURVE = "supplier_curve"
    PEER_COMPARISON = "peer_comparison"
    PUBLICATION = "publication"
    RESEARCH = "research"


@dataclass(frozen=True, slots=True)
class Consent:
    """What somebody agreed to. ``wording`` names the text."""

    number: int
    person: str
    purpose: Purpose
    recipient: str
    wording: str
    given_s: int
    withdrawn_s: int | None = None

    def holds_at(self, instant_s: int) -> bool:
        """Whether it was given by then and not withdrawn."""
        return self.given_s <= instant_s and (
            self.withdrawn_s is None or instant_s < self.withdrawn_s
        )


def holds(
    consents: Iterable[Consent], person: str, purpose: Purpose, recipient: str, instant_s: int
) -> bool:
    """Whether a person agreed to that purpose and recipient, as of an instant."""
    return any(
        consent.person == person
        and consent.purpose is purpose
        and consent.recipient == recipient
        and consent.holds_at(instant_s)
        for consent in consents
    )


def leaves_at(consent: Consent, zone: ZoneInfo) -> int | None:
    """When a membership ends because its curve may be collected no more: the start of the local
    month after the withdrawal. None if it does not end."""
    if consent.purpose is not Purpose.SHARING or consent.withdrawn_s is None:
        return None
    local = datetime.fromtimestamp(consent.withdrawn_s, UTC).astimezone(zone)
    return Month(local.year, local.month, zone).end_s
