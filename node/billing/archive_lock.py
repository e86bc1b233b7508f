"""One command at a time changes a folder of bills.

A run reads what was billed, and adds to it: two at once would bring the same corrections twice. The
system lets go of the lock when its holder ends, however it ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from node.clock import Clock, SystemClock
from node.errors import ConfigurationError, StorageBusy

__all__ = ["LOCK", "LONGEST_WAIT_S", "held"]

LOCK: Final = ".lock"
"""The file's name; in it, while it is held, by whom."""

LONGEST_WAIT_S: Final = 60
_MOST_READ: Final = 200


@contextmanager
def held(folder: Path, command: str, clock: Clock | None = None) -> Iterator[None]:
    """Hold a folder of bills, which is made if there is none, until the block ends. ``command`` is
    what others are told who wait. It does not nest.

    Raises StorageBusy, which says who has it, if it does not come free in time, and
    ConfigurationError if the folder cannot be written.
    """
    path = folder / LOCK
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written ({error.strerror})", file=path, next_step="check the folder"
        ) from error
    try:
        _wait_for(lock, folder, clock or SystemClock())
        _say(lock, f"{command} (process {os.getpid()})")
        try:
            yield
        finally:
            _say(lock, "")
    finally:
        os.close(lock)


def _wait_for(lock: int, folder: Path, clock: Clock) -> None:
    for _ in range(LONGEST_WAIT_S):
        if _take(lock, folder):
            return
        asyncio.run(clock.sleep_until(clock.now_s() + 1))
    holder = os.pread(lock, _MOST_READ, 0).decode("utf-8", "replace") or "another command"
    raise StorageBusy(
        f"{folder}: {holder} is changing the bills",
        next_step="run this again once it has ended",
    )


def _take(lock: int, folder: Path) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ConfigurationError(
            f"cannot be locked ({error.strerror})",
            file=folder / LOCK,
            next_step="keep bills on a disk of this machine",
        ) from error
    return True


def _say(lock: int, holder: str) -> None:
    with suppress(OSError):  # a full disk: the lock holds without a name
        os.ftruncate(lock, 0)
        os.pwrite(lock, holder.encode("utf-8"), 0)
