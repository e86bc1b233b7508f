"""A machine that left for good: nobody dials it, lets it in or asks it any more.

The first block goes on telling of it where it founded the chain: that block is the chain. So
``network.toml`` keeps it, as ``removed``, with its number and its keys, which nobody gets again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from node.chain.network.keeping import write_open
from node.chain.network.layout import refuse_another_first_block, write_derived
from node.chain.network.node_keys import Written
from node.chain.network.record import FILE, Network, Peer, load_network, network_text
from node.errors import Refused

__all__ = ["forget_node", "without"]


def without(network: Network, peer: Peer) -> Network:
    """A network whose peers do not know one of them any more. Raises Refused for the last node of
    its kind; whether a validator may go is for ``votes.refuse_while_it_seals``."""
    left = tuple(other for other in network.peers if other != peer)
    if not any(other.kind == peer.kind for other in left):
        raise Refused(
            f"{peer.name} is the last node of its kind",
            reason="last_one",
            next_step="make another one first",
        )
    return replace(network, peers=left, removed=(*network.removed, peer))


def forget_node(folder: Path, peer: Peer) -> list[Written]:
    """Take a node out of everybody's peers, units and the compose file; its own files stay.

    Raises ConfigurationError for a folder that cannot be used, Refused as ``without`` does.
    """
    network = load_network(folder)
    refuse_another_first_block(folder, network)
    network = without(network, peer)
    write_open(folder / FILE, network_text(network))
    return [Written(Path(FILE), "rewritten"), *write_derived(folder, network, rewrite=True)]
