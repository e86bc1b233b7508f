"""What every database of ours is: a file that is its owner's alone, opened, used, let go of."""

from __future__ import annotations

import errno
import os
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from node.store.sqlite import Connection, DatabaseKind, expecting

__all__ = ["Database", "make_private"]


class Database:
    """An open database. Use as a context manager, or ``close`` it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def close(self) -> None:
        """Let go of the file; again is harmless."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing; on return everything inside is durable. Not nestable (RuntimeError), and
        nothing may be awaited inside. A method outside of it is a transaction of its own."""
        return self._connection.transaction()


def make_private(kind: DatabaseKind, path: Path) -> None:
    """Make the file if there is none, readable by its owner alone.

    Raises ConfigurationError (no such folder, no access) or StorageBusy (full disk).
    """
    with expecting(kind, path, "kept there"):
        path.touch(mode=0o600)
        # SQLite would open it to be read only, and the first change would tell. Opening it here to
        # see, and closing it, would take this process's locks away.
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
