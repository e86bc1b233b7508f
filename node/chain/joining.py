"""What a household's machine checks before it makes a key, and what it hears after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from node.chain.bootstrap import ACCESS, REGISTRY, Role
from node.chain.community import Community, verify_community
from node.chain.http import FOR_MEMBERS, http_rpc
from node.chain.invites import CLOCK_SLACK_S
from node.chain.join_requests import JoinRequest
from node.chain.json_rpc import block_query, field_of, number, table_of
from node.chain.release import verify_release
from node.chain.rpc import NO_ANSWER, Rpc
from node.clock import Clock
from node.errors import ChainUnreachable, Refused
from node.units import duration_text

__all__ = ["BLOCK_WITHIN_S", "Found", "check_invited", "community_rpc", "number_of", "verify_clock"]

BLOCK_WITHIN_S: Final = 60
"""How long is waited for a block of a chain that seems to stand still."""

_LOOK_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Found:
    """What the chain says at the moment of joining: how many households have a number."""

    households: int


@asynccontextmanager
async def community_rpc(community: Community, place: str | None = None) -> AsyncIterator[Rpc]:
    """A checked connection to a community's chain: by the URL that is given, or the file that holds
    it, else by the first of its own that answers.

    Raises ChainMismatch when an endpoint serves another chain or other contracts, which is not
    passed over in silence, ChainUnreachable when none answers, and ConfigurationError.
    """
    places: Sequence[str] = (place,) if place else community.rpc_urls
    async with AsyncExitStack() as until_end:
        silent: list[str] = []
        next_step = "check the network, or the VPN that leads to the community's machines"
        for candidate in places:
            try:
                rpc = await until_end.enter_async_context(http_rpc(candidate))
            except ChainUnreachable as error:
                if error.next_step == FOR_MEMBERS:
                    silent.append(f"{candidate} (which wants a member's token)")
                    next_step = FOR_MEMBERS
                else:
                    silent.append(candidate)
                continue
            await verify_community(rpc, community)
            yield rpc
            return
        raise ChainUnreachable(
            f"no endpoint of {community.name} answers: {', '.join(silent)}",
            next_step=next_step,
        )


async def check_invited(rpc: Rpc, community: Community, clock: Clock) -> Found:
    """Check what an invite cannot prove by itself: that its contracts are this release's, that its
    signer holds the operator's role on them, and that this machine and the chain agree on the time.

    Raises ChainMismatch, Refused (``not_operator``, ``clock_off``) or ChainUnreachable.
    """
    await verify_release(rpc, community.contracts)
    await verify_clock(rpc, clock)
    access = community.contracts["AccessManager"]
    is_operator, _ = await rpc.call(
        access, ACCESS, "hasRole", int(Role.OPERATOR), community.operator
    )
    if not is_operator:
        raise Refused(
            f"{community.operator}, who signed, is no operator of these contracts",
            reason="not_operator",
            next_step="ask the operator for a new invite, and say that this one was refused",
        )
    registry = community.contracts["HouseholdRegistry"]
    return Found(int(await rpc.call(registry, REGISTRY, "households")))


async def verify_clock(rpc: Rpc, clock: Clock, *, within_s: int = BLOCK_WITHIN_S) -> None:
    """Check that this machine's clock is the chain's, within CLOCK_SLACK_S.

    An old block may only mean that the chain stood still: a new one decides. Raises Refused
    (``clock_off``), or ChainUnreachable when no new block comes.
    """
    first, made_at_s = await _head(rpc)
    behind_s = made_at_s - clock.now_s()
    if behind_s > CLOCK_SLACK_S:
        raise _clock_off(behind_s, "behind")
    if -behind_s <= CLOCK_SLACK_S:
        return
    for _ in range(int(within_s / _LOOK_EVERY_S)):
        await asyncio.sleep(_LOOK_EVERY_S)
        head, made_at_s = await _head(rpc)
        if head > first:
            ahead_s = clock.now_s() - made_at_s
            if ahead_s > CLOCK_SLACK_S:
                raise _clock_off(ahead_s, "ahead of")
            return
    raise ChainUnreachable(
        f"the chain's last block is {duration_text(clock.now_s() - made_at_s)} old, and no new one"
        f" came within {within_s} s",
        next_step="ask the operator whether the chain stands still; if not, check the clock:"
        " 'timedatectl' shows it",
    )


async def number_of(rpc: Rpc, community: Community, request: JoinRequest) -> int:
    """The number under which a request's owner was admitted; 0 if it was not yet."""
    registry = community.contracts["HouseholdRegistry"]
    given = int(await rpc.call(registry, REGISTRY, "households"))
    for household in request.numbers:
        if household > given:
            break
        owner = await rpc.call(registry, REGISTRY, "ownerOf", household)
        if owner.lower() == request.owner.lower():
            return household
    return 0


async def _head(rpc: Rpc) -> tuple[int, int]:
    try:
        block = table_of(await rpc.ask(*block_query()))
        return number(field_of(block, "number")), number(field_of(block, "timestamp"))
    except NO_ANSWER as error:
        raise ChainUnreachable(f"no last block from the chain: {error}") from error


def _clock_off(seconds: int, where: str) -> Refused:
    return Refused(
        f"this machine's clock is {duration_text(seconds)} {where} the chain's",
        reason="clock_off",
        next_step="set it: 'timedatectl set-ntp true', and look at 'timedatectl'; then try again",
    )
