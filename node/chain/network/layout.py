"""What ``daisee chain init`` writes: keys first, then everything that follows from them.

::

    genesis.json   network.toml   compose.yaml
    operator/      keystore.json  password
    validators/01/ keystore/key.json  password  nodekey  config.toml   (besu: static-nodes.json ...)
    rpc/01/        nodekey  config.toml
    systemd/       daisee-validator-01.service ...

Files that are there are never overwritten: keys because they cannot be made again, the others
because a person may have changed them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from node.chain.keys import Key
from node.chain.network import besu, geth
from node.chain.network.genesis import genesis_document
from node.chain.network.keeping import (
    Draw,
    KeyFiles,
    enode_id_of,
    make_account,
    make_node_key,
    write_secret,
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
    "make_keys",
    "operator_files",
    "planned_paths",
    "refuse_names",
    "write_derived",
    "write_open",
]

COMMUNITY_FILE: Final = "community.toml"
FIRST_P2P_PORT: Final = 30_303
FIRST_RPC_PORT: Final = 8_545
LOOPBACK: Final = "127.0.0.1"
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

    def host_of(self, index: int) -> str:
        """The machine of a node: nodes for members stand beside the validators, from the first."""
        return self.hosts[index % len(self.hosts)] if self.hosts else LOOPBACK


@dataclass(frozen=True, slots=True)
class Written:
    """One file of the layout, below its folder: ``made``, ``there`` (as it should be), ``kept``
    (somebody changed it) or ``rewritten``."""

    path: Path
    state: str
    secret: bool = False


def init_network(
    folder: Path, plan: Plan, draw: Draw, *, rewrite: bool = False
) -> tuple[Network, list[Written]]:
    """Write what is missing. Running it again, or after a power cut, completes what is there.

    With ``rewrite``, what follows from ``network.toml`` is written anew: somebody changed that.
    Raises ConfigurationError when the folder holds another network than the one planned.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    secret_paths = [path for path, secret in planned_paths(plan).items() if secret]
    before = {path for path in secret_paths if (folder / path).exists()}
    known = (folder / FILE).exists()
    if known:
        network = load_network(folder)
        _refuse_another(folder, network, plan)
        _keys_of(folder, plan, draw)
    else:
        network = _keys_of(folder, plan, draw)
        write_open(folder / FILE, network_text(network))
    written = [
        Written(path, "there" if path in before else "made", secret=True) for path in secret_paths
    ]
    written.append(Written(Path(FILE), "there" if known else "made"))
    return network, written + write_derived(folder, network, rewrite=rewrite)


def write_derived(
    folder: Path, network: Network, *, rewrite: bool, only: Sequence[Path] = ()
) -> list[Written]:
    """Write what follows from a network, or only what is at or below some paths of it. What was
    changed is kept, unless it is to be written anew."""
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
        if rewrite and not same:
            write_open(target, text)
        written.append(Written(path, "there" if same else "rewritten" if rewrite else "kept"))
    return written


def operator_files(folder: Path) -> KeyFiles:
    """The operator's account."""
    return KeyFiles(folder / "operator" / "keystore.json", folder / "operator" / "password")


def planned_paths(plan: Plan) -> dict[Path, bool]:
    """Every file that there will be, and whether it is secret: what ``--dry-run`` shows."""
    paths = {Path("operator/keystore.json"): True, Path("operator/password"): True}
    sketch = _sketch(plan)
    for peer in sketch.peers:
        paths[peer.folder / "nodekey"] = True
        if _has_account(peer, plan.engine):
            paths[peer.folder / "keystore" / "key.json"] = True
            paths[peer.folder / "password"] = True
    paths[Path(FILE)] = False
    return paths | dict.fromkeys(derived_files(sketch), False)


def derived_files(network: Network) -> dict[Path, str]:
    """Every file that follows from the network alone, below its folder."""
    files = {
        Path("genesis.json"): json.dumps(genesis_document(network), indent=2) + "\n",
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


def make_keys(
    folder: Path, sketched: Peer, engine: str, draw: Draw, *, light: bool
) -> tuple[Peer, list[Written]]:
    """Make what keys of a node are missing; the node with its public names, and its secret files.
    Raises ConfigurationError for keys that are there and cannot be used."""
    below = [sketched.folder / "nodekey"]
    if _has_account(sketched, engine):
        below += [sketched.folder / "keystore" / "key.json", sketched.folder / "password"]
    before = {path for path in below if (folder / path).exists()}
    files = folder / sketched.folder
    node_key = make_node_key(files / "nodekey", draw)
    address = ""
    if _has_account(sketched, engine):
        account = KeyFiles(files / "keystore" / "key.json", files / "password")
        address = make_account(account, draw, light=light)
    elif sketched.kind == "validator":
        # Besu seals with the key by which its peers know it.
        address = Key(node_key).address.lower()
    written = [Written(path, "there" if path in before else "made", secret=True) for path in below]
    return replace(sketched, address=address, enode_id=enode_id_of(node_key)), written


def _keys_of(folder: Path, plan: Plan, draw: Draw) -> Network:
    """Make what keys are missing, and the network that they are of."""
    operator = make_account(operator_files(folder), draw, light=plan.light_keys)
    peers = tuple(
        make_keys(folder, sketched, plan.engine, draw, light=plan.light_keys)[0]
        for sketched in _sketch(plan).peers
    )
    return Network(plan.name, plan.engine, plan.chain_id, plan.period_s, operator, peers)


def _sketch(plan: Plan) -> Network:
    """The network with placeholders for what only keys can tell."""
    kinds: Sequence[tuple[str, int]] = (("validator", plan.validators), ("rpc", plan.rpc_nodes))
    peers = tuple(
        _peer_of(plan, kind, number, "0x" + "00" * 20 if kind == "validator" else "", "00" * 64)
        for kind, count in kinds
        for number in range(1, count + 1)
    )
    return Network(plan.name, plan.engine, plan.chain_id, plan.period_s, "0x" + "00" * 20, peers)


def _peer_of(plan: Plan, kind: str, number: int, address: str, enode_id: str) -> Peer:
    is_rpc = kind == "rpc"
    host = plan.host_of(number - 1)
    alone = not plan.hosts  # all on one machine: each needs ports of its own
    offset = number - 1 if alone else 0
    p2p = FIRST_P2P_PORT + offset + ((plan.validators if alone else 1) if is_rpc else 0)
    rpc = FIRST_RPC_PORT + offset + (0 if is_rpc else 100)
    has_rpc = is_rpc or plan.engine == "besu"
    return Peer(kind, number, address, enode_id, host, p2p, rpc if has_rpc else 0)


def _has_account(peer: Peer, engine: str) -> bool:
    return peer.kind == "validator" and engine == "geth"


def _refuse_another(folder: Path, network: Network, plan: Plan) -> None:
    agreed = (network.name, network.engine, network.chain_id, network.period_s)
    planned = (plan.name, plan.engine, plan.chain_id, plan.period_s)
    counts = (len(network.founders), len(network.rpc_nodes))
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
        ip_address(host)
    except ValueError:
        raise ConfigurationError(
            f"{host!r} is no address: peers are allowed by address, and a name may change",
            next_step="give the machine's address, best that of the WireGuard network",
        ) from None


def write_open(path: Path, text: str) -> None:
    """Write a file that everybody may read, whole or not at all."""
    write_secret(path, text)
    path.chmod(0o644)
