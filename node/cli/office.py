"""The organiser's office: its database of people and papers, and the master key beside it.

The key file holds 64 hexadecimal digits, and is for its owner alone. It belongs into no backup of
the database. An erasure makes a new one: it is written beside the old one first, the database says
which of the two holds, and whoever opens it next tidies up what a power cut left.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from node.billing.dispute_book import DisputeBook
from node.billing.people import People
from node.billing.vault import KEY_BYTES, Vault, fingerprint
from node.cli.output import say, say_document
from node.clock import SystemClock
from node.errors import ConfigurationError
from node.store import OperatorDatabase

__all__ = ["ADDRESS", "Office", "office_options", "open_office", "read_document", "say_paper"]

MAX_DOCUMENT_BYTES: Final = 2**22
ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_KEY: Final = re.compile(r"[0-9a-f]{64}\n?")
_OF_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

_F = TypeVar("_F", bound=Callable[..., object])


def office_options(command: _F) -> _F:
    """Where the organiser's database and master key are."""
    for option in (
        click.option(
            "--key-file",
            type=click.Path(path_type=Path),
            envvar="DAISEE_OFFICE_KEY",
            metavar="FILE",
            help="The master key.  [default: the database's name, with .key]",
        ),
        click.option(
            "--database",
            type=click.Path(path_type=Path),
            required=True,
            envvar="DAISEE_OFFICE",
            metavar="FILE",
            help="The organiser's database of people and papers.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Office:
    """All of it, opened."""

    storage: OperatorDatabase
    people: People
    disputes: DisputeBook
    key_file: Path
    now_s: int

    def erase(self, person: str) -> int:
        """Destroy a person's key, and the master that backups are wrapped under; how many records
        went."""
        new = secrets.token_bytes(KEY_BYTES)
        _write_key(_next(self.key_file), new)
        records = self.people.vault.erase(person, new, self.now_s)
        _next(self.key_file).replace(self.key_file)
        return records


@contextmanager
def open_office(database: Path, key_file: Path | None, *, create: bool = False) -> Iterator[Office]:
    """Open the database with its master key; ``create`` makes both where there is none yet.

    Raises ConfigurationError: no database, no key or another one, a key that others may read.
    """
    path = key_file or database.with_name(database.name + ".key")
    if not database.exists():
        if not create:
            raise ConfigurationError(
                "there is no database of people and papers",
                file=database,
                next_step="begin one: daisee person add",
            )
        if not path.exists():
            _write_key(path, secrets.token_bytes(KEY_BYTES))
    with OperatorDatabase.open(database) as storage:
        vault = Vault(storage, _master(path, storage.master()), secrets.token_bytes)
        people = People(vault, storage)
        yield Office(storage, people, DisputeBook(people, storage), path, SystemClock().now_s())


def _next(path: Path) -> Path:
    return path.with_name(path.name + ".next")


def _master(path: Path, known: bytes | None) -> bytes:
    """The key that the database says; of two that an interrupted erasure left, the other goes."""
    coming = _next(path)
    if coming.exists():
        if known is not None and fingerprint(_read_key(coming)) == known:
            coming.replace(path)
        else:
            coming.unlink()
    return _read_key(path)


def _read_key(path: Path) -> bytes:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigurationError(
            f"the master key cannot be read ({error.strerror})",
            file=path,
            next_step="put it back from where you keep it; without it nothing opens",
        ) from error
    if mode & _OF_OTHERS:
        raise ConfigurationError(
            f"others may read or write the master key (mode {mode:04o})",
            file=path,
            next_step=f"chmod 600 {path}",
        )
    if not _KEY.fullmatch(text):
        raise ConfigurationError("this is no master key: 64 hexadecimal digits", file=path)
    return bytes.fromhex(text)


def _write_key(path: Path, key: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(key.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(
            f"the master key cannot be written ({error.strerror})", file=path
        ) from error


def say_paper(document: Mapping[str, object], *, as_json: bool) -> None:
    """Print a document that is a document whoever reads it: on one line, or for the eye."""
    if as_json:
        say_document(document)
    else:
        say(json.dumps(document, sort_keys=True, ensure_ascii=False, indent=2))


def read_document(path: Path) -> Mapping[str, Any]:
    """A JSON document from a file. Raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DOCUMENT_BYTES + 1)
        document = json.loads(content[:MAX_DOCUMENT_BYTES])
        json.dumps(document, ensure_ascii=False).encode()  # no half of a character: ValueError
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"this document cannot be read: {error}", file=path) from error
    if not isinstance(document, dict):
        raise ConfigurationError("this is no JSON document", file=path)
    return document
