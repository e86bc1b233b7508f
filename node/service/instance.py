"""One node for one database: two would order twice, and the second one must say so and go."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.errors import ConfigurationError, DaiseeError, StorageBusy
from node.store.disk import may_pass

__all__ = ["only_instance"]


@contextmanager
def only_instance(database: Path) -> Iterator[None]:
    """Hold the lock of a database until the block ends, or the process, however it ends.

    The file beside the database holds the process id of who has it. It is not removed: a lock on a
    removed file would lock nobody out. Raises ConfigurationError when another node has it, or when
    this user may not write there, and StorageBusy when the disk is full.
    """
    path = database.with_name(database.name + ".lock")
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _not_locked(path, error) from error
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
        try:
            os.ftruncate(file, 0)
            os.write(file, f"{os.getpid()}\n".encode())
        except OSError as error:
            raise _not_locked(path, error) from error
        yield
    finally:
        os.close(file)


def _not_locked(path: Path, error: OSError) -> DaiseeError:
    what = f"cannot lock the node's database ({error.strerror})"
    if may_pass(error):
        return StorageBusy(f"{path}: {what}", next_step="make room on that disk")
    return ConfigurationError(
        what,
        file=path,
        next_step="check that the folder exists and that this user may write to it",
    )
