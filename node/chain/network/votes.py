"""Changing who validates: each validator votes, and more than half of them must vote alike.

A vote is told to a node, which repeats it in the blocks that it seals until it is told otherwise or
is restarted, also long after it was counted: one that a removed validator gave against itself would
vote it out again as soon as it is back. So votes are taken back when they are done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from node.chain.json_rpc import block_query, number
from node.chain.network.asking import ask
from node.chain.network.genesis import qbft_validators
from node.chain.network.record import MAX_SEALERS, Network, quorum
from node.clock import wall_seconds
from node.errors import ChainUnreachable, Refused

__all__ = [
    "Endpoints",
    "cast_votes",
    "current_validators",
    "final_validators",
    "propose",
    "refuse_too_many",
    "refuse_unsafe_removal",
    "refuse_while_it_seals",
    "take_back",
    "take_back_if_done",
    "votes_needed",
]

COUNTED_WITHIN_PERIODS: Final = 20
COUNTED_WITHIN_S: Final = 20.0
PAUSE_S: Final = 0.5

Endpoints = Mapping[str, Path | str]


async def current_validators(network: Network, endpoint: Path | str) -> list[str]:
    """Who validates now. Raises ChainUnreachable; Refused where only members' questions go."""
    return await _validators_at(network, endpoint, "latest")


async def final_validators(network: Network, endpoint: Path | str) -> list[str]:
    """Who validates by the newest block that cannot be replaced any more. Raises the same."""
    head = number(await ask(endpoint, "eth_blockNumber"))
    return await _validators_at(network, endpoint, hex(max(head - network.finality_depth, 0)))


async def propose(network: Network, endpoint: Path | str, address: str, *, add: bool) -> None:
    """Have one validator vote. Raises ChainUnreachable or Refused."""
    method = "clique_propose" if network.engine == "geth" else "qbft_proposeValidatorVote"
    await ask(endpoint, method, address, add)


async def take_back(network: Network, endpoints: Endpoints, address: str) -> None:
    """Have nodes vote neither for nor against an address. One that is away has forgotten its votes
    when it comes back."""
    method = "clique_discard" if network.engine == "geth" else "qbft_discardValidatorVote"
    for endpoint in endpoints.values():
        with contextlib.suppress(ChainUnreachable, Refused):
            await ask(endpoint, method, address)


async def take_back_if_done(
    network: Network, endpoints: Endpoints, address: str, *, add: bool
) -> None:
    """The same, where what was voted for is so for good."""
    for endpoint in endpoints.values():
        with contextlib.suppress(ChainUnreachable, Refused):
            if (address in await final_validators(network, endpoint)) == add:
                await take_back(network, endpoints, address)
                return


async def cast_votes(
    network: Network, endpoints: Endpoints, voters: Sequence[str], address: str, *, add: bool
) -> bool:
    """Have ``voters`` vote, and wait until it is counted; whether it is, in a bounded time.

    When that is final, nobody of ``endpoints`` repeats the vote, or another about that address, any
    more. Where it is not, because others must vote too, these votes stand.
    """
    first = endpoints[voters[0]]
    needed = votes_needed(len(await current_validators(network, first)))
    others = {name: place for name, place in endpoints.items() if name not in voters}
    await take_back(network, others, address)
    for name in voters:
        await propose(network, endpoints[name], address, add=add)
    if len(voters) < needed:
        return False
    periods = COUNTED_WITHIN_PERIODS + network.finality_depth
    deadline_s = wall_seconds() + max(COUNTED_WITHIN_S, periods * network.period_s)
    while wall_seconds() < deadline_s:
        with contextlib.suppress(ChainUnreachable):  # a chain may stand while validators change
            if (address in await final_validators(network, first)) == add:
                await take_back(network, endpoints, address)
                return True
        await asyncio.sleep(PAUSE_S)
    return False


def votes_needed(validators: int) -> int:
    """More than half of those who validate now."""
    return validators // 2 + 1


def refuse_too_many(network: Network, now: Sequence[str]) -> None:
    """Raise Refused when one more would make a block final later than all members think."""
    if network.engine == "geth" and len(now) >= MAX_SEALERS:
        raise Refused(
            f"{len(now)} validate already, and Clique may have {MAX_SEALERS}: with more of them"
            f" {network.finality_depth} blocks make none final",
            reason="too_many",
            next_step="vote another one out first",
        )


def refuse_unsafe_removal(
    network: Network, address: str, now: Sequence[str], sealing: Sequence[str]
) -> None:
    """Raise Refused when the chain would stop without that one; ``sealing`` are those at work."""
    if address not in now:
        raise Refused(f"{address} does not validate", reason="no_validator")
    left = len(now) - 1
    at_work = len(set(sealing) - {address})
    needed = quorum(network.engine, left) if left else 1
    if at_work < needed:
        raise Refused(
            f"without it {left} validators are left, of which {needed} must work, and {at_work} do",
            reason="unsafe",
            next_step="bring the silent validators back first, or add another one",
        )


async def refuse_while_it_seals(network: Network, endpoints: Endpoints, address: str) -> None:
    """Raise Refused when an address may seal, by the highest node that can be asked, or may still
    come to by a change of blocks that are not final; ChainUnreachable when nobody can tell."""
    highest, validators = -1, set[str]()
    for endpoint in endpoints.values():
        with contextlib.suppress(ChainUnreachable, Refused):
            height = number(await ask(endpoint, "eth_blockNumber"))
            if height > highest:
                now = await current_validators(network, endpoint)
                validators = {*now, *await final_validators(network, endpoint)}
                highest = height
    if highest < 0:
        raise ChainUnreachable(
            "no node that knows who validates can be asked from here",
            next_step="run it on a validator's machine; docs/operators.md forwards their sockets",
        )
    if address in validators:
        raise Refused(
            f"{address} may seal, and a chain whose others do not know it may stop",
            reason="still_validates",
            next_step="vote it out first: 'daisee chain validator remove', and wait until that is"
            " final",
        )


async def _validators_at(network: Network, endpoint: Path | str, block: str) -> list[str]:
    if network.engine == "geth":
        return [str(one).lower() for one in await ask(endpoint, "clique_getSigners", block)]
    found = await ask(endpoint, *block_query(block))
    return qbft_validators(str(found["extraData"]))
