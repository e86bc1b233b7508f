"""Power cuts and killed processes: what was acknowledged is there, and the file is whole.

A killed process proves little: the kernel still writes what it had taken over. So the disk itself
is played: what strace saw a writer write and sync is cut at any step, and of everything not synced
any part is lost. And the write-ahead log is torn at random. ``scripts/campaign torn`` runs more.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from node.errors import ConfigurationError, DaiseeError
from node.store import NodeDatabase, opening
from tests.support.power_cut import Disk, Said, Step, Sync, Write, may_trace, traced
from tests.support.shared import CHECKOUT
from tests.support.slot_writer import keep_order, keep_slot, kept

TORN: Final = int(os.environ.get("DAISEE_TORN_RUNS", "150"))
KILLS: Final = int(os.environ.get("DAISEE_STORE_KILLS", "200"))
SEED: Final = int(os.environ.get("DAISEE_CAMPAIGN_SEED", "0"))
SHORT_LOG_BYTES: Final = 96 << 10
"""Copied into the file every few slots, so that cuts fall before, into and after copying."""

SLOTS: Final = 40
LOG: Final = "node.sqlite-wal"
LOG_HEADER: Final = 32


@contextmanager
def noting(which: str) -> Iterator[None]:
    """Say with a failure which of the random cases it is."""
    try:
        yield
    except (AssertionError, DaiseeError) as failure:
        failure.add_note(which)
        raise


def opens_whole(path: Path, *, at_least: int, at_most: int) -> int:
    """How many transactions a file holds: the first ones, and the next slot can be kept."""
    with NodeDatabase.open(path) as database:
        assert database.integrity() == []
        found = kept(database)
        assert at_least <= found <= at_most
        if found % 2:
            keep_order(database, found // 2)
        keep_slot(database, (found + 1) // 2)
        assert kept(database) == found + 1 + found % 2
    return found


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    """What a writer of SLOTS slots and orders does to its disk."""
    if not may_trace():
        pytest.skip("strace is missing, or may not watch a process here")
    return traced(tmp_path_factory.mktemp("traced"), SLOTS, SHORT_LOG_BYTES)


class TestPowerCuts:
    def test_nothing_is_acknowledged_before_it_was_synced(self, steps: list[Step]) -> None:
        """Each slot and each order has a sync of the log of its own, after its last byte."""
        said, syncs, unsynced = 0, 0, False
        for step in steps:
            if isinstance(step, Write) and step.name == LOG:
                unsynced = True
            elif isinstance(step, Sync) and step.name == LOG:
                syncs, unsynced = syncs + 1, False
            elif isinstance(step, Said):
                assert (syncs, unsynced) >= (1, False), step.line
                said, syncs = said + 1, 0
        assert said == 2 * SLOTS

    def test_wherever_power_fails_what_was_acknowledged_is_there(
        self, steps: list[Step], tmp_path: Path
    ) -> None:
        for number in range(TORN):
            rng = random.Random(f"{SEED} cut {number}")
            folder = tmp_path / "cut"
            folder.mkdir()
            disk, cut_at = Disk(), rng.randrange(len(steps) + 1)
            for step in steps[:cut_at]:
                disk.take(step)
            put(folder, disk.cut(rng))
            said = sum(isinstance(step, Said) for step in steps[:cut_at])
            with noting(f"cut {number} of seed {SEED}: after step {cut_at}, {said} acknowledged"):
                opens_whole(folder / "node.sqlite", at_least=said, at_most=said + 1)
            shutil.rmtree(folder)

    def test_the_played_disk_loses_what_was_not_synced(
        self, steps: list[Step], tmp_path: Path
    ) -> None:
        """Without its syncs the very same writer loses slots: the cuts above can tell."""
        begun = next(at for at, step in enumerate(steps) if isinstance(step, Said))
        outcomes = set()
        for number in range(20):
            folder = tmp_path / f"{number}"
            folder.mkdir()
            disk = Disk()
            for at, step in enumerate(steps):
                if at < begun or not isinstance(step, Sync):
                    disk.take(step)
            put(folder, disk.cut(random.Random(number)))
            outcomes.add(everything_is_in(folder / "node.sqlite"))
        assert outcomes == {False}


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def everything_is_in(path: Path) -> bool:
    try:
        with NodeDatabase.open(path) as database:
            return database.integrity() == [] and database.totals().slots == SLOTS
    except ConfigurationError:
        return False  # damaged


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A database's files while it is written. ``ends`` are the lengths of the log at which each
    transaction of its present round was whole; ``held`` is how many came before."""

    main: bytes
    log: bytes
    index: bytes
    held: int
    ends: tuple[int, ...]


