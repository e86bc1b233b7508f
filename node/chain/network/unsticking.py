"""Freeing Clique's sealers when they wait for each other.

Two branches can weigh the same in total, each seen first by some of the sealers: one block made in
its sealer's turn weighs as much as two that were not. If on both branches everybody who may seal
next is on the other one, nobody seals any more: a known fault of Clique, most likely after several
sealers were started one after the other.

The cure is that all begin anew from their last common block: they pause, step back, and go on
together. If only those of one branch stepped back, they would seal that very branch again before
they heard of the other: peers tell each other of a block once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.chain.json_rpc import block_query, number
from node.chain.network.asking import ask
from node.chain.network.record import Network
from node.errors import ChainUnreachable, Refused

__all__ = ["Head", "Heads", "free_sealers", "heads_of"]

MAX_BACK: Final = 64
"""Blocks that are looked at for a common one; more is no sealers' quarrel."""

Endpoints = Mapping[str, Path | str]


@dataclass(frozen=True, slots=True)
class Head:
    """A node's newest block: its number and its hash."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class Heads:
    """What the reachable nodes follow, by name."""

    of: Mapping[str, Head]

    def numbers(self) -> dict[str, int]:
        """The height of each."""
        return {name: head.number for name, head in self.of.items()}

    @property
    def highest(self) -> int:
        """The height of the highest; -1 when nobody answered."""
        return max((head.number for head in self.of.values()), default=-1)


async def heads_of(endpoints: Endpoints) -> Heads:
    """The heads of those that answer."""
    found = await asyncio.gather(*(_head(endpoint) for endpoint in endpoints.values()))
    return Heads({name: head for name, head in zip(endpoints, found, strict=True) if head})


async def free_sealers(network: Network, endpoints: Endpoints) -> bool:
    """Have validators that follow different branches begin anew from their last common block;
    whether they had to.

    Raises nothing for a node that is away. No node is taken back beyond the blocks that may still
    change: such a quarrel needs a person. One that was told to pause and never to go on, because
    whoever told it died in between, goes on now.
    """
    heads = await heads_of(endpoints)
    asked = {name: endpoints[name] for name in heads.of}
    back_to = await _quarrel(asked, heads)
    if back_to is None or heads.highest - back_to >= network.finality_depth:
        await _told(asked, "miner_start")
        return False
    ahead = {name: asked[name] for name, head in heads.of.items() if head.number > back_to}
    try:
        await _told(asked, "miner_stop")
        await _told(ahead, "debug_setHead", hex(back_to))
    finally:
        await _told(asked, "miner_start")
    return True


async def _quarrel(endpoints: Endpoints, heads: Heads) -> int | None:
    """The last block that the ends of different branches have in common; None where all follow one
    branch, though some may be behind on it, and where none is within reach."""
    ends = {}
    for name, head in heads.of.items():
        further = [endpoints[other] for other in heads.of if heads.of[other].number > head.number]
        known = await asyncio.gather(*(_hash_at(one, head.number) for one in further))
        if head.hash not in known:
            ends[name] = head
    if len({head.hash for head in ends.values()}) < 2:
        return None
    lowest = min(head.number for head in ends.values())
    for height in range(lowest, max(lowest - MAX_BACK, -1), -1):
        blocks = await asyncio.gather(*(_hash_at(endpoints[name], height) for name in ends))
        if all(blocks) and len(set(blocks)) == 1:
            return height
    return None


async def _told(endpoints: Endpoints, method: str, *parameters: object) -> None:
    """Tell all at a time; who is away does not hear it."""

    async def tell(endpoint: Path | str) -> None:
        with contextlib.suppress(ChainUnreachable, Refused):
            await ask(endpoint, method, *parameters)

    await asyncio.gather(*(tell(endpoint) for endpoint in endpoints.values()))


async def _head(endpoint: Path | str) -> Head | None:
    try:
        block = await ask(endpoint, *block_query())
        return Head(number(block["number"]), str(block["hash"]))
    except (ChainUnreachable, Refused, KeyError, TypeError):
        return None


async def _hash_at(endpoint: Path | str, height: int) -> str:
    """A block's hash; empty where it is not known."""
    try:
        block: Any = await ask(endpoint, *block_query(height))
    except (ChainUnreachable, Refused):
        return ""
    return "" if block is None else str(block["hash"])
