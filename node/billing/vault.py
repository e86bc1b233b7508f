"""What is personal, each person's under a key of its own: to destroy the key is to erase it all.

Records are sealed with AES-256-GCM, bound to the person, the kind and the time that they are about,
so that none can pass for another. A person's key is wrapped under a master key, which is kept in a
file apart from the database. Erasure deletes the key and, because backups hold wrapped keys too,
wraps all others under a new master and lets the old one go: then no backup of the database opens
what was erased. Randomness is an argument.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from Crypto.Cipher import AES

from node.errors import ConfigurationError, Refused

__all__ = [
    "KEY_BYTES",
    "Entropy",
    "SealedRecord",
    "Vault",
    "VaultStorage",
    "fingerprint",
    "seal",
    "unseal",
]

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_PERSON_BYTES: Final = 8

Entropy = Callable[[int], bytes]
"""So many random bytes: ``secrets.token_bytes``, or in tests a seeded generator's."""

Row = tuple[Any, ...]


class VaultStorage(Protocol):
    """Where keys and sealed records are kept; ``node.store.operator.OperatorDatabase`` is one."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing."""
        ...

    def master(self) -> bytes | None:
        """The fingerprint of the master key."""
        ...

    def set_master(self, fingerprint: bytes) -> None:
        """Which master key holds."""
        ...

    def add_person(self, person: str, wrapped_key: bytes, created_s: int) -> None:
        """Keep a wrapped key."""
        ...

    def persons(self) -> Sequence[tuple[str, bytes | None]]:
        """All persons with their wrapped keys."""
        ...

    def set_key(self, person: str, wrapped_key: bytes) -> None:
        """Keep it wrapped anew."""
        ...

    def erase_person(self, person: str, at_s: int) -> int:
        """Delete the key and what is sealed under it."""
        ...

    def add_sealed(self, row: Row) -> int:
        """Keep a record."""
        ...

    def sealed(self, *, person: str | None = None, kind: str | None = None) -> Sequence[Row]:
        """Records."""
        ...

    def delete_sealed(self, number: int) -> None:
        """Delete a record."""
        ...

    def add_upkeep(self, done_s: int, what: str, records: int) -> None:
        """Keep what was done."""
        ...

    def forget_log(self) -> None:
        """Leave nothing deleted in the log."""
        ...


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """A record that was opened. ``about_s`` is the end of what it is about."""

    number: int
    person: str
    kind: str
    about_s: int
    stored_s: int
    document: Mapping[str, Any]


def fingerprint(master: bytes) -> bytes:
    """What tells a master key from another, and nothing about it."""
    return hmac.digest(master, b"daisee vault", "sha256")[:8]


def seal(key: bytes, plain: bytes, about: str, nonce: bytes) -> bytes:
    """Encrypt and authenticate: nonce, tag, ciphertext. ``about`` is bound to it, not hidden."""
    assert len(nonce) == _NONCE_BYTES, len(nonce)
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
    cipher.update(about.encode())
    ciphertext, tag = cipher.encrypt_and_digest(plain)
    return nonce + tag + ciphertext


def unseal(key: bytes, body: bytes, about: str) -> bytes:
    """What ``seal`` was given. Raises Refused (``cannot_be_opened``) for another key, another
    ``about``, or a body that is not what it was."""
    nonce, rest = body[:_NONCE_BYTES], body[_NONCE_BYTES:]
    try:
        cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
        cipher.update(about.encode())
        return cipher.decrypt_and_verify(rest[_TAG_BYTES:], rest[:_TAG_BYTES])
    except ValueError as error:
        raise Refused("this does not open with that key", reason="cannot_be_opened") from error