def snapshots(folder: Path, slots: int) -> Iterator[Snapshot]:
    """The files after every transaction, as a copying program would find them."""
    path = folder / "node.sqlite"
    paths = [path, path.with_name(LOG), path.with_name("node.sqlite-shm")]
    held, ends = 0, [0]
    with NodeDatabase.open(path) as database:
        for number in range(2 * slots):
            (keep_order if number % 2 else keep_slot)(database, number // 2)
            main, log, index = (part.read_bytes() for part in paths)
            frames, copied = (int.from_bytes(index[at : at + 4], sys.byteorder) for at in (16, 96))
            end = LOG_HEADER + frames * (24 + 1024)
            if end < ends[-1]:  # the log began again from its start
                held, ends = number, []
            ends = [*ends, end]
            # What was copied into the file was synced long before: no power cut tears that.
            if copied == 0:
                yield Snapshot(main, log, index, held, tuple(ends[-(number + 1 - held) :]))


def torn(log: bytes, rng: random.Random) -> bytes:
    """A log that was cut off, or in which bits, a sector or a whole stretch are wrong."""
    wrong = bytearray(log)
    at = rng.randrange(len(log))
    match rng.choice(("cut", "bits", "zeros", "noise", "stretch")):
        case "cut":
            del wrong[at:]
        case "bits":
            for _ in range(rng.randint(1, 8)):
                wrong[rng.randrange(at, len(log))] ^= 1 << rng.randrange(8)
        case "zeros":
            start, length = at // 512 * 512, rng.choice((512, 1024, 4096))
            wrong[start : start + length] = bytes(len(wrong[start : start + length]))
        case "noise":
            start = at // 512 * 512
            wrong[start : start + 512] = rng.randbytes(len(wrong[start : start + 512]))
        case "stretch":
            wrong[at:] = bytes(len(wrong) - at)
    return bytes(wrong)


def wrong_index(index: bytes, rng: random.Random) -> bytes | None:
    """The log's index after a power cut: gone, short, empty, noise, or as it was."""
    return rng.choice(
        (None, b"", index[: rng.randrange(len(index))], rng.randbytes(len(index)), index)
    )


def test_a_torn_log_gives_the_transactions_before_the_tear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "live").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(opening, "LOG_BYTES", SHORT_LOG_BYTES)
        taken = list(snapshots(tmp_path / "live", 60))
    assert len({snapshot.held for snapshot in taken}) > 5  # rounds of the log
    for number in range(TORN):
        rng = random.Random(f"{SEED} torn {number}")
        snapshot = rng.choice(taken)
        log = torn(snapshot.log, rng)
        tear = next((at for at in range(len(log)) if log[at] != snapshot.log[at]), len(log))
        expected = snapshot.held + sum(end <= tear for end in snapshot.ends)
        folder = tmp_path / "torn"
        folder.mkdir()
        path = folder / "node.sqlite"
        path.write_bytes(snapshot.main)
        path.with_name(LOG).write_bytes(log)
        index = wrong_index(snapshot.index, rng)
        if index is not None:
            path.with_name("node.sqlite-shm").write_bytes(index)
        with noting(f"tear {number} of seed {SEED}: at {tear} of {len(snapshot.log)}"):
            opens_whole(path, at_least=expected, at_most=expected)
        shutil.rmtree(folder)


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """The same file survives kill after kill: each writer goes on from what the one before left."""
    rng = random.Random(f"{SEED} kill")
    path = tmp_path / "node.sqlite"
    acknowledged = 0
    with nursery(path) as nurse:
        for number in range(KILLS):
            if number % 20 == 0:  # so that checking stays quick
                for left in tmp_path.iterdir():
                    left.unlink()
                acknowledged = 0
            told = bear_and_kill(nurse, rng)
            with noting(f"kill {number} of seed {SEED}"), NodeDatabase.open(path) as database:
                assert database.integrity() == []
                found = kept(database)
                assert acknowledged + told <= found <= acknowledged + told + 1
                acknowledged = found


@contextmanager
def nursery(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that bears writers."""
    command = [sys.executable, "-m", "tests.support.slot_writer", str(path), "100000"]
    nurse = subprocess.Popen(
        [*command, str(SHORT_LOG_BYTES), "--nurse"],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with nurse:
        yield nurse
        assert nurse.stdin is not None
        nurse.stdin.close()
    assert nurse.returncode == 0


def bear_and_kill(nurse: subprocess.Popen[str], rng: random.Random) -> int:
    """Let a writer live a moment, from its birth or after some lines; how many it wrote."""
    assert nurse.stdin is not None
    assert nurse.stdout is not None
    nurse.stdin.write("\n")
    nurse.stdin.flush()
    told, child = 0, None
    wanted = rng.choice((0, rng.randint(1, 8)))
    while child is None or told < wanted:
        what, number = nurse.stdout.readline().split()
        if what == "born":
            child = int(number)
        else:
            told += 1
    with suppress(subprocess.TimeoutExpired):
        nurse.wait(rng.uniform(0, 0.005))
    os.kill(child, signal.SIGKILL)
    while (line := nurse.stdout.readline().split())[0] != "died":
        told += 1
    assert line[1] == str(-signal.SIGKILL)
    return told
