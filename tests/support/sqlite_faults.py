"""SQLite connections that are watched, or fail, at a statement of one's choice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, cast


def watching(before: Callable[[sqlite3.Connection], None]) -> Callable[..., sqlite3.Connection]:
    """``sqlite3.connect`` whose connections call before each statement of a transaction."""

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
            if self.in_transaction and sql != "ROLLBACK":
                before(self)
            return super().execute(sql, cast("Sequence[Any]", parameters))

    return partial(sqlite3.connect, factory=Watched)


def failing_at(
    number: int, code: int = sqlite3.SQLITE_IOERR, message: str = "disk I/O error"
) -> Callable[..., sqlite3.Connection]:
    """``sqlite3.connect`` whose connections fail at the n-th statement inside a transaction."""
    left = count(number, -1)

    def fail_when_due(_: sqlite3.Connection) -> None:
        if next(left) == 1:
            error = sqlite3.OperationalError(message)
            error.sqlite_errorcode = code
            raise error

    return watching(fail_when_due)
