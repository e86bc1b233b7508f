"""The operator's own record of whom it invited and admitted, with names: never on chain.

One JSON file of mode 0600 in the operator's folder. Of an invite it has the address of its key, not
its secret: whoever reads the file can use none of the invites.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from node.chain.invites import Invite
from node.chain.join_requests import JoinRequest
from node.chain.network.keeping import write_secret
from node.config.adding import writing
from node.errors import ConfigurationError, Refused
from node.slots import iso_utc

__all__ = ["Invited", "MemberBook", "book_held", "load_book", "save_book"]

SCHEMA: Final = 1
MAX_FILE_BYTES: Final = 2**26


@dataclass(frozen=True, slots=True)
class Invited:
    """Somebody who was invited. ``owner`` is empty until the invite is used, ``household`` 0 until
    the registry has given a number."""

    invite: str
    name: str
    issued_at_s: int
    expires_at_s: int
    owner: str = ""
    household: int = 0


@dataclass(frozen=True, slots=True)
class MemberBook:
    """Everybody who was ever invited, in order."""

    invited: tuple[Invited, ...] = ()

    def with_invite(self, invite: Invite, name: str) -> MemberBook:
        """The book with one more."""
        entry = Invited(invite.number, name, invite.issued_at_s, invite.expires_at_s)
        return MemberBook((*self.invited, entry))

    def entry_for(self, request: JoinRequest, now_s: int) -> Invited:
        """Who makes a request.

        Raises Refused when the invite is none of this operator's (``unknown_invite``), another
        household has used it (``used``), or its time is over (``expired``): a household whose
        admission had begun by then may go on.
        """
        found = next((entry for entry in self.invited if entry.invite == request.invite), None)
        if found is None:
            raise Refused(
                "the request answers an invite that this operator did not write",
                reason="unknown_invite",
                next_step="write the household an invite: 'daisee member invite'",
            )
        if found.owner not in ("", request.owner):
            raise Refused(
                f"the invite for {found.name} has been used: by the owner {found.owner}",
                reason="used",
                next_step="if that was somebody else, suspend that household; write a new invite",
            )
        if not found.owner and now_s >= found.expires_at_s:
            raise Refused(
                f"the invite for {found.name} was good until {iso_utc(found.expires_at_s)}",
                reason="expired",
                next_step="write a new one: 'daisee member invite'",
            )
        return found

    def with_entry(self, changed: Invited) -> MemberBook:
        """The book with an entry in place of the one of the same invite."""
        entries = (changed if entry.invite == changed.invite else entry for entry in self.invited)
        return MemberBook(tuple(entries))

    def used_by(self, entry: Invited, owner: str, household: int = 0) -> MemberBook:
        """The book once an invite is used, and once its household has a number."""
        return self.with_entry(replace(entry, owner=owner, household=household))

    def name_of(self, household: int) -> str:
        """A household's name; empty if this book does not know it."""
        names = (entry.name for entry in self.invited if entry.household == household)
        return next(names, "") if household else ""


def load_book(path: Path) -> MemberBook:
    """The book in a file; an empty one if there is none. Raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            return _book(json.loads(file.read(MAX_FILE_BYTES)))
    except FileNotFoundError:
        return MemberBook()
    except OSError as error:
        raise ConfigurationError(
            f"the members cannot be read ({error.strerror})", file=path
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigurationError(
            f"this is no list of members: {error}",
            file=path,
            next_step="put it back from the backup: names are nowhere else",
        ) from error


@contextmanager
def book_held(path: Path) -> Iterator[Path]:
    """Hold the book until the block ends: two approvals at a time would use one invite twice.

    Raises ConfigurationError when another command holds it, or it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(
            path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                "another command is changing the members", file=path, next_step="wait for its end"
            ) from None
        yield path
    finally:
        os.close(lock)


def save_book(path: Path, book: MemberBook) -> None:
    """Write the book in place of what is there, whole or not at all. Raises ConfigurationError."""
    document = {"schema": SCHEMA, "invited": [asdict(entry) for entry in book.invited]}
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    with writing(path):
        write_secret(path, text)


def _book(document: Any) -> MemberBook:  # noqa: ANN401 - JSON
    if document["schema"] != SCHEMA:
        raise ValueError(f"schema {document['schema']}; this daisee knows {SCHEMA}")
    return MemberBook(tuple(_entry(entry) for entry in document["invited"]))


def _entry(document: Any) -> Invited:  # noqa: ANN401 - JSON
    entry = Invited(**document)
    texts = (entry.invite, entry.name, entry.owner)
    numbers = (entry.issued_at_s, entry.expires_at_s, entry.household)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("an address or a name is no text")
    if not all(type(number) is int for number in numbers):
        raise TypeError("a time or a number is no integer")
    return entry
