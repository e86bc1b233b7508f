"""A validator that joins a network which runs already: its keys, and how the others learn of it.

Its keys are made on its own machine and never leave that. What the others need to know of it is one
entry of ``network.toml``, in which nothing is secret; the first block stays what it was. Whether it
may seal is a vote of those who validate already.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from node.chain.network.checks import check_network
from node.chain.network.keeping import Draw, settle, write_open
from node.chain.network.layout import (
    FIRST_P2P_PORT,
    RPC_OF_VALIDATORS,
    refuse_another_first_block,
    refuse_names,
    write_derived,
)
from node.chain.network.node_keys import Written, make_keys, peer_keys_here
from node.chain.network.record import (
    FILE,
    MAX_NUMBER,
    Network,
    Peer,
    load_network,
    load_peer,
    network_text,
    peer_text,
)
from node.chain.network.units import unit_name
from node.errors import ConfigurationError

__all__ = ["PEER_FILE", "introduce_validator", "make_validator"]

PEER_FILE: Final = "peer.toml"


def make_validator(
    folder: Path, number: int, host: str, draw: Draw, *, light: bool = False
) -> tuple[Peer, list[Written]]:
    """Make a further validator's keys and settings in a folder with the network's ``network.toml``.

    Again completes what is missing and changes nothing. Raises ConfigurationError for a number that
    the founding has used, and where the network knows another one by it.
    """
    network = load_network(folder)
    if not 1 <= number <= MAX_NUMBER:
        raise ConfigurationError(f"number {number}; 1 to {MAX_NUMBER} can be")
    refuse_names(host)
    refuse_another_first_block(folder, network)
    known = _known(network, number)
    if known is None:
        sketch = _sketch(network, number, host)
        _with(folder, network, sketch)
        peer, written = make_keys(folder, sketch, network.engine, draw, light=light)
    else:
        peer = _moved(network, known, host)
        written = peer_keys_here(folder, network, known)
        if any(file.state == "elsewhere" for file in written):
            raise ConfigurationError(
                f"the network knows another {known.name}, by the keys of another machine",
                file=folder / FILE,
                next_step="take another number, or restore that one's folder from its backup",
            )
    network = _with(folder, network, peer)
    settle(folder)
    own = peer.folder / PEER_FILE
    written += [
        _written(folder, Path(FILE), network_text(network)),
        _written(folder, own, peer_text(peer)),
    ]
    written += write_derived(folder, network, rewrite=True, only=_own_files(peer))
    return peer, written


def introduce_validator(folder: Path, file: Path) -> tuple[Peer, list[Written]]:
    """Take a further validator, as its machine described it, into the network of a folder: into
    everybody's peers, units and the compose file. Again changes nothing.

    Raises ConfigurationError when the file is none, or contradicts what the network knows.
    """
    network, peer = load_network(folder), replace(load_peer(file), joined=True)
    refuse_another_first_block(folder, network)
    for other in network.everybody:
        alike = [
            other.name == peer.name,
            other.address == peer.address,
            other.enode_id == peer.enode_id,
        ]
        if any(alike) and not all(alike):
            raise ConfigurationError(
                f"{other.name} of {network.name} has the same name or key, and is another machine",
                file=file,
            )
    _known(network, peer.number)
    network = _with(folder, network, peer)
    written = [_written(folder, Path(FILE), network_text(network))]
    return peer, written + write_derived(folder, network, rewrite=True)


def _known(network: Network, number: int) -> Peer | None:
    """The validator that joined by a number. Raises ConfigurationError when another has it."""
    for peer in network.everybody:
        if peer.kind == "validator" and peer.number == number:
            if peer.joined and peer in network.peers:
                return peer
            what = "was removed from" if peer in network.removed else "is one of those who founded"
            highest = max(one.number for one in network.everybody if one.kind == "validator")
            raise ConfigurationError(
                f"{peer.name} {what} {network.name}",
                next_step=f"take another number, as {highest + 1}",
            )
    return None


def _with(folder: Path, network: Network, peer: Peer) -> Network:
    """The validators first, each in the order of its number. Raises ConfigurationError for a
    machine that cannot be among them."""
    others = [other for other in network.validators if other.number != peer.number]
    validators = sorted([*others, peer], key=lambda one: one.number)
    known = replace(network, peers=(*validators, *network.rpc_nodes))
    try:
        check_network(known)
    except ValueError as error:
        raise ConfigurationError(f"{peer.name} cannot join: {error}", file=folder / FILE) from error
    return known


def _sketch(network: Network, number: int, host: str) -> Peer:
    """A peer without keys, on ports that no other of its machine has."""
    beside = [peer for peer in network.peers if peer.host == host]
    p2p_port = max([FIRST_P2P_PORT - 1, *(peer.p2p_port for peer in beside)]) + 1
    rpc_port = 0
    if network.engine == "besu":
        rpc_port = max([RPC_OF_VALIDATORS - 1, *(peer.rpc_port for peer in beside)]) + 1
    nobody = ("0x" + "00" * 20, "00" * 64)
    return Peer("validator", number, *nobody, host, p2p_port, rpc_port, joined=True)


def _moved(network: Network, known: Peer, host: str) -> Peer:
    """A known validator at an address: on another machine its ports may be taken."""
    if host == known.host:
        return known
    there = _sketch(network, known.number, host)
    return replace(known, host=host, p2p_port=there.p2p_port, rpc_port=there.rpc_port)


def _written(folder: Path, path: Path, text: str) -> Written:
    """Write a file that follows from what was just learnt."""
    target = folder / path
    before = target.read_text(errors="replace") if target.exists() else None
    if before != text:
        write_open(target, text)
    return Written(path, "made" if before is None else "there" if before == text else "rewritten")


def _own_files(peer: Peer) -> tuple[Path, ...]:
    """What a machine needs of the files that follow from the network."""
    return (peer.folder, Path("systemd", unit_name(peer)))
