"""Damages a million frames of every meter with a serial line, and counts what comes through.

    python -m tests.support.mutate_frames [--frames N] [--seed N] [--processes N]

From the line through codec, vouching and guard to the counted registers; recordings beside the
checkout (../shared, or $DAISEE_SHARED) are damaged too where they are there. Prints what each codec
and each kind of damage let through. The same seed gives the same figures, whatever the number of
processes. Exit code 0 when nothing implausible was counted, frames were read again within two, and
no buffer passed its bound; 7 otherwise. A crash is an exception, and ends it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from random import Random
from typing import Final

from node.clock import cpu_seconds, wall_seconds
from tests.support.frame_campaign import Tally, campaign, damaged_messages, faults, table
from tests.support.frame_streams import messages, recorded, synthesised
from tests.support.shared import SHARED

PART: Final = 20_000
MESSAGES_SHARE: Final = 20
MISSED: Final = 7

Part = tuple[dict[str, Tally], dict[str, int]]


def damage(seed: int, part: int, frames: int) -> Part:
    """One part, with damage of its own."""
    random = Random(f"{seed}/{part}")
    folder = SHARED / "frames"
    tallies = campaign([*synthesised(), *recorded(folder)], frames, random)
    return tallies, damaged_messages(messages(folder), frames // MESSAGES_SHARE, random)


def gathered(parts: Sequence[Part]) -> Part:
    """All parts together."""
    tallies: dict[str, Tally] = {}
    read: Counter[str] = Counter()
    for part, counts in parts:
        read.update(counts)
        for name, tally in part.items():
            tallies.setdefault(name, Tally()).add(tally)
    return tallies, dict(read)


def main() -> int:
    """Damage, count, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    began_s = wall_seconds()
    sizes = [min(PART, arguments.frames - begin) for begin in range(0, arguments.frames, PART)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, mp_context=context) as pool:
        numbers = range(len(sizes))
        parts = list(pool.map(damage, [arguments.seed] * len(sizes), numbers, sizes))
    tallies, read = gathered(parts)
    sys.stdout.write(f"{table(tallies)}\n\nmessages, damaged and read: {read}\n")
    missed = faults(tallies)
    sys.stdout.write(
        f"seed {arguments.seed}: 0 crashes, {'; '.join(missed) or 'every bar reached'}; "
        f"{wall_seconds() - began_s:.0f} s, {cpu_seconds():.0f} s CPU\n"
    )
    return MISSED if missed else 0


if __name__ == "__main__":
    sys.exit(main())
