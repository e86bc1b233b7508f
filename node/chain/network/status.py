"""How a network is: its height, who seals, how much may still fail; and what is wrong, by name.

Each alarm has a page of its runbook in docs/operators.md, under its own name.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from node.chain.json_rpc import block_query, number
from node.chain.network.asking import ask
from node.chain.network.genesis import qbft_validators, sealer_of
from node.chain.network.reach import Reach
from node.chain.network.record import GAS_PRICE_WEI, Network, Peer, quorum
from node.clock import Clock
from node.errors import ChainUnreachable, Refused

__all__ = [
    "ALARMS",
    "Alarm",
    "NetworkStatus",
    "NodeStatus",
    "ValidatorStatus",
    "margin_words",
    "network_status",
]

ROUNDS_BACK: Final = 4
"""Rounds of all validators that are looked at for who sealed."""

STOPPED_AFTER_S: Final = 15
STOPPED_AFTER_PERIODS: Final = 6
AHEAD_S: Final = 15
LEAST_FREE_BYTES: Final = 2 * 10**9
BEHIND_BLOCKS: Final = 10

ALARMS: Final[Mapping[str, str]] = {
    "chain-stopped": "the chain makes no blocks",
    "no-margin": "one more failure stops the chain",
    "validator-silent": "a validator seals nothing",
    "node-away": "a node does not answer",
    "node-behind": "a node is behind the others",
    "few-peers": "a node has too few peers",
    "disk-low": "a disk is nearly full",
    "base-fee-high": "transactions are about to cost more than they bid",
    "clock-off": "the chain's time and this machine's differ",
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something is wrong: which alarm, of what, and in words."""

    name: str
    of: str
    message: str


@dataclass(frozen=True, slots=True)
class ValidatorStatus:
    """One that seals. ``last_block`` is None when none of the blocks looked at is its own."""

    name: str
    address: str
    last_block: int | None
    seals: bool


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One process. ``height`` is None when it does not answer, or cannot be asked from here; the
    disk is None when it is another machine's."""

    name: str
    asked: bool
    height: int | None
    peers: int | None
    used_bytes: int | None
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """The whole picture."""

    height: int
    head_hash: str
    head_s: int
    head_age_s: int
    base_fee_wei: int
    stopped: bool
    validators: tuple[ValidatorStatus, ...]
    nodes: tuple[NodeStatus, ...]
    needed: int
    margin: int
    margin_words: str
    alarms: tuple[Alarm, ...]

    @property
    def sealing(self) -> int:
        """Validators at work."""
        return sum(validator.seals for validator in self.validators)


async def network_status(
    network: Network, reach: Reach, folder: Path, clock: Clock
) -> NetworkStatus:
    """Ask every node that can be asked. Raises ChainUnreachable when none answers."""
    endpoints = reach.all()
    nodes = await asyncio.gather(
        *(_node(peer, endpoints.get(peer.name), folder) for peer in network.peers)
    )
    heights = {node.name: node.height for node in nodes if node.height is not None}
    if not heights:
        raise ChainUnreachable(
            f"no node of {network.name} answers",
            next_step="start them: 'systemctl start daisee-validator-NN', or 'daisee chain up'",
        )
    best = max(heights, key=lambda name: heights[name] or 0)
    blocks = await _blocks(endpoints[best], ROUNDS_BACK * len(network.validators))
    head = blocks[0]
    age_s = clock.now_s() - number(head["timestamp"])
    stopped = age_s > max(STOPPED_AFTER_S, STOPPED_AFTER_PERIODS * network.period_s)
    names = await _validators(network, endpoints[best], head)
    validators = _sealers(network, names, blocks, stopped=stopped)
    needed = quorum(network.engine, len(validators))
    margin = sum(validator.seals for validator in validators) - needed
    base_fee_wei = number(head.get("baseFeePerGas") or 0)
    status = NetworkStatus(
        height=number(head["number"]),
        head_hash=str(head["hash"]),
        head_s=number(head["timestamp"]),
        head_age_s=age_s,
        base_fee_wei=base_fee_wei,
        stopped=stopped,
        validators=validators,
        nodes=tuple(nodes),
        needed=needed,
        margin=margin,
        margin_words=margin_words(len(validators), needed, margin, stopped=stopped),
        alarms=(),
    )
    return _with_alarms(network, status)


def margin_words(total: int, needed: int, margin: int, *, stopped: bool) -> str:
    """How much may still fail, as a person says it."""
    if stopped:
        return (
            f"the chain makes no blocks: {needed} of {total} validators must work together;"
            " bring them back, then run 'daisee chain recover'"
        )
    if margin <= 0:
        return "one more failure stops the chain"
    words = {1: "two", 2: "three", 3: "four"}
    return f"{words.get(margin, margin + 1)} more failures stop the chain"


