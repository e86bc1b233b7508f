"""The database of whoever organises the sharing: people, consents, claims, all of it sealed.

It keeps and gives back rows; sealing and opening is ``node.billing.vault``'s. What is deleted here
is overwritten in the file, and does not stay in its log.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from node.store.backup import BACKUPS_KEPT, back_up
from node.store.database import Database, make_private
from node.store.opening import open_for_writing
from node.store.sqlite import DatabaseKind, Row

__all__ = ["OperatorDatabase"]

KIND: Final = DatabaseKind(
    title="database of people and papers",
    schema="operator",
    application_id=int.from_bytes(b"dsOP"),
    repair="put the last backup in its place",
)

_SET_MASTER: Final = "INSERT OR REPLACE INTO vault VALUES (1, ?)"
_ADD_PERSON: Final = "INSERT INTO person VALUES (?, ?, ?, NULL)"
_ERASE_PERSON: Final = "UPDATE person SET wrapped_key = NULL, erased_s = ? WHERE person = ?"
_ADD_SEALED: Final = (
    "INSERT INTO sealed (person, kind, about_s, stored_s, body) VALUES (?, ?, ?, ?, ?)"
    " RETURNING number"
)
_SEALED: Final = "SELECT number, person, kind, about_s, stored_s, body FROM sealed"
_ADD_CONSENT: Final = (
    "INSERT INTO consent (person, purpose, recipient, wording, given_s) VALUES (?, ?, ?, ?, ?)"
    " RETURNING number"
)
_CONSENTS: Final = (
    "SELECT number, person, purpose, recipient, wording, given_s, withdrawn_s FROM consent"
)
_WITHDRAW: Final = "UPDATE consent SET withdrawn_s = ? WHERE number = ? AND withdrawn_s IS NULL"
_SET_DISPUTE: Final = "INSERT OR REPLACE INTO dispute VALUES (?, ?, ?, ?)"


class OperatorDatabase(Database):
    """People and papers on SQLite. Use as a context manager, or ``close`` it.

    Every method may raise StorageBusy (disk full, file held by another program) or
    ConfigurationError (damaged or read-only file); see ``node.store.sqlite``.
    """

    @classmethod
    def open(cls, path: Path | None) -> OperatorDatabase:
        """Open or create one, readable by its owner alone; None keeps it in memory.

        Raises ConfigurationError (no such folder, no access, damaged, newer or foreign file).
        """
        if path is not None:
            make_private(KIND, path)
        connection = open_for_writing(KIND, path, synchronous="FULL")
        connection.execute("PRAGMA secure_delete = ON")
        return cls(connection)

    def backup(self, path: Path, *, keep: int = BACKUPS_KEPT) -> None:
        """Copy everything to ``path``, rotating what is there. The master key is not in it."""
        assert self._connection.path is not None
        back_up(KIND, self._connection.path, path, keep=keep)

    def forget_log(self) -> None:
        """Empty the write-ahead log into the file, so that nothing deleted stays in it."""
        self._connection.all("PRAGMA wal_checkpoint(TRUNCATE)")

    def master(self) -> bytes | None:
        """The fingerprint of the master key; None in a new database."""
        row = self._connection.one("SELECT master FROM vault")
        return None if row is None else bytes(row[0])

    def set_master(self, fingerprint: bytes) -> None:
        """Say which master key holds from now on."""
        self._connection.execute(_SET_MASTER, (fingerprint,))

    def add_person(self, person: str, wrapped_key: bytes, created_s: int) -> None:
        """Keep a new person's wrapped key."""
        self._connection.execute(_ADD_PERSON, (person, wrapped_key, created_s))

    def persons(self) -> Sequence[tuple[str, bytes | None]]:
        """Every person there ever was, with its wrapped key if it still has one."""
        rows = self._connection.all("SELECT person, wrapped_key FROM person ORDER BY person")
        return [(row[0], row[1]) for row in rows]

    def set_key(self, person: str, wrapped_key: bytes) -> None:
        """The same key, wrapped anew."""
        self._connection.execute(
            "UPDATE person SET wrapped_key = ? WHERE person = ?", (wrapped_key, person)
        )

    def erase_person(self, person: str, at_s: int) -> int:
        """Delete a person's key and all that is sealed under it; how many records."""
        self._connection.execute(_ERASE_PERSON, (at_s, person))
        return self._connection.execute("DELETE FROM sealed WHERE person = ?", (person,))

    def add_sealed(self, row: Row) -> int:
        """Keep a record (person, kind, about, stored, body); its number."""
        kept = self._connection.one(_ADD_SEALED, row)
        assert kept is not None
        return int(kept[0])

    def sealed(self, *, person: str | None = None, kind: str | None = None) -> Sequence[Row]:
        """Records (number, person, kind, about, stored, body), oldest first."""
        terms = [(f"{name} = ?", value) for name, value in (("person", person), ("kind", kind))]
        given = [(term, value) for term, value in terms if value is not None]
        where = " WHERE " + " AND ".join(term for term, _ in given) if given else ""
        query = f"{_SEALED}{where} ORDER BY number"
        return self._connection.all(query, [value for _, value in given])

    def delete_sealed(self, number: int) -> None:
        """Delete a record."""
        self._connection.execute("DELETE FROM sealed WHERE number = ?", (number,))

    def add_consent(self, row: Row) -> int:
        """Keep a consent (person, purpose, recipient, wording, given); its number."""
        kept = self._connection.one(_ADD_CONSENT, row)
        assert kept is not None
        return int(kept[0])

    def consents(self, person: str | None = None) -> Sequence[Row]:
        """Consents (number, person, purpose, recipient, wording, given, withdrawn), in order."""
        if person is None:
            return self._connection.all(f"{_CONSENTS} ORDER BY number")
        return self._connection.all(f"{_CONSENTS} WHERE person = ? ORDER BY number", (person,))

    def withdraw_consent(self, number: int, at_s: int) -> bool:
        """Say when a consent was withdrawn; False if it already was, or there is none."""
        return self._connection.execute(_WITHDRAW, (at_s, number)) == 1

    def delete_consent(self, number: int) -> None:
        """Delete a consent that has to be proved no longer."""
        self._connection.execute("DELETE FROM consent WHERE number = ?", (number,))

    def set_dispute(self, dispute: str, person: str, sealed: int, opened_s: int) -> None:
        """Say which record holds the newest of a dispute."""
        self._connection.execute(_SET_DISPUTE, (dispute, person, sealed, opened_s))

    def disputes(self) -> Sequence[Row]:
        """Disputes (number, person, record, opened), oldest first."""
        return self._connection.all(
            "SELECT dispute, person, sealed, opened_s FROM dispute ORDER BY opened_s, dispute"
        )

    def add_authority(self, role: str, address: str, since_s: int) -> None:
        """Let an address sign in a role from an instant on; again changes nothing."""
        self._connection.execute(
            "INSERT OR IGNORE INTO authority VALUES (?, ?, ?, NULL)", (role, address, since_s)
        )

    def end_authority(self, role: str, address: str, until_s: int) -> int:
        """Let it sign no longer; how many grants that ended."""
        return self._connection.execute(
            "UPDATE authority SET until_s = ? WHERE role = ? AND address = ? AND until_s IS NULL",
            (until_s, role, address),
        )

    def authorities(self, role: str, at_s: int) -> Sequence[str]:
        """The addresses that sign in a role at an instant."""
        rows = self._connection.all(
            "SELECT DISTINCT address FROM authority WHERE role = ? AND since_s <= ?"
            " AND (until_s IS NULL OR until_s > ?) ORDER BY address",
            (role, at_s, at_s),
        )
        return [row[0] for row in rows]

    def add_upkeep(self, done_s: int, what: str, records: int) -> None:
        """Keep that something was done to that many records."""
        self._connection.execute(
            "INSERT INTO upkeep (done_s, what, records) VALUES (?, ?, ?)", (done_s, what, records)
        )

    def upkeep(self) -> Sequence[Row]:
        """What was done (when, what, records), oldest first."""
        return self._connection.all("SELECT done_s, what, records FROM upkeep ORDER BY number")
