"""Disk, database and backup: what the node knows must be there tomorrow."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

from node.doctor.case import Case, in_thread
from node.doctor.findings import Finding, error, ok, warning
from node.model import RegisterReading
from node.ports import IntentState
from node.service.upkeep import BACKUP_NAME
from node.slots import iso_utc, slot_end_s
from node.store import NodeDatabase
from node.units import duration_text

__all__ = ["database_checks", "disk_checks", "falls_of"]

ROOM_WARNING_BYTES: Final = 1 << 30
ROOM_ERROR_BYTES: Final = 100 << 20

BACKUP_WARNING_S: Final = 2 * 86_400
BACKUP_ERROR_S: Final = 7 * 86_400

STUCK_AFTER_S: Final = 3_600
"""A gate is minutes: an order that is open an hour after its slot will not become one any more."""

LATE_SLOTS: Final = 3

READINGS: Final = 200
"""Captures at slots' ends that are looked at: two days of quarter hours."""

_MEBIBYTE: Final = 1 << 20


async def disk_checks(case: Case) -> AsyncIterator[Finding]:
    """D001, D002 and D004."""
    folder = case.config.storage.database.parent
    yield await in_thread(partial(_room, folder))
    yield await in_thread(partial(_writable, case.config.storage.database))
    newest = case.config.storage.backup_folder / BACKUP_NAME
    yield await in_thread(
        partial(_backup, newest, case.clock.now_s(), case.config.storage.database)
    )


def _room(folder: Path) -> Finding:
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    said = f"{free // _MEBIBYTE} MiB free at {folder}"
    if free < ROOM_ERROR_BYTES:
        return error("D001", said, "make room: journalctl --vacuum-size=100M, apt clean")
    if free < ROOM_WARNING_BYTES:
        return warning("D001", said, "make room before the node has to stop")
    return ok("D001", said)


def _writable(database: Path) -> Finding:
    """Whether the place can be written to, without writing: permissions and the mount's flag."""
    if os.statvfs(database.parent).f_flag & os.ST_RDONLY:
        return error(
            "D002",
            f"{database.parent} is on a disk that is mounted read-only",
            "a memory card that fails turns read-only: dmesg | tail; replace it",
        )
    for path in (database.parent, *([database] if database.exists() else [])):
        if not os.access(path, os.W_OK):
            return warning(
                "D002",
                f"user {os.getuid()} may not write to {path}",
                "run the doctor as the node's own user: sudo -u daisee daisee doctor",
            )
    return ok("D002", str(database.parent))


def _backup(newest: Path, now_s: int, database: Path) -> Finding:
    try:
        age_s = now_s - int(newest.stat().st_mtime)
    except OSError as failure:
        if failure.errno != errno.ENOENT:
            raise
        if not database.exists() or now_s - int(database.stat().st_ctime) < BACKUP_WARNING_S:
            return ok("D004", "none yet: the node is new")
        return warning("D004", f"there is none in {newest.parent}", _BACKUP_STEP)
    said = f"the newest is {_about(age_s)} old"
    if age_s >= BACKUP_ERROR_S:
        return error("D004", said, _BACKUP_STEP)
    if age_s >= BACKUP_WARNING_S:
        return warning("D004", said, _BACKUP_STEP)
    return ok("D004", said)


_BACKUP_STEP: Final = "journalctl -u daisee-node | grep backup says why none was made"


async def database_checks(case: Case) -> AsyncIterator[Finding]:
    """D003, M004, O001 and O002, from one look at the database."""
    path = case.config.storage.database
    if not path.exists():
        yield ok("D003", "none yet: the node makes it when it starts")
        return
    for finding in await in_thread(lambda: list(_database(case, path))):
        yield finding


def _database(case: Case, path: Path) -> Iterator[Finding]:
    now_s, slot_s = case.clock.now_s(), case.config.household.slot_s
    with NodeDatabase.open_read_only(path) as database:
        damage = database.integrity()
        if damage:  # nothing that it says can be believed, or read at all
            yield error(
                "D003",
                f"{len(damage)} faults, the first: {damage[0]}",
                "stop the node and put the newest backup in the database's place",
            )
            return
        readings = database.last_readings(READINGS)
        open_orders = [(signed.order.slot, state) for signed, state in database.open_intents()]
    yield ok("D003", f"whole, {path.stat().st_size // 1024} KiB")
    yield _registers(readings, case.figure("values_held"))
    yield _stuck(open_orders, now_s, slot_s)
    yield _closing(readings, now_s, slot_s)


def falls_of(readings: Sequence[RegisterReading]) -> list[RegisterReading]:
    """The readings that are below the one before, of the same meter."""
    return [
        later
        for earlier, later in pairwise(readings)
        if later.meter_id == earlier.meter_id
        and (later.import_wh < earlier.import_wh or later.export_wh < earlier.export_wh)
    ]


def _registers(readings: Sequence[RegisterReading], held: int | None) -> Finding:
    falls = falls_of(readings)
    if falls:
        return error(
            "M004",
            f"{len(falls)} of the last {len(readings)} readings fall,"
            f" the last at {iso_utc(falls[-1].taken_at_s)}",
            "keep the database and send 'daisee dump': the guard should not have let it through",
        )
    if held:
        return warning(
            "M004",
            f"the guard has held back {held} values since the node started",
            "daisee meter watch shows them; if the meter was changed, confirm it",
        )
    return ok("M004", f"the last {len(readings)} readings rise")


def _stuck(orders: Sequence[tuple[int, IntentState]], now_s: int, slot_s: int) -> Finding:
    late = [
        (slot, state) for slot, state in orders if slot_end_s(slot, slot_s) + STUCK_AFTER_S < now_s
    ]
    if not late:
        return ok("O001", f"{len(orders)} orders are under way")
    words = ", ".join(sorted({state.value for _, state in late}))
    return warning(
        "O001",
        f"{len(late)} orders of slots long past are still {words},"
        f" the oldest of {iso_utc(late[0][0] * slot_s)}",
        "let the node run with the chain in reach: it expires what came too late by itself",
    )


def _closing(readings: Sequence[RegisterReading], now_s: int, slot_s: int) -> Finding:
    if not readings:
        return ok("O002", "no slot has been closed yet")
    age_s = now_s - readings[-1].taken_at_s
    said = f"the last slot was closed {_about(max(age_s, 0))} ago"
    if age_s < -slot_s:
        return error(
            "O002",
            f"the last slot was closed in the future, at {iso_utc(readings[-1].taken_at_s)}",
            "the clock was wrong then or is now: timedatectl status",
        )
    if age_s > LATE_SLOTS * slot_s:
        return warning("O002", said, "see R001 and M002: slots close when the node hears the meter")
    return ok("O002", said)


def _about(seconds: int) -> str:
    """A duration in one whole unit, cut off."""
    for size in (86_400, 3_600, 60):
        if seconds >= size:
            return duration_text(seconds // size * size)
    return f"{seconds} s"