def _sealers(
    network: Network, names: Sequence[str], blocks: Sequence[Mapping[str, Any]], *, stopped: bool
) -> tuple[ValidatorStatus, ...]:
    known = {peer.address: peer.name for peer in network.validators}
    last: dict[str, int] = {}
    for block in blocks:
        sealer = sealer_of(block, network.engine)
        if sealer is not None:
            last.setdefault(sealer, number(block["number"]))
    head = number(blocks[0]["number"])
    young = head < 2 * len(names)
    return tuple(
        ValidatorStatus(
            name=known.get(address, "unknown"),
            address=address,
            last_block=last.get(address),
            seals=not stopped
            and (young or head - last.get(address, -head) < (ROUNDS_BACK - 1) * len(names)),
        )
        for address in names
    )


async def _node(peer: Peer, endpoint: Path | str | None, folder: Path) -> NodeStatus:
    used, free = await asyncio.to_thread(_disk, folder / peer.folder / "data")
    height = peers = None
    if endpoint is not None:
        try:
            height = number(await ask(endpoint, "eth_blockNumber"))
            peers = number(await ask(endpoint, "net_peerCount"))
        except (ChainUnreachable, Refused, ValueError):
            height = None
    return NodeStatus(peer.name, endpoint is not None, height, peers, used, free)


async def _blocks(endpoint: Path | str, count: int) -> list[Mapping[str, Any]]:
    """The newest blocks, newest first."""
    head = await ask(endpoint, *block_query())
    blocks = [head]
    for height in range(number(head["number"]) - 1, max(number(head["number"]) - count, 0), -1):
        block = await ask(endpoint, *block_query(height))
        if block is None:
            break
        blocks.append(block)
    return blocks


async def _validators(network: Network, endpoint: Path | str, head: Mapping[str, Any]) -> list[str]:
    """Who may seal now; of Clique a socket tells it, otherwise those who founded the chain."""
    if network.engine == "besu":
        return qbft_validators(str(head["extraData"]))
    try:
        return [str(address).lower() for address in await ask(endpoint, "clique_getSigners")]
    except (ChainUnreachable, Refused):
        return [peer.address for peer in network.validators]


def _with_alarms(network: Network, status: NetworkStatus) -> NetworkStatus:
    alarms: list[Alarm] = []

    def raise_alarm(name: str, of: str, message: str) -> None:
        alarms.append(Alarm(name, of, message))

    if status.stopped:
        raise_alarm("chain-stopped", "chain", f"the last block is {status.head_age_s} s old")
    elif status.margin <= 0 and len(status.validators) > 1:
        raise_alarm("no-margin", "chain", status.margin_words)
    for validator in status.validators:
        if not validator.seals and not status.stopped:
            seen = "none lately" if validator.last_block is None else f"{validator.last_block}"
            raise_alarm("validator-silent", validator.name, f"its last block is {seen}")
    for node in status.nodes:
        _node_alarms(network, status, node, alarms)
    if status.base_fee_wei > GAS_PRICE_WEI // 2:
        raise_alarm("base-fee-high", "chain", f"the base fee is {status.base_fee_wei} wei")
    if status.head_age_s < -AHEAD_S:
        raise_alarm("clock-off", "chain", f"the last block is {-status.head_age_s} s ahead")
    return replace(status, alarms=tuple(alarms))


def _node_alarms(
    network: Network, status: NetworkStatus, node: NodeStatus, alarms: list[Alarm]
) -> None:
    if node.asked and node.height is None:
        alarms.append(Alarm("node-away", node.name, "it does not answer"))
    if node.height is not None and status.height - node.height > BEHIND_BLOCKS:
        behind = status.height - node.height
        alarms.append(Alarm("node-behind", node.name, f"it is {behind} blocks behind"))
    least = min(network.needed, len(network.peers) - 1)
    if node.peers is not None and node.peers < least:
        alarms.append(Alarm("few-peers", node.name, f"it has {node.peers}, and {least} are needed"))
    if node.free_bytes is not None and node.free_bytes < LEAST_FREE_BYTES:
        alarms.append(
            Alarm("disk-low", node.name, f"{node.free_bytes // 10**6} MB of its disk are free")
        )


def _disk(data: Path) -> tuple[int | None, int | None]:
    """What a node's data take, and what its disk has left; None where it is not here."""
    if not data.exists():
        return None, None
    used = 0
    for folder, _, files in os.walk(data):
        for name in files:
            try:
                used += (Path(folder) / name).stat().st_blocks * 512
            except OSError:
                continue  # a database drops files while it is looked at
    return used, shutil.disk_usage(data).free
