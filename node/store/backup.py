"""A copy of a database that is known to be good before it takes the place of an older copy.

A backup that was never opened is a hope. Each one is copied to a file beside its place, written
through to the disk, opened again and checked whole; only then it gets its name.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError
from node.store.opening import open_read_only
from node.store.sqlite import DatabaseKind, expecting

BACKUPS_KEPT: Final = 7
"""The newest and those before it: a week of nights."""


def back_up(kind: DatabaseKind, source: Path, path: Path, *, keep: int = BACKUPS_KEPT) -> None:
    """Copy a database to ``path``, moving what is there to ``path.1`` and so on, ``keep`` in all.

    Raises StorageBusy (no space, held file) or ConfigurationError (folder or rights, or ``source``
    is damaged). Whatever is raised, wherever the power fails, the backups from before are there.
    """
    assert keep >= 1, keep
    part = path.with_name(path.name + ".part")
    with expecting(kind, path, "backed up"):
        _begin(part)
    try:
        with closing(open_read_only(kind, source)) as connection:
            connection.copy_into(part)
        _check(kind, part, source)
        with expecting(kind, path, "backed up"):
            _write_through(part)
            _rotate(path, keep)
            part.replace(path)
            _write_through(path.parent)
    finally:
        with expecting(kind, path, "backed up"):
            part.unlink(missing_ok=True)


def backups_of(path: Path) -> list[Path]:
    """The backups that there are under a name, newest first."""
    numbered = sorted(
        (int(found.suffix[1:]), found)
        for found in path.parent.glob(f"{path.name}.*")
        if found.suffix[1:].isdecimal()
    )
    return [path] * path.exists() + [found for _, found in numbered]


def _begin(part: Path) -> None:
    """An empty file for its owner alone, in place of what a power cut left."""
    for left in (part, part.with_name(part.name + "-journal")):
        left.unlink(missing_ok=True)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _check(kind: DatabaseKind, part: Path, source: Path) -> None:
    with closing(open_read_only(kind, part)) as copy:
        damage = copy.damage()
    if damage:
        raise ConfigurationError(
            f"the {kind.title} is damaged ({damage[0]}); the backups from before were left alone",
            file=source,
            next_step=kind.repair,
        )


def _rotate(path: Path, keep: int) -> None:
    """Make room for a new one; from the oldest on, so that none is ever written over unsaved."""
    places = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, keep))]
    for surplus in set(backups_of(path)) - set(places):
        surplus.unlink()
    gap = next((at for at, place in enumerate(places) if not place.exists()), len(places) - 1)
    for at in range(gap, 0, -1):
        places[at - 1].replace(places[at])


def _write_through(path: Path) -> None:
    """Have a file's content, or a folder's names, reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
