"""How Besu is run with QBFT. Pure, but for finding it.

Besu holds no account at all, only its own key, so there is nothing to unlock. Votes go over the
validator's own server, which listens on loopback: every user of that machine can reach it.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Final

from node.chain.network.genesis import GAS_LIMIT
from node.chain.network.record import Network, Peer
from node.errors import ConfigurationError

__all__ = ["HOME_VARIABLE", "find_besu", "permissions_text", "run_command", "static_nodes_text"]

HOME_VARIABLE: Final = "BESU_HOME"

MEMBERS_API: Final = "ETH,NET,WEB3"
OWN_API: Final = "ETH,NET,WEB3,QBFT"


def find_besu() -> Path:
    """Besu: below $BESU_HOME, or on the PATH. Raises ConfigurationError if there is none."""
    home = os.environ.get(HOME_VARIABLE)
    if home:
        program = Path(home, "bin", "besu")
        if program.is_file():
            return program
        raise ConfigurationError(f"{HOME_VARIABLE} is {home}, and there is no {program}")
    on_path = shutil.which("besu")
    if on_path:
        return Path(on_path)
    raise ConfigurationError(
        "there is no Besu on this machine",
        next_step=f"unpack a release of Besu and set {HOME_VARIABLE} to its folder",
    )


def run_command(
    besu: Path | str, network: Network, peer: Peer, *, files: Path | str, data: Path | str
) -> list[str]:
    """One node of a network. ``files`` is its folder, ``data`` what it writes itself."""
    is_validator = peer.kind == "validator"
    return [
        str(besu),
        *(f"--data-path={data}", f"--genesis-file={files}/../../genesis.json"),
        *(f"--network-id={network.chain_id}", f"--node-private-key-file={files}/nodekey"),
        *("--sync-mode=FULL", "--data-storage-format=FOREST", "--min-gas-price=0"),
        *(f"--target-gas-limit={GAS_LIMIT}", f"--p2p-host={peer.host}"),
        *(f"--p2p-port={peer.p2p_port}", "--discovery-enabled=false", "--nat-method=NONE"),
        *(
            f"--static-nodes-file={files}/static-nodes.json",
            "--permissions-nodes-config-file-enabled",
        ),
        f"--permissions-nodes-config-file={files}/permissions.toml",
        *("--rpc-http-enabled", "--rpc-http-host=127.0.0.1", f"--rpc-http-port={peer.rpc_port}"),
        f"--rpc-http-api={OWN_API if is_validator else MEMBERS_API}",
        "--host-allowlist=localhost,127.0.0.1",
    ]


def static_nodes_text(network: Network, peer: Peer) -> str:
    """Whom a node dials: a list of enodes."""
    return json.dumps([other.enode for other in network.peers if other != peer], indent=2) + "\n"


def permissions_text(network: Network) -> str:
    """Who may be a peer: the allowlist of Besu's local permissions."""
    listed = ",\n  ".join(json.dumps(peer.enode) for peer in network.peers)
    return f"nodes-allowlist = [\n  {listed}\n]\n"
