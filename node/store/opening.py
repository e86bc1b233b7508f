"""Opening an SQLite file: ours or not, whole or not, and brought to the newest schema.

A schema is a folder of migrations, ``node/schema/NAME/0001_what.sql`` and on; a file's version
is the number of the last one that it went through whole.
"""

from __future__ import annotations

import functools
import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError
from node.store.sqlite import Connection, DatabaseKind, raise_expected

BUSY_WAIT_S: Final = 5.0
"""How long a statement waits for another process before it is StorageBusy."""

LOG_BYTES: Final = 4 << 20
"""How far the write-ahead log grows before it is copied into the file. The longer, the fewer times
a page that changes in every slot is copied; opening after a crash reads all of it."""

_MIGRATION: Final = re.compile(r"^(\d{4})_\w+\.sql$")


def open_for_writing(kind: DatabaseKind, path: Path | None, *, synchronous: str) -> Connection:
    """Open at the newest schema; None keeps it in memory.

    A file is created when absent and uses a write-ahead log, so that readers in other processes
    never wait. ``synchronous`` is FULL (every commit reaches the disk) or NORMAL (a power cut may
    take the last commits, never the file).

    Raises ConfigurationError (another or newer file, damaged, no access) or StorageBusy.
    """
    with ExitStack() as unless_whole:
        connection = _connect(kind, path, ":memory:" if path is None else str(path), uri=False)
        unless_whole.callback(connection.close)
        _refuse_foreign(connection)
        if path is not None:
            _use_write_ahead_log(connection, synchronous)
        _migrate(connection)
        unless_whole.pop_all()
    return connection


def open_read_only(kind: DatabaseKind, path: Path) -> Connection:
    """Open an existing file to look at it: nothing is created, migrated or written.

    Raises ConfigurationError (absent, another, older or newer file, damaged) or StorageBusy.
    """
    if not path.is_file():
        raise ConfigurationError(f"no {kind.title} there", file=path, next_step=kind.repair)
    with ExitStack() as unless_whole:
        connection = _connect(kind, path, path.resolve().as_uri() + "?mode=ro", uri=True)
        unless_whole.callback(connection.close)
        _refuse_foreign(connection)
        version = _version(connection)
        if version < len(migrations(kind.schema)):
            raise ConfigurationError(
                f"a {kind.title} of version {version}, unfinished or from an older daisee",
                file=path,
                next_step=kind.upgrade or kind.repair,
            )
        unless_whole.pop_all()
    return connection


@functools.cache
def migrations(schema: str) -> tuple[tuple[str, ...], ...]:
    """The statements of each numbered migration; the first brings a database to version 1."""
    folder = resources.files("node") / "schema" / schema
    scripts = {
        int(match[1]): entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if (match := _MIGRATION.match(entry.name))
    }
    assert sorted(scripts) == list(range(1, len(scripts) + 1)), (schema, sorted(scripts))
    return tuple(tuple(_statements(scripts[number])) for number in sorted(scripts))


def _statements(script: str) -> Iterator[str]:
    """An SQL script cut at the ends of its statements."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending.strip()
            pending = ""
    assert not pending.strip(), pending


def _connect(kind: DatabaseKind, path: Path | None, address: str, *, uri: bool) -> Connection:
    try:
        raw = sqlite3.connect(address, timeout=BUSY_WAIT_S, isolation_level=None, uri=uri)
    except sqlite3.Error as error:
        raise_expected(error, kind, path)
    return Connection(raw, kind, path)


def _refuse_foreign(connection: Connection) -> None:
    """Refuse what is not ours to touch: another program's file, or a later daisee's."""
    kind = connection.kind
    has_tables = _number(connection, "SELECT count(*) FROM sqlite_schema") > 0
    if has_tables and _number(connection, "PRAGMA application_id") != kind.application_id:
        raise ConfigurationError(
            f"an SQLite file, but not a {kind.title}",
            file=connection.path,
            next_step="give the path of another file, or move this one away",
        )
    version, newest = _version(connection), len(migrations(kind.schema))
    if version > newest:
        raise ConfigurationError(
            f"a {kind.title} of version {version}; this daisee knows up to {newest}",
            file=connection.path,
            next_step="install the daisee that wrote it, or a later one",
        )


def _use_write_ahead_log(connection: Connection, synchronous: str) -> None:
    connection.execute(f"PRAGMA page_size = {connection.kind.page_bytes}")  # of a new file
    if connection.one("PRAGMA journal_mode = WAL") != ("wal",):
        raise ConfigurationError(
            "this file system cannot hold an SQLite write-ahead log",
            file=connection.path,
            next_step="put the file on a local disk",
        )
    page_bytes = _number(connection, "PRAGMA page_size")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_BYTES // page_bytes}")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    # Some builds overwrite what is deleted, page by page; with FAST only where that is free.
    connection.execute("PRAGMA secure_delete = FAST")


def _migrate(connection: Connection) -> None:
    """Apply what is missing, each migration in a transaction of its own: whatever fails, the file
    stays at the last whole version and the next opening goes on from there."""
    for number, statements in enumerate(migrations(connection.kind.schema), start=1):
        if _version(connection) >= number:
            continue
        with connection.transaction():
            if _version(connection) >= number:
                continue  # another process was quicker
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


def _version(connection: Connection) -> int:
    return _number(connection, "PRAGMA user_version")


def _number(connection: Connection, query: str) -> int:
    row = connection.one(query)
    assert row is not None, query
    return int(row[0])
