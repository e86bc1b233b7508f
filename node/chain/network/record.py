"""What a network is: its engine, its machines, and who validates. ``network.toml`` holds it.

Nothing here is secret: keys lie beside it, a folder for each validator, for whoever runs that one.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from node.chain.network.checks import (
    MAX_NUMBER,
    MAX_SEALERS,
    check_network,
    checked_peer,
)
from node.errors import ConfigurationError

__all__ = [
    "CLIQUE_FINAL_AFTER_BLOCKS",
    "GAS_PRICE_WEI",
    "MAX_NUMBER",
    "MAX_SEALERS",
    "Network",
    "Peer",
    "load_network",
    "load_peer",
    "network_text",
    "peer_text",
    "quorum",
]

FILE: Final = "network.toml"
MAX_FILE_BYTES: Final = 2**18

GAS_PRICE_WEI: Final = 10**9
"""What a transaction bids. The base fee starts at 0 and rises only while blocks are more than half
full, by an eighth a block: this is reached after minutes of full blocks. Gas has no worth here; the
operator gives it to relayers and households when it admits them."""

CLIQUE_FINAL_AFTER_BLOCKS: Final = 2 * (MAX_SEALERS // 2 + 1)
"""Any floor(n/2)+1 consecutive blocks are by different sealers, hence by a majority, and a minority
that is cut off stops after floor(n/2) blocks. Twice that majority, of the most that may seal."""

_HEADING: Final = """\
# The machines of a community's chain, as 'daisee chain init' made them. Nothing here is secret.
# A machine that moves gets its new host here; then 'daisee chain init --rewrite' tells the others.
"""
_PEER_HEADING: Final = """\
# A validator that wants to join, as its machine describes it. Nothing here is secret.
# The operator takes it in with 'daisee chain validator introduce'.
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """One node of the network. A validator has an address that it seals with; a node for others to
    ask (kind ``rpc``) has none, and seals nothing. One that ``joined`` is not of those who founded
    the chain: the first block does not name it, and whether it seals was voted on."""

    kind: str
    number: int
    address: str
    enode_id: str
    host: str
    p2p_port: int
    rpc_port: int
    joined: bool = False

    @property
    def name(self) -> str:
        """``validator-01``: how units, folders and messages call it."""
        return f"{self.kind}-{self.number:02d}"

    @property
    def folder(self) -> Path:
        """Where its files are, below the network's folder."""
        return Path("validators" if self.kind == "validator" else "rpc", f"{self.number:02d}")

    @property
    def enode(self) -> str:
        """How its peers dial it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"enode://{self.enode_id}@{host}:{self.p2p_port}"


@dataclass(frozen=True, slots=True)
class Network:
    """A chain before anything runs. ``period_s`` is the time between two blocks; ``operator`` is
    the account that the genesis block gives gas to; ``removed`` are machines that nobody knows as
    a peer any more, of whom the first block may tell all the same."""

    name: str
    engine: str
    chain_id: int
    period_s: int
    operator: str
    peers: tuple[Peer, ...]
    removed: tuple[Peer, ...] = ()

    @property
    def everybody(self) -> tuple[Peer, ...]:
        """Who is a peer, and who was one."""
        return (*self.peers, *self.removed)

    @property
    def validators(self) -> tuple[Peer, ...]:
        """Those that seal blocks."""
        return tuple(peer for peer in self.peers if peer.kind == "validator")

    @property
    def founders(self) -> tuple[Peer, ...]:
        """The validators that the first block names, in the order of their numbers."""
        named = (one for one in self.everybody if one.kind == "validator" and not one.joined)
        return tuple(sorted(named, key=lambda one: one.number))

    @property
    def rpc_nodes(self) -> tuple[Peer, ...]:
        """Those that answer members."""
        return tuple(peer for peer in self.peers if peer.kind == "rpc")

    @property
    def needed(self) -> int:
        """Validators without which no block is made."""
        return quorum(self.engine, len(self.validators))

    @property
    def finality_depth(self) -> int:
        """Blocks on top of one that make it final; 0 where a block is final at once.

        The same for every Clique network, however many validators it has today: members' settings
        hold it, and nobody tells them when validators are voted in.
        """
        return 0 if self.engine == "besu" else CLIQUE_FINAL_AFTER_BLOCKS

    def peer(self, name: int | str) -> Peer:
        """A node by its name, a validator also by its number. Raises ConfigurationError."""
        for peer in self.peers:
            if name in (peer.name, peer.number if peer.kind == "validator" else None):
                return peer
        known = ", ".join(peer.name for peer in self.peers)
        raise ConfigurationError(f"the network has no node {name!r}; it has {known}")

    def on_loopback(self, ports: Sequence[int]) -> Network:
        """The same network on this machine alone, with these ports: two for each node."""
        assert len(ports) >= 2 * len(self.peers), ports
        moved = tuple(
            replace(
                peer,
                host="127.0.0.1",
                p2p_port=ports[2 * index],
                rpc_port=ports[2 * index + 1] if peer.rpc_port else 0,
            )
            for index, peer in enumerate(self.peers)
        )
        return replace(self, peers=moved)


def quorum(engine: str, validators: int) -> int:
    """How many validators must work: Clique a majority, QBFT two thirds, rounded up."""
    return validators // 2 + 1 if engine == "geth" else -(-2 * validators // 3)


def load_network(folder: Path) -> Network:
    """The network of a folder. Raises ConfigurationError when there is none that can be used."""
    path = folder / FILE
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES)
        document = tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigurationError(
            f"there is no network here ({error.strerror})",
            file=path,
            next_step=f"daisee chain init --out {folder}",
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"this is no network: {error}", file=path) from error
    try:
        return _network_of(document)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"this is no network: {error}", file=path) from error


def network_text(network: Network) -> str:
    """What ``network.toml`` says."""
    lines = [
        f"{field.name} = {json.dumps(getattr(network, field.name), ensure_ascii=False)}"
        for field in fields(network)
        if field.name not in ("peers", "removed")
    ]
    for peer in network.peers:
        lines += ["", "[[peers]]", *_lines_of(peer)]
    for peer in network.removed:
        lines += ["", "[[peers]]", *_lines_of(peer), "removed = true"]
    return _HEADING + "\n".join(lines) + "\n"


def peer_text(peer: Peer) -> str:
    """How a machine describes itself to the others."""
    return _PEER_HEADING + "\n".join(_lines_of(peer)) + "\n"


def load_peer(path: Path) -> Peer:
    """A validator as its machine described it. Raises ConfigurationError when that is none."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES)
        peer = Peer(**checked_peer(tomllib.loads(content.decode())))
    except OSError as error:
        raise ConfigurationError(f"it cannot be read ({error.strerror})", file=path) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigurationError(f"this describes no validator: {error}", file=path) from error
    if peer.kind != "validator":
        raise ConfigurationError(f"this describes {peer.name}, which is no validator", file=path)
    return peer


def _lines_of(peer: Peer) -> list[str]:
    return [
        f"{key} = {json.dumps(value)}"
        for key, value in asdict(peer).items()
        if key != "joined" or peer.joined
    ]


def _network_of(document: Mapping[str, Any]) -> Network:
    listed = document["peers"]
    if not isinstance(listed, list):
        raise TypeError(f"peers is {listed!r}; a list is needed")
    values = {key: value for key, value in document.items() if key != "peers"}
    peers: dict[bool, list[Peer]] = {False: [], True: []}
    for entry in listed:
        checked = checked_peer(entry)
        peers[checked.pop("removed", False)].append(Peer(**checked))
    network = Network(peers=tuple(peers[False]), removed=tuple(peers[True]), **values)
    check_network(network)
    return network
