"""What a household's database writes to its memory card in a day of 96 slots.

``python -m tests.support.card_wear FOLDER`` prints it, with and without the raw samples of a meter
that speaks every second. Counted by the kernel for this process: what it wrote, and how much of the
card's pages that made dirty (0 where the folder is in memory). Exit code 7 when the raw samples of
a day are more than 2 MB.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from node.meter.sample_log import Sample, pack
from node.model import (
    LogPosition,
    Order,
    OrderSettled,
    RegisterReading,
    SampleBatch,
    Side,
    SignedOrder,
    SlotCleared,
    SlotEnergy,
)
from node.ports import IntentState
from node.store import NodeDatabase

SLOTS: Final = 96
SLOT_S: Final = 900
FIRST: Final = 1_622_304
DAYS: Final = 3
"""From the making of the file to its closing, when all of the log was copied into it."""

RAW_BAR_BYTES: Final = 2_000_000

KEEP_DAYS: Final = 1
PATTERNS: Final = 8
"""Slots of samples that are packed; they come round again."""

STATE: Final = "x" * 1_500
"""About what a guarded meter with two registers keeps."""

Samples = Callable[[random.Random, int], list[Sample]]


@dataclass(frozen=True, slots=True)
class Wear:
    """Bytes of one day."""

    written: int
    dirtied: int

    def __sub__(self, other: Wear) -> Wear:
        return Wear(self.written - other.written, self.dirtied - other.dirtied)


def noise(rng: random.Random, start_s: int) -> list[Sample]:
    """The worst: power that is another one every second, in W and in VA."""
    return [
        Sample(start_s + at, start_s + at // 3, 0, rng.randrange(9_000), rng.randrange(9_000))
        for at in range(SLOT_S)
    ]


def home(rng: random.Random, start_s: int) -> list[Sample]:
    """A home: some noise on what runs, and now and then something else runs."""
    samples, power_w = [], 500
    for at in range(SLOT_S):
        if rng.random() < 0.01:
            power_w = rng.randrange(100, 4_000)
        seen_w = power_w + rng.randrange(-15, 16)
        samples.append(Sample(start_s + at, start_s + at // 3, 0, seen_w, None))
    return samples


def day_of_wear(path: Path, samples: Samples | None) -> Wear:
    """The mean of DAYS days in the life of a new database that orders in every slot."""
    rng = random.Random(1)
    packed = [] if samples is None else [pack("m", samples(rng, 0)) for _ in range(PATTERNS)]
    before = _so_far()
    with NodeDatabase.open(path) as database:
        for slot in range(FIRST, FIRST + SLOTS * DAYS):
            start_s = slot * SLOT_S
            _live(database, slot, packed[slot % PATTERNS] if packed else None, rng)
            if slot % SLOTS == 8:
                database.prune_samples(start_s - KEEP_DAYS * SLOTS * SLOT_S)
    whole = _so_far() - before
    return Wear(whole.written // DAYS, whole.dirtied // DAYS)


def _live(database: NodeDatabase, slot: int, batch: SampleBatch | None, rng: random.Random) -> None:
    """The transactions of one slot, as the daemon makes them."""
    block = slot * 10
    with database.transaction():
        database.add_reading(RegisterReading("m", (slot + 1) * SLOT_S, slot, 0))
        database.add_slot_energy(SlotEnergy(slot, 300, 0))
        database.set_meter_state("m", STATE)
        if batch is not None:
            start_s = slot * SLOT_S
            database.add_samples(replace(batch, from_s=start_s, to_s=start_s + SLOT_S - 1))
    order = Order(7, slot, Side.BID, 300, 9_000, rng.randbytes(32))
    with database.transaction():
        database.add_intent(SignedOrder(order, rng.randbytes(64)))
    database.set_intent_state(slot, Side.BID, IntentState.SENT)
    with database.transaction():
        at = LogPosition(block, 1)
        database.set_intent_state(slot, Side.BID, IntentState.ACCEPTED, at=at)
        database.set_cursor(at)
    with database.transaction():
        at = LogPosition(block + 2, 0)
        database.add_clearing(SlotCleared(at, slot, 7_000, 900, 900, 1_000))
        database.set_cursor(at)
    with database.transaction():
        at = LogPosition(block + 3, 0)
        database.add_settlement(OrderSettled(at, slot, 7, Side.BID, 300, 7_000, -2_100_000))
        database.set_cursor(at)


def _so_far() -> Wear:
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    counts = dict(line.split(": ") for line in lines)
    return Wear(int(counts["wchar"]), int(counts["write_bytes"]))


def main() -> int:
    """One JSON document: bytes of a day for each meter, and how much of them is raw samples."""
    folder = Path(sys.argv[1])
    without = day_of_wear(folder / "none.sqlite", None)
    told = {"none": asdict(without)}
    worst = 0
    for samples in (home, noise):
        total = day_of_wear(folder / f"{samples.__name__}.sqlite", samples)
        raw = total - without
        worst = max(worst, raw.written, raw.dirtied)
        told[samples.__name__] = asdict(total) | {
            "raw_written": raw.written,
            "raw_dirtied": raw.dirtied,
        }
    json.dump(told, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0 if worst <= RAW_BAR_BYTES else 7


if __name__ == "__main__":
    sys.exit(main())
