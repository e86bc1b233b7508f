"""Freeing Clique's sealers when they wait for each other.

Two blocks of the same height can weigh the same in total, each seen first by half of the sealers.
If on both branches everybody who may seal next is on the other one, nobody seals any more: a known
fault of Clique, most likely with an even number of sealers. The cure is that all follow one branch:
the lighter ones, by a rule that everybody computes alike, step back to the last common block and
take the other branch from their peers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.chain.network.asking import ask, number
from node.chain.network.record import Network
from node.errors import ChainUnreachable, Refused

__all__ = ["Head", "Heads", "free_sealers", "heads_of"]

MAX_BACK: Final = 64
"""Blocks that are looked at for a common one; more is no sealers' quarrel."""

Endpoints = Mapping[str, Path | str]


@dataclass(frozen=True, slots=True)
class Head:
    """A node's newest block: its number, its hash, and the weight of all blocks up to it."""

    number: int
    hash: str
    weight: int


@dataclass(frozen=True, slots=True)
class Heads:
    """What the reachable nodes follow, by name."""

    of: Mapping[str, Head]

    def numbers(self) -> dict[str, int]:
        """The height of each."""
        return {name: head.number for name, head in self.of.items()}

    def best(self) -> Head | None:
        """The branch that all should follow: the heaviest; of equal ones the one with fewer blocks,
        whose sealers kept to their turn; of those the smallest hash (EIP-3436)."""
        return min(
            self.of.values(),
            key=lambda head: (-head.weight, head.number, int(head.hash, 16)),
            default=None,
        )


async def heads_of(endpoints: Endpoints) -> Heads:
    """The heads of those that answer."""
    found = await asyncio.gather(*(_head(endpoint) for endpoint in endpoints.values()))
    return Heads({name: head for name, head in zip(endpoints, found, strict=True) if head})


async def free_sealers(network: Network, endpoints: Endpoints) -> bool:
    """Bring validators that follow different branches back to one; whether any had to step back.

    Raises nothing for a node that is away. A node is never taken back beyond the blocks that may
    still change: such a quarrel needs a person.
    """
    heads = await heads_of(endpoints)
    best = heads.best()
    if best is None:
        return False
    home = next(name for name, head in heads.of.items() if head == best)
    stepped = False
    for name, head in heads.of.items():
        if head.hash == best.hash:
            continue
        common = await _common(endpoints[home], endpoints[name], min(head.number, best.number))
        if common is None or head.number - common >= network.finality_depth:
            continue
        if common == head.number:
            continue  # behind on the same branch: its peers bring it up to date
        try:
            await ask(endpoints[name], "debug_setHead", hex(common))
        except (ChainUnreachable, Refused):
            continue
        stepped = True
    return stepped


async def _head(endpoint: Path | str) -> Head | None:
    try:
        block = await ask(endpoint, "eth_getBlockByNumber", "latest", False)  # noqa: FBT003 - JSON-RPC
        return Head(
            number(block["number"]), str(block["hash"]), number(block.get("totalDifficulty", 0))
        )
    except (ChainUnreachable, Refused, KeyError, TypeError):
        return None


async def _common(one: Path | str, other: Path | str, from_height: int) -> int | None:
    """The newest block that both have."""
    for height in range(from_height, max(from_height - MAX_BACK, -1), -1):
        try:
            blocks: list[Any] = [
                await ask(endpoint, "eth_getBlockByNumber", hex(height), False)  # noqa: FBT003
                for endpoint in (one, other)
            ]
        except (ChainUnreachable, Refused):
            return None
        if all(blocks) and blocks[0]["hash"] == blocks[1]["hash"]:
            return height
    return None
