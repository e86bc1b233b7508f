"""What ``daisee chain init`` writes: keys first, then everything that follows from them.

::

    genesis.json   network.toml   compose.yaml
    operator/      keystore.json  password
    validators/01/ keystore/key.json  password  nodekey  config.toml   (besu: static-nodes.json ...)
    rpc/01/        nodekey  config.toml
    systemd/       daisee-validator-01.service ...

Files that are there are never overwritten: keys because they cannot be made again, the others
because a person may have changed them. The first block is not even when asked to: every machine
compares its hash, so another one is another chain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.chain.network import besu, geth
from node.chain.network.checks import check_network, machine_address
from node.chain.network.genesis import founders_of, genesis_document
from node.chain.network.keeping import Draw, make_account, settle, write_open
from node.chain.network.node_keys import (
    Written,
    make_keys,
    operator_files,
    operator_key_here,
    peer_keys_here,
    secret_files,
)
from node.chain.network.record import FILE, Network, Peer, load_network, network_text
from node.chain.network.units import compose_text, unit_name, unit_text, unstick_texts
from node.errors import ConfigurationError

__all__ = [
    "COMMUNITY_FILE",
    "Plan",
    "Written",
    "derived_files",
    "init_network",
    "operator_files",
    "planned_files",
    "planned_paths",
    "refuse_another_first_block",
    "refuse_names",
    "write_derived",
]

COMMUNITY_FILE: Final = "community.toml"
FIRST_P2P_PORT: Final = 30_303
FIRST_RPC_PORT: Final = 8_545
RPC_OF_VALIDATORS: Final = FIRST_RPC_PORT + 100
LOOPBACK: Final = "127.0.0.1"
GENESIS: Final = Path("genesis.json")
MAX_VALIDATORS: Final = 21


@dataclass(frozen=True, slots=True)
class Plan:
    """What an operator decided. ``hosts`` are the addresses of the validators' machines, in order;
    none means this machine alone."""

    name: str
    engine: str
    chain_id: int
    validators: int = 4
    rpc_nodes: int = 2
    period_s: int = 5
    hosts: tuple[str, ...] = ()
    light_keys: bool = False

    def __post_init__(self) -> None:
        if self.engine not in ("geth", "besu"):
            raise ConfigurationError(f"the engine is {self.engine!r}; geth or besu")
        if not 1 <= self.validators <= MAX_VALIDATORS:
            raise ConfigurationError(f"{self.validators} validators; 1 to {MAX_VALIDATORS} can be")
        if not 1 <= self.rpc_nodes <= MAX_VALIDATORS:
            raise ConfigurationError(f"{self.rpc_nodes} nodes for members; at least 1 is needed")
        if self.hosts and len(self.hosts) != self.validators:
            raise ConfigurationError(
                f"{len(self.hosts)} hosts for {self.validators} validators",
                next_step="say --host once for each validator, or not at all",
            )
        for host in self.hosts:
            refuse_names(host)
        try:
            check_network(_sketch(self))
        except ValueError as error:
            raise ConfigurationError(f"this is no network: {error}") from error

    def host_of(self, index: int) -> str:
        """The machine of a node: nodes for members stand beside the validators, from the first."""
        return self.hosts[index % len(self.hosts)] if self.hosts else LOOPBACK


def init_network(
    folder: Path, plan: Plan, draw: Draw, *, rewrite: bool = False
) -> tuple[Network, list[Written]]:
    """Write what is missing. Running it again, or after a power cut, completes what is there; but
    where ``network.toml`` is, the network is founded, and no key is made any more.

    With ``rewrite``, what follows from ``network.toml`` is written anew: somebody changed that.
    Raises ConfigurationError when the folder holds another network than the one planned, or other
    keys, or another first block, than ``network.toml`` says.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = (folder / FILE).exists()
    if known:
        network = load_network(folder)
        _refuse_another(folder, network, plan)
        refuse_another_first_block(folder, network)
        written = operator_key_here(folder, network)
        for peer in network.peers:
            written += peer_keys_here(folder, network, peer)
    else:
        _refuse_unknown_first_block(folder)
        network, written = _with_keys(folder, plan, draw)
        settle(folder)
        write_open(folder / FILE, network_text(network))
        settle(folder)
    written.append(Written(Path(FILE), "there" if known else "made"))
    return network, written + write_derived(folder, network, rewrite=rewrite)


def write_derived(
    folder: Path, network: Network, *, rewrite: bool, only: Sequence[Path] = ()
) -> list[Written]:
    """Write what follows from a network, or only what is at or below some paths of it. What was
    changed is kept, unless it is to be written anew, and the first block even then."""
    written = []
    for path, text in derived_files(network).items():
        if only and not any(path.is_relative_to(place) for place in only):
            continue
        target = folder / path
        if not target.exists():
            write_open(target, text)
            written.append(Written(path, "made"))
            continue
        same = target.read_text(errors="replace") == text
        anew = rewrite and path != GENESIS
        if anew and not same:
            write_open(target, text)
        written.append(Written(path, "there" if same else "rewritten" if anew else "kept"))
    return written


def planned_paths(plan: Plan) -> dict[Path, bool]:
    """Every file that there will be, and whether it is secret."""
    return _paths_of(_sketch(plan))


def planned_files(folder: Path, plan: Plan) -> list[Written]:
    """What ``init_network`` would find: what ``--dry-run`` shows. Raises as that does when the
    folder holds another network."""
    known = load_network(folder) if (folder / FILE).exists() else None
    if known:
        _refuse_another(folder, known, plan)
    absent = {True: "elsewhere" if known else "missing", False: "missing"}
    return [
        Written(path, "there" if (folder / path).exists() else absent[secret], secret=secret)
        for path, secret in _paths_of(known or _sketch(plan)).items()
    ]


