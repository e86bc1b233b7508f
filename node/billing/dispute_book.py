"""Where disputes are kept: each sealed under the key of the person whom it concerns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from node.billing.dispute_documents import dispute_document, dispute_from
from node.billing.disputes import Dispute, advance
from node.billing.people import People, PeopleStorage
from node.billing.vault import Row, SealedRecord
from node.errors import Refused

__all__ = ["DISPUTE", "EVIDENCE", "NOTE", "DisputeBook", "DisputeStorage"]

DISPUTE: Final = "dispute"
EVIDENCE: Final = "evidence"
NOTE: Final = "note"
_LEAST_PREFIX: Final = 6


class DisputeStorage(PeopleStorage, Protocol):
    """All that disputes need."""

    def set_dispute(self, dispute: str, person: str, sealed: int, opened_s: int) -> None:
        """Which record is the newest of a dispute."""
        ...

    def disputes(self) -> Sequence[Row]:
        """All there ever were."""
        ...

    def authorities(self, role: str, at_s: int) -> Sequence[str]:
        """The addresses of a role."""
        ...


class DisputeBook:
    """Keeps disputes, and finds them again."""

    def __init__(self, people: People, storage: DisputeStorage) -> None:
        self.people = people
        self._storage = storage

    def numbers(self) -> set[str]:
        """The numbers of all disputes, those of erased people too: a claim is never taken twice."""
        return {row[0] for row in self._storage.disputes()}

    def all(self, now_s: int) -> list[tuple[str, Dispute]]:
        """Every dispute that can be opened, with its person, as time has made it; oldest first."""
        found = []
        for record in self._records().values():
            dispute = advance(dispute_from(record.document), now_s)
            found.append((record.person, dispute))
        return sorted(found, key=lambda pair: (pair[1].opened_s, pair[1].number))

    def find(self, wanted: str, now_s: int) -> tuple[str, Dispute]:
        """The dispute whose number begins so. Raises Refused (``unknown_dispute``)."""
        fitting = [
            (person, dispute)
            for person, dispute in self.all(now_s)
            if dispute.number.startswith(wanted.lower())
        ]
        if len(wanted) < _LEAST_PREFIX or len(fitting) != 1:
            raise Refused(
                f"{len(fitting)} disputes begin with {wanted!r}",
                reason="unknown_dispute",
                next_step=f"give {_LEAST_PREFIX} characters or more; daisee dispute list has them",
            )
        return fitting[0]

    def keep(self, person: str, dispute: Dispute, now_s: int) -> None:
        """Keep a dispute in place of what was kept of it. Inside a transaction of the caller's."""
        before = self._records().get(dispute.number)
        document = dispute_document(dispute)
        if before is not None:
            number = self.people.vault.replace(before, DISPUTE, document, now_s)
        else:
            about_s = dispute.signed.claim.series.to_s
            number = self.people.vault.put(person, DISPUTE, document, about_s, now_s)
        self._storage.set_dispute(dispute.number, person, number, dispute.opened_s)

    def keep_evidence(
        self, person: str, dispute: Dispute, document: Mapping[str, object], now_s: int
    ) -> None:
        """Keep the document behind a piece of evidence."""
        about_s = dispute.signed.claim.series.to_s
        kept = {"dispute": dispute.number, **document}
        self.people.vault.put(person, EVIDENCE, kept, about_s, now_s)

    def _records(self) -> dict[str, SealedRecord]:
        return {record.document["number"]: record for record in self.people.vault.all_of(DISPUTE)}
