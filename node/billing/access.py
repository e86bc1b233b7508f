"""Who sees what: one table of roles and views, and the questions that are put to it.

A cell says how much of a view a role gets. Nothing is decided elsewhere: a new role or view fails
its test until somebody has filled in its cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from node.billing.consents import Consent, Purpose, holds
from node.errors import Refused

__all__ = ["MAY", "ORGANISER", "Grant", "Role", "Subject", "View", "Viewer", "may_see", "require"]

ORGANISER: Final = "organiser"
"""The recipient that a consent to SHARING names."""


class Role(StrEnum):
    """Who looks."""

    MEMBER = "member"
    SUPPLIER = "supplier"
    DISTRIBUTION_OPERATOR = "distribution_operator"
    ORGANISER = "organiser"
    FINANCIER = "financier"
    PUBLIC = "public"


class View(StrEnum):
    """What there is to see. The first ones are of one member, the last two of many."""

    IDENTITY = "identity"
    CURVE = "curve"
    TOTALS = "totals"
    COMPLEMENT = "complement"
    ALLOCATION = "allocation"
    COEFFICIENTS = "coefficients"
    PRODUCER_TOTALS = "producer_totals"
    MARKET = "market"
    BILL = "bill"
    DISPUTE = "dispute"
    CONSENTS = "consents"
    COMMUNITY_FIGURES = "community_figures"
    COMMUNAL_MIX = "communal_mix"

    @property
    def is_of_many(self) -> bool:
        """Whether it shows totals over members."""
        return self in {View.COMMUNITY_FIGURES, View.COMMUNAL_MIX}


class Grant(StrEnum):
    """How much of a view. OWN: of oneself. CLIENTS: of whom one supplies. CLIENTS_WITH_CONSENT: of
    those of them who agreed to this supplier's seeing the curve. WITH_CONSENT: of who agreed to
    sharing. TOTALS: only what ``node.billing.anonymity`` lets through."""

    NOTHING = "nothing"
    OWN = "own"
    CLIENTS = "clients"
    CLIENTS_WITH_CONSENT = "clients_with_consent"
    WITH_CONSENT = "with_consent"
    TOTALS = "totals"
    ALL = "all"


def _row(
    member: Grant,
    supplier: Grant,
    operator: Grant,
    organiser: Grant,
    financier: Grant = Grant.NOTHING,
    public: Grant = Grant.NOTHING,
) -> Mapping[Role, Grant]:
    cells = (member, supplier, operator, organiser, financier, public)
    return dict(zip(Role, cells, strict=True))


MAY: Final[Mapping[View, Mapping[Role, Grant]]] = {
    View.IDENTITY: _row(Grant.OWN, Grant.CLIENTS, Grant.ALL, Grant.ALL),
    View.CURVE: _row(Grant.OWN, Grant.CLIENTS_WITH_CONSENT, Grant.ALL, Grant.WITH_CONSENT),
    View.TOTALS: _row(Grant.OWN, Grant.CLIENTS, Grant.ALL, Grant.ALL),
    View.COMPLEMENT: _row(Grant.OWN, Grant.CLIENTS, Grant.ALL, Grant.ALL),
    View.ALLOCATION: _row(Grant.OWN, Grant.CLIENTS_WITH_CONSENT, Grant.ALL, Grant.WITH_CONSENT),
    View.COEFFICIENTS: _row(Grant.OWN, Grant.NOTHING, Grant.ALL, Grant.ALL),
    View.PRODUCER_TOTALS: _row(Grant.OWN, Grant.CLIENTS, Grant.ALL, Grant.ALL, Grant.ALL),
    View.MARKET: _row(Grant.OWN, Grant.CLIENTS, Grant.ALL, Grant.ALL),
    View.BILL: _row(Grant.OWN, Grant.NOTHING, Grant.NOTHING, Grant.ALL),
    View.DISPUTE: _row(Grant.OWN, Grant.CLIENTS, Grant.ALL, Grant.ALL),
    View.CONSENTS: _row(Grant.OWN, Grant.NOTHING, Grant.NOTHING, Grant.ALL),
    View.COMMUNITY_FIGURES: _row(
        Grant.TOTALS, Grant.TOTALS, Grant.ALL, Grant.ALL, Grant.TOTALS, Grant.NOTHING
    ),
    View.COMMUNAL_MIX: _row(
        Grant.TOTALS, Grant.TOTALS, Grant.ALL, Grant.ALL, Grant.TOTALS, Grant.TOTALS
    ),
}
"""The table: member, supplier, distribution operator, organiser, financier, public."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who looks. ``name`` is a person's for a member, an id for a supplier."""

    role: Role
    name: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a view is of, who supplies it, and what it agreed to."""

    person: str
    supplier: str
    consents: Iterable[Consent] = field(default=())


def may_see(viewer: Viewer, view: View, subject: Subject, now_s: int) -> bool:
    """Whether somebody may see a view of one member as of an instant. Of a view of many nobody sees
    one member, except who may see all."""
    grant = MAY[view][viewer.role]
    is_client = bool(viewer.name) and viewer.name == subject.supplier
    match grant:
        case Grant.ALL:
            return True
        case Grant.OWN:
            return bool(viewer.name) and viewer.name == subject.person
        case Grant.CLIENTS:
            return is_client
        case Grant.CLIENTS_WITH_CONSENT:
            agreed = _agreed(subject, Purpose.SUPPLIER_CURVE, viewer.name, now_s)
            return is_client and agreed
        case Grant.WITH_CONSENT:
            return _agreed(subject, Purpose.SHARING, ORGANISER, now_s)
        case Grant.TOTALS | Grant.NOTHING:
            return False


def require(viewer: Viewer, view: View, subject: Subject, now_s: int) -> None:
    """Raise Refused (``no_access``) unless ``may_see``. The message names nobody."""
    if not may_see(viewer, view, subject, now_s):
        raise Refused(
            f"a {viewer.role} may not see this {view}",
            reason="no_access",
            next_step="docs/privacy.md has the table of roles and views",
        )


def _agreed(subject: Subject, purpose: Purpose, recipient: str, now_s: int) -> bool:
    return holds(subject.consents, subject.person, purpose, recipient, now_s)
