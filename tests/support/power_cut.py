"""A disk on which power is cut: what a process wrote, as strace saw it, and what may be left.

What was synced is there. Of everything written since, any part may be there, down to single
sectors; names appear and vanish in order, as on a journalling file system, and a synced file or
folder takes the names before it along.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.shared import CHECKOUT

SECTOR: Final = 512
_CALL: Final = re.compile(r"(\w+)\((.*)\) = (-?\d+)(?: .*)?$")
_HANDLE: Final = re.compile(r"^(\d+)<([^>]*)>(?:, )?(.*)$")


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes on their way to a file."""

    name: str
    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file's new length."""

    name: str
    length: int


@dataclass(frozen=True, slots=True)
class Unlink:
    """A name that goes."""

    name: str


@dataclass(frozen=True, slots=True)
class Sync:
    """What the disk must hold from here on of a file, or, with the name ``.``, of the folder."""

    name: str


@dataclass(frozen=True, slots=True)
class Said:
    """A line on the process's output: somebody now relies on it."""

    line: str


Step = Write | Truncate | Unlink | Sync | Said


def strace_command(trace: Path, path: Path, slots: int, log_bytes: int) -> list[str]:
    """The slot writer under strace."""
    calls = "write,pwrite64,fsync,fdatasync,ftruncate,unlink"
    watch = ["strace", "-qq", "-y", "-xx", "-s", "1000000", "-e", f"trace={calls}"]
    writer = [sys.executable, "-m", "tests.support.slot_writer", str(path)]
    return [*watch, "-o", str(trace), *writer, str(slots), str(log_bytes)]


def may_trace() -> bool:
    """Whether a process may be watched here."""
    strace = shutil.which("strace")
    if strace is None:
        return False
    nothing = [strace, "-qq", "-e", "trace=none", sys.executable, "-c", ""]
    return subprocess.run(nothing, capture_output=True, check=False, timeout=60).returncode == 0


def traced(folder: Path, slots: int, log_bytes: int) -> list[Step]:
    """What the slot writer does to a new ``node.sqlite`` in a folder, step by step."""
    trace = folder.parent / f"{folder.name}.trace"
    command = strace_command(trace, folder / "node.sqlite", slots, log_bytes)
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, timeout=120)
    with trace.open(encoding="ascii") as lines:
        return list(_steps(lines, str(folder)))


def _steps(lines: Iterator[str], folder: str) -> Iterator[Step]:
    for line in lines:
        call = _CALL.match(line.strip())
        if call is None:
            continue  # how the process ended
        name, arguments, result = call[1], call[2], int(call[3])
        assert result >= 0, line[:200]
        if name == "unlink":
            gone = _plain(arguments.strip('"'))
            if _is_kept(gone, folder):
                yield Unlink(Path(gone).name)
            continue
        handle = _HANDLE.match(arguments)
        assert handle is not None, line[:200]
        step = _step(name, int(handle[1]), _plain(handle[2]), handle[3], folder)
        assert not isinstance(step, Write) or len(step.content) == result, line[:200]
        if step is not None:
            yield step


def _step(call: str, handle: int, path: str, rest: str, folder: str) -> Step | None:
    if call == "write":
        return Said(_bytes(rest.split('"')[1]).decode().strip()) if handle == 1 else None
    if path == folder:
        assert call in ("fsync", "fdatasync"), call
        return Sync(".")
    if not _is_kept(path, folder):
        return None
    name = Path(path).name
    if call == "ftruncate":
        return Truncate(name, int(rest))
    if call == "pwrite64":
        _, text, numbers = rest.split('"')
        return Write(name, int(numbers.split(", ")[2]), _bytes(text))
    return Sync(name)


def _is_kept(path: str, folder: str) -> bool:
    """Whether a file matters: the log's index is shared memory, and made again from the log."""
    return path.startswith(folder + "/") and not path.endswith("-shm")


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _plain(text: str) -> str:
    return _bytes(text).decode() if text.startswith("\\x") else text


@dataclass(slots=True)
class Disk:
    """What is on it for sure, and what is under way to it. Files are numbered, so that one that
    comes under an old name is another file."""

    contents: dict[int, bytearray] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    _seen: dict[str, int] = field(default_factory=dict)
    _naming: list[tuple[str, int | None]] = field(default_factory=list)
    _under_way: list[tuple[int, Write | Truncate]] = field(default_factory=list)
    _files: int = 0

    def take(self, step: Step) -> None:
        """One step of the process."""
        if isinstance(step, Write | Truncate):
            self._under_way.append((self._file(step.name), step))
        elif isinstance(step, Unlink):
            del self._seen[step.name]
            self._naming.append((step.name, None))
        elif isinstance(step, Sync):
            self._sync(step.name)

    def cut(self, rng: random.Random) -> dict[str, bytes]:
        """The files that are there when power comes back."""
        self._name(rng.randint(0, len(self._naming)))
        for number, step in self._under_way:
            fate = rng.random()
            if fate < 0.3:
                continue
            _apply(self.contents[number], step, None if fate < 0.6 else rng)
        return {name: bytes(self.contents[number]) for name, number in self.names.items()}

    def _file(self, name: str) -> int:
        if name not in self._seen:
            self._files += 1
            self._seen[name] = self._files
            self.contents[self._files] = bytearray()
            self._naming.append((name, self._files))
        return self._seen[name]

    def _sync(self, name: str) -> None:
        if name == ".":
            self._name(len(self._naming))
            return
        number = self._file(name)
        if (name, number) in self._naming:
            self._name(self._naming.index((name, number)) + 1)
        for at, step in self._under_way:
            if at == number:
                _apply(self.contents[number], step, None)
        self._under_way = [(at, step) for at, step in self._under_way if at != number]

    def _name(self, count: int) -> None:
        for name, number in self._naming[:count]:
            if number is None:
                self.names.pop(name, None)
            else:
                self.names[name] = number
        del self._naming[:count]


def _apply(content: bytearray, step: Write | Truncate, torn_by: random.Random | None) -> None:
    """A step as a whole, or any of its sectors."""
    if isinstance(step, Truncate):
        del content[step.length :]
        content.extend(bytes(step.length - len(content)))
        return
    end = step.offset + len(step.content)
    at = step.offset
    while at < end:
        until = min((at // SECTOR + 1) * SECTOR, end)
        if torn_by is None or torn_by.random() < 0.5:
            content.extend(bytes(max(until - len(content), 0)))
            content[at:until] = step.content[at - step.offset : until - step.offset]
        at = until
