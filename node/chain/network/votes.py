"""Changing who validates: each validator votes, and more than half of them must vote alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from node.chain.json_rpc import block_query
from node.chain.network.asking import ask
from node.chain.network.genesis import qbft_validators
from node.chain.network.record import Network, quorum
from node.errors import Refused

__all__ = ["current_validators", "propose", "refuse_unsafe_removal", "votes_needed"]


async def current_validators(network: Network, endpoint: Path | str) -> list[str]:
    """Who validates now. Raises ChainUnreachable; Refused where only members' questions go."""
    if network.engine == "geth":
        return [str(address).lower() for address in await ask(endpoint, "clique_getSigners")]
    head = await ask(endpoint, *block_query())
    return qbft_validators(str(head["extraData"]))


async def propose(network: Network, endpoint: Path | str, address: str, *, add: bool) -> None:
    """Have one validator vote. Raises ChainUnreachable or Refused."""
    method = "clique_propose" if network.engine == "geth" else "qbft_proposeValidatorVote"
    await ask(endpoint, method, address, add)


def votes_needed(validators: int) -> int:
    """More than half of those who validate now."""
    return validators // 2 + 1


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
