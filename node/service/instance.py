"""One node for one database: two would order twice, and the second one must say so and go."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.errors import ConfigurationError

__all__ = ["only_instance"]


@contextmanager
def only_instance(database: Path) -> Iterator[None]:
    """Hold the lock of a database until the block ends, or the process, however it ends.

    The file beside the database holds the process id of who has it. It is not removed: a lock on a
    removed file would lock nobody out. Raises ConfigurationError when another node has it.
    """
    path = database.with_name(database.name + ".lock")
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"cannot lock the node's database ({error.strerror})",
            file=path,
            next_step="check that the folder exists and that this user may write to it",
        ) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 32).decode("ascii", "replace").strip() or "unknown"
            raise ConfigurationError(
                f"another node, process {holder}, uses this database already",
                file=database,
                next_step="'systemctl status daisee-node' shows it; stop it before starting one",
            ) from None
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(file)
