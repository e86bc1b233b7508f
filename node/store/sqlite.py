"""One open SQLite file: statements, transactions, and SQLite's failures as the house's errors.

The error says what the caller can do next:

=================================  ==================  ===========================================
SQLite says                        raised              because
=================================  ==================  ===========================================
busy, locked, full, input/output   StorageBusy         another process lets go, space comes back,
                                                       a disk is plugged in again
read-only, cannot open, no access  ConfigurationError  a person chose that path or its rights
damaged, not a database            ConfigurationError  a person restores a backup
anything else                      ``sqlite3.Error``   a bug
=================================  ==================  ===========================================
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn

from node.errors import ConfigurationError, StorageBusy
from node.store.disk import may_pass

Row = tuple[Any, ...]
Values = Sequence[object] | Mapping[str, object]

ROWS_AT_ONCE: Final = 2_000
"""Rows fetched or written between two looks at the caller: bounds the memory of long reads."""

_MAY_PASS: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
)
_NO_ACCESS: Final = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
    }
)
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@dataclass(frozen=True, slots=True)
class DatabaseKind:
    """What a file is for. ``schema`` is its folder of migrations in ``node/schema``;
    ``application_id`` tells it from other SQLite files; ``repair`` is the next step when it
    is damaged, ``upgrade`` when it is older and only looked at. ``page_bytes`` is the page size of
    a new file: a commit writes every page that it touches, so small ones wear a memory card less
    where commits are small."""

    title: str
    schema: str
    application_id: int
    repair: str
    page_bytes: int = 4096
    upgrade: str = ""


class Connection:
    """One open database of a kind; every failure that can be expected leaves as a typed error.

    A statement outside ``transaction()`` is a transaction of its own.
    """

    def __init__(self, raw: sqlite3.Connection, kind: DatabaseKind, path: Path | None) -> None:
        self.kind = kind
        self.path = path
        self._raw = raw
        self._transaction = _Transaction(self)
        self.rollbacks = 0
        """Transactions undone so far: what was read inside one of them may never have been."""

    def execute(self, sql: str, values: Values = ()) -> int:
        """Run one statement; how many rows it changed."""
        try:
            return self._raw.execute(sql, values).rowcount
        except sqlite3.Error as error:
            raise_expected(error, self.kind, self.path)

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> int:
        """Run one statement for each row of values; how many rows they changed together."""
        try:
            return self._raw.executemany(sql, rows).rowcount
        except sqlite3.Error as error:
            raise_expected(error, self.kind, self.path)

    def one(self, sql: str, values: Values = ()) -> Row | None:
        """The first row of a query."""
        try:
            row: Row | None = self._raw.execute(sql, values).fetchone()
        except sqlite3.Error as error:
            raise_expected(error, self.kind, self.path)
        return row

    def all(self, sql: str, values: Values = ()) -> list[Row]:
        """Every row of a query whose result fits in memory."""
        try:
            return self._raw.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise_expected(error, self.kind, self.path)

    def rows(self, sql: str, values: Values = ()) -> Iterator[Row]:
        """The rows of a query of any length, ROWS_AT_ONCE in memory."""
        try:
            cursor = self._raw.execute(sql, values)
            while chunk := cursor.fetchmany(ROWS_AT_ONCE):
                yield from chunk
        except sqlite3.Error as error:
            raise_expected(error, self.kind, self.path)

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing: commits on return, rolls back on any exception.

        Not nestable (RuntimeError): an inner one could not keep its promise that what it holds is
        durable once it returns. Never await inside: another task's writes would join it.
        """
        return self._transaction

    def joined_transaction(self) -> AbstractContextManager[None]:
        """The transaction that is under way, or a new one: for a write of several statements."""
        return nullcontext() if self._raw.in_transaction else self._transaction

    def begin(self) -> None:
        """Take the write lock at once, so that no later statement of the transaction waits."""
        if self._raw.in_transaction:
            raise RuntimeError("a transaction inside a transaction")
        self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the transaction durable, or undo it and raise."""
        try:
            self._raw.execute("COMMIT")
        except sqlite3.Error as error:
            self.roll_back()
            raise_expected(error, self.kind, self.path)

    def roll_back(self) -> None:
        """Undo the transaction; SQLite may already have done so after a full disk."""
        self.rollbacks += 1
        if self._raw.in_transaction:
            self.execute("ROLLBACK")

    def copy_into(self, path: Path) -> None:
        """Copy everything committed, as of one moment, into another file, which is left in one
        piece. Other connections read and write meanwhile."""
        try:
            target = sqlite3.connect(path, isolation_level=None)
            with closing(target):
                self._raw.backup(target)
                target.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as error:
            raise_expected(error, self.kind, path)

    def damage(self) -> list[str]:
        """What is wrong with the file, as SQLite's full check tells; nothing for a whole one."""
        try:
            found = [str(row[0]) for row in self._raw.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            if _primary(error) not in _DAMAGED:
                raise_expected(error, self.kind, self.path)
            return [str(error)]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        """Let go of the file; again is harmless."""
        self._raw.close()

    def close_as_one_file(self) -> None:
        """Close with everything in the file itself, so that it can be read from a place where
        nobody may write. Left in its write-ahead log while another process reads it."""
        try:
            self._raw.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError as error:
            if _primary(error) not in _MAY_PASS:
                raise_expected(error, self.kind, self.path)
        finally:
            self._raw.close()


class _Transaction:
    """``with`` around BEGIN and COMMIT; one object per connection, since they never nest."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._connection.commit()
        else:
            self._connection.roll_back()


def _primary(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for what Python's own module complains about."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def raise_expected(error: sqlite3.Error, kind: DatabaseKind, path: Path | None) -> NoReturn:
    """The house's error for SQLite's, or SQLite's own when it can only be a bug."""
    code = _primary(error)
    if code in _MAY_PASS:
        raise StorageBusy(
            f"{path}: the {kind.title} cannot be used now ({error})",
            next_step="look for a full disk, or for another program that holds the file",
        ) from error
    if code in _NO_ACCESS:
        raise ConfigurationError(
            f"the {kind.title} cannot be opened or written ({error})",
            file=path,
            next_step="check that the folder exists and that this user may write to it",
        ) from error
    if code in _DAMAGED:
        raise ConfigurationError(
            f"the {kind.title} is damaged ({error})", file=path, next_step=kind.repair
        ) from error
    raise error


@contextmanager
def expecting(kind: DatabaseKind, path: Path, done: str) -> Iterator[None]:
    """The operating system's failures as the house's: what cannot be ``done`` to a database."""
    try:
        yield
    except OSError as error:
        what = f"the {kind.title} cannot be {done} ({error.strerror})"
        if may_pass(error):
            raise StorageBusy(
                f"{path}: {what}", next_step="make room on that disk, or give another place"
            ) from error
        raise ConfigurationError(
            what,
            file=path,
            next_step="check that the folder exists and that this user may write to it",
        ) from error
