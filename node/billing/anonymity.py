"""Totals that betray nobody: at least k members in each, and in whatever can be worked out of them.

A total over many members is harmless alone. Two that differ by one member tell its value, and so
may three or four. From sums of the same values, whoever knows nothing else can work out their
linear combinations and nothing more; so a total is held back if, together with those that are out,
some combination would speak of fewer than k members that none speaks of yet. Whoever looks may know
some values already (its own, its clients', those that their owners published): these count for
nothing.

A member knows more: what was allocated to it ties production to consumption, by the key. No
combination does that, so ``node.billing.views`` tells the two together or not at all.

What this does not hide: that one member of k has nearly all of it. Where one mill uses more than
all others, ask it for its consent to publication, or leave it out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Final

__all__ = ["LEAST_K", "MAX_TOTALS", "Thresholds", "Total", "releasable", "smallest_told"]

LEAST_K: Final = 3
"""No vote and no setting goes below it."""

MAX_TOTALS: Final = 24
"""Totals of one step at most. One more is held back."""

_MAX_SEARCH: Final = 20_000
"""Sets of members that are looked at for one total at most; then it is held back."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How many members a total needs: of a step, and of a whole month."""

    step: int = 5
    month: int = 5

    def __post_init__(self) -> None:
        if min(self.step, self.month) < LEAST_K:
            raise ValueError(f"a total over fewer than {LEAST_K} members hides nobody")


@dataclass(frozen=True, slots=True)
class Total:
    """A sum over members, by its name: the village, a transformer, the shops."""

    name: str
    members: frozenset[str]


def releasable(
    totals: Sequence[Total], k: int, *, known: Collection[str] = (), out: Sequence[Total] = ()
) -> list[Total]:
    """Those of the totals that can be told, in their order: the important ones come first.

    ``out`` are totals of the same values that have been told already, to anybody: they stay told.
    ``known`` are members whose values the reader has anyhow. A total of known members only tells
    nothing new and is let through.
    """
    if k < LEAST_K:
        raise ValueError(f"k = {k} hides nobody; at least {LEAST_K}")
    hidden = frozenset(known)
    told = [total.members - hidden for total in out]
    released: list[Total] = []
    for total in totals:
        rest = total.members - hidden
        if rest and len(rest) < k:
            continue
        if rest and rest not in told:
            if len(told) >= MAX_TOTALS or _betrays(told, rest, k):
                continue
            told.append(rest)
        released.append(total)
    return released


def smallest_told(
    groups: Sequence[frozenset[str]], most: int, *, out: Sequence[frozenset[str]] = ()
) -> frozenset[str] | None:
    """A set of at most ``most`` members of whom some combination of the totals speaks alone, and
    none of those that are ``out`` by themselves; None if there is none. Members who are in the same
    totals cannot be told apart, so they count together. Raises ValueError when there are too many
    sets to look at."""
    found = _atoms([*out, *groups])
    atoms = [atom for atom in found if len(atom[1]) <= most]
    columns = [column for column, _ in found]
    whole, whole_out = _rank(columns), _rank(column[: len(out)] for column in columns)
    looked_at = 0
    for count in range(1, most + 1):
        for chosen in combinations(atoms, count):
            looked_at += 1
            if looked_at > _MAX_SEARCH:
                raise ValueError("too many sets of members to look at")
            members = frozenset().union(*(names for _, names in chosen))
            if len(members) > most:
                continue
            left_out = {column for column, _ in chosen}
            others = [column for column in columns if column not in left_out]
            # The combinations that are zero on all others have as many dimensions as the rank loses
            # when these are taken away.
            spoken = whole - _rank(others)
            if spoken and spoken > whole_out - _rank(column[: len(out)] for column in others):
                return members
    return None


def _betrays(told: Sequence[frozenset[str]], rest: frozenset[str], k: int) -> bool:
    """Whether one more total tells of fewer than k what is not out yet."""
    try:
        return smallest_told([rest], k - 1, out=told) is not None
    except ValueError:
        return True


def _atoms(groups: Sequence[frozenset[str]]) -> list[tuple[tuple[int, ...], frozenset[str]]]:
    """Members by the totals that they are in."""
    found: dict[tuple[int, ...], set[str]] = {}
    for member in frozenset().union(*groups):
        found.setdefault(tuple(int(member in group) for group in groups), set()).add(member)
    return [(column, frozenset(names)) for column, names in sorted(found.items())]


def _rank(columns: Iterable[Sequence[int]]) -> int:
    """The rank of a matrix, exactly."""
    basis: list[tuple[int, list[Fraction]]] = []
    for column in columns:
        vector = [Fraction(value) for value in column]
        for pivot, row in basis:
            if vector[pivot]:
                factor = vector[pivot] / row[pivot]
                vector = [one - factor * other for one, other in zip(vector, row, strict=True)]
        place = next((at for at, value in enumerate(vector) if value), None)
        if place is not None:
            basis.append((place, vector))
    return len(basis)
