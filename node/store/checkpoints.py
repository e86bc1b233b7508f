"""Which blocks a household remembers of the chain that it followed: few, and of every age.

A chain that went back a long way is followed from the newest of them that still stands. So twice as
far back costs twice the reading at most, and years of a chain are a few dozen rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["SPACING", "superseded"]

SPACING: Final = 64
"""Blocks between two checkpoints at least: to read what is nearer again costs less than a write."""


def superseded(blocks: Iterable[int]) -> list[int]:
    """The blocks that need not be remembered any more: all but the oldest and the newest of each
    age from one power of two to the next, counted back from the newest."""
    known = sorted(blocks)
    if not known:
        return []
    newest, kept = known[-1], set()
    of_age: dict[int, list[int]] = {}
    for block in known:
        of_age.setdefault((newest - block).bit_length(), []).append(block)
    for of_one in of_age.values():
        kept |= {of_one[0], of_one[-1]}
    return [block for block in known if block not in kept]
