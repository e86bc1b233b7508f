"""The people of an operation, as their organiser keeps them: who they are, which household and
which delivery points are theirs, whose keys sign for them; each sealed under a key of its own.

Here, and nowhere else, a number on chain meets a name. Whoever is to be found by household or point
is looked for among the opened records; there is no index that would survive an erasure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from node.billing.claims import Source
from node.billing.consents import Consent, Purpose
from node.billing.vault import Row, Vault, VaultStorage
from node.errors import Refused
from node.model import Side
from node.slots import iso_utc

__all__ = [
    "EXPORT_FORM",
    "PERSON",
    "ConsentStorage",
    "Member",
    "People",
    "PeopleStorage",
    "consent_document",
]

PERSON: Final = "person"
EXPORT_FORM: Final = "daisee-person-1"
_FOREVER_S: Final = 2**40


@dataclass(frozen=True, slots=True)
class Member:
    """A person's record. Points are empty where there is none; ``signers`` and ``sensors`` are the
    addresses whose signatures count as the household's and as its sensor's."""

    name: str
    household: int
    withdrawal: str = ""
    injection: str = ""
    contact: str = ""
    supplier: str = ""
    signers: tuple[str, ...] = ()
    sensors: tuple[str, ...] = ()

    def point(self, side: Side) -> str:
        """The delivery point of a side."""
        return self.injection if side is Side.ASK else self.withdrawal


class ConsentStorage(Protocol):
    """Where consents are kept."""

    def add_consent(self, row: Row) -> int:
        """Keep one."""
        ...

    def consents(self, person: str | None = None) -> Sequence[Row]:
        """Those of a person, or all."""
        ...

    def withdraw_consent(self, number: int, at_s: int) -> bool:
        """Say when it was withdrawn."""
        ...


class PeopleStorage(VaultStorage, ConsentStorage, Protocol):
    """All that people need."""


class People:
    """Finds, keeps and exports people."""

    def __init__(self, vault: Vault, storage: PeopleStorage) -> None:
        self.vault = vault
        self._storage = storage

    def add(self, member: Member, now_s: int) -> str:
        """Take a person in; its random name. Raises Refused (``taken``) for a household or a point
        that is somebody else's."""
        for person, other in self.all().items():
            if other.household == member.household or (
                {member.withdrawal, member.injection} & {other.withdrawal, other.injection} - {""}
            ):
                raise Refused(
                    f"that household or point is {person}'s already",
                    reason="taken",
                    next_step="correct the number, or erase who left",
                )
        with self._storage.transaction():
            person = self.vault.add_person(now_s)
            self.vault.put(person, PERSON, asdict(member), _FOREVER_S, now_s)
        return person

    def all(self) -> dict[str, Member]:
        """Everybody who was not erased, by random name."""
        return {record.person: _member(record.document) for record in self.vault.all_of(PERSON)}

    def find(self, wanted: str) -> tuple[str, Member]:
        """The person that somebody means by random name, household number or delivery point.

        Raises Refused (``unknown_person``).
        """
        for person, member in self.all().items():
            if wanted in {person, str(member.household), *filter(None, _points(member))}:
                return person, member
        raise Refused(
            f"nobody here is {wanted!r}, or the person was erased",
            reason="unknown_person",
            next_step="daisee person list",
        )

    def claimants(self, member: Member, source: Source, suppliers: Sequence[str]) -> set[str]:
        """The addresses that may claim for a member in a role."""
        match source:
            case Source.HOUSEHOLD:
                return set(member.signers)
            case Source.SENSOR:
                return set(member.sensors)
            case Source.SUPPLIER:
                return set(suppliers)

    def grant(
        self, person: str, purpose: Purpose, recipient: str, wording: str, now_s: int
    ) -> Consent:
        """Record a consent. The same one again, while it holds, is the same one."""
        for consent in self.consents(person):
            same = (consent.purpose, consent.recipient, consent.wording)
            if same == (purpose, recipient, wording) and consent.holds_at(now_s):
                return consent
        row = (person, purpose.value, recipient, wording, now_s)
        number = self._storage.add_consent(row)
        return Consent(number, person, purpose, recipient, wording, now_s)

    def withdraw(
        self, person: str, purpose: Purpose, recipient: str | None, now_s: int
    ) -> list[Consent]:
        """Withdraw what a person agreed to for a purpose, to one recipient or to all."""
        withdrawn = [
            consent
            for consent in self.consents(person)
            if consent.purpose is purpose
            and consent.holds_at(now_s)
            and recipient in {None, consent.recipient}
        ]
        for consent in withdrawn:
            self._storage.withdraw_consent(consent.number, now_s)
        numbers = {consent.number for consent in withdrawn}
        return [consent for consent in self.consents(person) if consent.number in numbers]

    def consents(self, person: str | None = None) -> list[Consent]:
        """Consents of a person, or all, oldest first."""
        return [
            Consent(row[0], row[1], Purpose(row[2]), *row[3:])
            for row in self._storage.consents(person)
        ]

    def export(self, person: str, now_s: int) -> dict[str, object]:
        """All that is kept of a person, for that person: form ``daisee-person-1``."""
        return {
            "form": EXPORT_FORM,
            "made_at": iso_utc(now_s),
            "person": person,
            "consents": [consent_document(consent) for consent in self.consents(person)],
            "records": [
                {
                    "kind": record.kind,
                    "about": None if record.about_s == _FOREVER_S else iso_utc(record.about_s),
                    "stored": iso_utc(record.stored_s),
                    "document": dict(record.document),
                }
                for record in self.vault.records(person)
            ],
        }


def consent_document(consent: Consent) -> dict[str, object]:
    """A consent for JSON."""
    return {
        "number": consent.number,
        "person": consent.person,
        "purpose": consent.purpose.value,
        "recipient": consent.recipient,
        "wording": consent.wording,
        "given": iso_utc(consent.given_s),
        "withdrawn": None if consent.withdrawn_s is None else iso_utc(consent.withdrawn_s),
    }


def _points(member: Member) -> tuple[str, str]:
    return member.withdrawal, member.injection


def _member(document: Mapping[str, Any]) -> Member:
    keys = {name: tuple(document[name]) for name in ("signers", "sensors")}
    return Member(**{**document, **keys})
