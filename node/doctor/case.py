"""What every group of checks is given, and how blocking work is asked for with a time limit."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from node.clock import Clock
from node.config import NodeConfig
from node.doctor.findings import Finding

__all__ = ["Case", "Checks", "in_thread", "is_locked"]

_T = TypeVar("_T")

_LOCKS = Path("/proc/locks")


@dataclass(frozen=True, slots=True)
class Case:
    """A node to be examined.

    ``page`` is what the running node's own status page says, None where no page answers;
    ``is_running`` whether a node holds the lock of this database.
    """

    config: NodeConfig
    environment: Mapping[str, str]
    clock: Clock
    page: Mapping[str, Any] | None = None
    is_running: bool = False

    @property
    def shown(self) -> Mapping[str, Any]:
        """The node's state as its page shows it; empty where it shows none."""
        return self.part("node")

    def part(self, name: str) -> Mapping[str, Any]:
        """A part of the page besides that state; empty where it shows none."""
        found = (self.page or {}).get(name)
        return found if isinstance(found, dict) else {}

    def figure(self, name: str) -> int | None:
        """A whole number of that state, or of its counters."""
        counters = self.shown.get("counters")
        found = self.shown.get(name)
        if found is None and isinstance(counters, dict):
            found = counters.get(name)
        return found if type(found) is int else None


Checks = Callable[[Case], AsyncIterator[Finding]]
"""A group of checks that build on each other: each finding as soon as it is known. DaiseeError and
OSError leave it where their words say enough."""


async def in_thread(work: Callable[[], _T]) -> _T:
    """Do blocking work, and never wait for its end once the time is up.

    ``asyncio.to_thread`` would: the process would not end before a disk that hangs answers.
    """
    answer: concurrent.futures.Future[_T] = concurrent.futures.Future()

    answer.set_running_or_notify_cancel()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as failure:  # noqa: BLE001 - it is raised again, where it is awaited
            answer.set_exception(failure)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(answer)


def is_locked(path: Path, locks: Path = _LOCKS) -> bool:
    """Whether a process holds a lock on a file, without trying to take it: a node that starts in
    that moment would be refused. Where the kernel does not tell (no Linux), the answer is no."""
    try:
        found = path.stat()
        lines = locks.read_text().splitlines()
    except OSError:
        return False
    inode = f":{found.st_ino}"
    return any(
        fields[1:2] == ["FLOCK"] and any(field.endswith(inode) for field in fields)
        for fields in (line.split() for line in lines)
    )