def _paths_of(network: Network) -> dict[Path, bool]:
    paths = {Path("operator/keystore.json"): True, Path("operator/password"): True}
    for peer in network.peers:
        paths |= dict.fromkeys(secret_files(peer, network.engine), True)
    paths[Path(FILE)] = False
    return paths | dict.fromkeys(derived_files(network), False)


def derived_files(network: Network) -> dict[Path, str]:
    """Every file that follows from the network alone, below its folder."""
    files = {
        GENESIS: json.dumps(genesis_document(network), indent=2) + "\n",
        Path("compose.yaml"): compose_text(network),
    }
    for peer in network.peers:
        files[Path("systemd", unit_name(peer))] = unit_text(network, peer)
        files |= {peer.folder / name: text for name, text in peer_files(network, peer).items()}
    if network.engine == "geth":
        files |= {Path("systemd", name): text for name, text in unstick_texts().items()}
    return files


def peer_files(network: Network, peer: Peer) -> Mapping[str, str]:
    """A node's own settings: whom it dials, and who may dial it."""
    if network.engine == "geth":
        return {"config.toml": geth.config_text(network, peer)}
    return {
        "static-nodes.json": besu.static_nodes_text(network, peer),
        "permissions.toml": besu.permissions_text(network),
    }


def refuse_another_first_block(folder: Path, network: Network) -> None:
    """Raise ConfigurationError when the first block of a folder names other founders than its
    ``network.toml``, or another chain."""
    path = folder / GENESIS
    if not path.exists():
        return
    try:
        document = json.loads(path.read_text())
        chain_id, founders = founders_of(document, network.engine)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ConfigurationError(
            f"this is no first block: {error!r}",
            file=path,
            next_step="copy it from another machine, or from the backup",
        ) from error
    if (chain_id, founders) != (network.chain_id, {peer.address for peer in network.founders}):
        raise ConfigurationError(
            f"the first block was made for other founders, or another chain, than {FILE} says",
            file=path,
            next_step=f"put {FILE} back as it was; a validator that was voted out stays in it, and"
            " 'daisee chain validator forget' takes it from everybody's peers",
        )


def _refuse_unknown_first_block(folder: Path) -> None:
    """A first block is written after ``network.toml``: without that, it came from elsewhere."""
    if (folder / GENESIS).exists():
        raise ConfigurationError(
            f"the first block is here, and {FILE} is not: this network was founded already",
            file=folder / GENESIS,
            next_step=f"copy {FILE} from another machine, or from the backup",
        )


def _with_keys(folder: Path, plan: Plan, draw: Draw) -> tuple[Network, list[Written]]:
    """Make what keys are missing, and the network that they are of."""
    files = operator_files(folder)
    written = [
        Written(path.relative_to(folder), "there" if path.exists() else "made", secret=True)
        for path in (files.keystore, files.password)
    ]
    operator = make_account(files, draw, light=plan.light_keys)
    peers = []
    for sketched in _sketch(plan).peers:
        peer, secrets = make_keys(folder, sketched, plan.engine, draw, light=plan.light_keys)
        peers.append(peer)
        written += secrets
    network = Network(plan.name, plan.engine, plan.chain_id, plan.period_s, operator, tuple(peers))
    return network, written


def _sketch(plan: Plan) -> Network:
    """The network with placeholders for what only keys can tell."""
    peers: list[Peer] = []
    for kind, count in (("validator", plan.validators), ("rpc", plan.rpc_nodes)):
        for number in range(1, count + 1):
            peers.append(_sketched(plan, kind, number, peers))
    nobody = "0x" + "00" * 20
    return Network(plan.name, plan.engine, plan.chain_id, plan.period_s, nobody, tuple(peers))


def _sketched(plan: Plan, kind: str, number: int, before: Sequence[Peer]) -> Peer:
    """A node on ports that no other of its machine has."""
    is_rpc = kind == "rpc"
    host = plan.host_of(number - 1)
    beside = [peer for peer in before if peer.host == host]
    rpc_port = 0
    if is_rpc or plan.engine == "besu":
        rpc_port = FIRST_RPC_PORT if is_rpc else RPC_OF_VALIDATORS
        rpc_port += sum(peer.kind == kind for peer in beside)
    address = "" if is_rpc else "0x" + "00" * 20
    p2p_port = FIRST_P2P_PORT + len(beside)
    return Peer(kind, number, address, "00" * 64, host, p2p_port, rpc_port)


def _refuse_another(folder: Path, network: Network, plan: Plan) -> None:
    agreed = (network.name, network.engine, network.chain_id, network.period_s)
    planned = (plan.name, plan.engine, plan.chain_id, plan.period_s)
    counts = (len(network.founders), sum(peer.kind == "rpc" for peer in network.everybody))
    if agreed != planned or counts != (plan.validators, plan.rpc_nodes):
        raise ConfigurationError(
            f"this folder holds {network.name}: {network.engine}, chain {network.chain_id}, a"
            f" block every {network.period_s} s, {counts[0]} validators and {counts[1]} nodes for"
            " members",
            file=folder / FILE,
            next_step="say the same again, or choose another folder for another chain",
        )


def refuse_names(host: str) -> None:
    """Raise ConfigurationError for what is no address."""
    try:
        machine_address(host)
    except ValueError:
        raise ConfigurationError(
            f"{host!r} is no address: peers are allowed by address, and a name may change",
            next_step="give the machine's address, best that of the WireGuard network",
        ) from None