class Vault:
    """Opens and seals what a database keeps."""

    def __init__(self, storage: VaultStorage, master: bytes, entropy: Entropy) -> None:
        """Raises ConfigurationError if the database belongs to another master key."""
        if len(master) != KEY_BYTES:
            raise ConfigurationError(f"a master key of {len(master)} bytes, not {KEY_BYTES}")
        self._storage = storage
        self._master = master
        self._entropy = entropy
        known = storage.master()
        if known is None:
            storage.set_master(fingerprint(master))
        elif known != fingerprint(master):
            raise ConfigurationError(
                "this database was sealed under another master key",
                next_step="give the key file that belongs to it",
            )

    def add_person(self, now_s: int) -> str:
        """A new person with a key of its own; the random name by which it is kept."""
        person = self._entropy(_PERSON_BYTES).hex()
        key = self._entropy(KEY_BYTES)
        self._storage.add_person(person, self._wrap(self._master, person, key), now_s)
        return person

    def persons(self) -> list[str]:
        """Everybody who has a key."""
        return [person for person, wrapped in self._storage.persons() if wrapped is not None]

    def put(
        self, person: str, kind: str, document: Mapping[str, object], about_s: int, now_s: int
    ) -> int:
        """Seal a document under a person's key; its number. Raises Refused (``erased``)."""
        plain = json.dumps(document, sort_keys=True, ensure_ascii=False).encode()
        about = _about(person, kind, about_s)
        body = seal(self._key(person), plain, about, self._entropy(_NONCE_BYTES))
        return self._storage.add_sealed((person, kind, about_s, now_s, body))

    def records(self, person: str, kind: str | None = None) -> list[SealedRecord]:
        """A person's records, opened, oldest first. Raises Refused (``erased``,
        ``cannot_be_opened``)."""
        key = self._key(person)
        return [self._open(key, row) for row in self._storage.sealed(person=person, kind=kind)]

    def all_of(self, kind: str) -> Iterator[SealedRecord]:
        """The records of a kind, of everybody who has a key."""
        keys = {person: self._key(person) for person in self.persons()}
        for row in self._storage.sealed(kind=kind):
            yield self._open(keys[row[1]], row)

    def replace(
        self, record: SealedRecord, kind: str, document: Mapping[str, object], now_s: int
    ) -> int:
        """Put a document in a record's place; its number. Inside a transaction of the caller's."""
        self._storage.delete_sealed(record.number)
        return self.put(record.person, kind, document, record.about_s, now_s)

    def erase(self, person: str, next_master: bytes, now_s: int) -> int:
        """Destroy a person's key, and wrap all others under a new master; how many records went.

        The caller has made ``next_master`` durable before, and destroys the old one after; whoever
        opens the database in between tells by its fingerprint which of the two holds. Raises
        Refused (``erased``).
        """
        self._key(person)
        with self._storage.transaction():
            records = self._storage.erase_person(person, now_s)
            for other, wrapped in self._storage.persons():
                if wrapped is not None:
                    key = self._unwrap(other, wrapped)
                    self._storage.set_key(other, self._wrap(next_master, other, key))
            self._storage.set_master(fingerprint(next_master))
            self._storage.add_upkeep(now_s, "erasure", records)
        self._master = next_master
        self._storage.forget_log()
        return records

    def _key(self, person: str) -> bytes:
        wrapped = dict(self._storage.persons()).get(person)
        if wrapped is None:
            raise Refused(
                f"{person} has no key: never kept here, or erased for good", reason="erased"
            )
        return self._unwrap(person, wrapped)

    def _wrap(self, master: bytes, person: str, key: bytes) -> bytes:
        return seal(master, key, f"key of {person}", self._entropy(_NONCE_BYTES))

    def _unwrap(self, person: str, wrapped: bytes) -> bytes:
        return unseal(self._master, wrapped, f"key of {person}")

    def _open(self, key: bytes, row: Row) -> SealedRecord:
        number, person, kind, about_s, stored_s, body = row
        plain = unseal(key, body, _about(person, kind, about_s))
        return SealedRecord(number, person, kind, about_s, stored_s, json.loads(plain))


def _about(person: str, kind: str, about_s: int) -> str:
    return f"{person}|{kind}|{about_s}"
