"""How geth 1.13.15 is run: the last release that seals Clique blocks. Pure, but for finding it.

A sealer must unlock its key, and geth refuses that beside an HTTP server unless told otherwise,
with reason: whoever reaches the server could sign. So a validator has no HTTP server at all, only
a socket that its own user may open; members ask other nodes, which hold no key.
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

__all__ = [
    "BINARY_VARIABLE",
    "GETH_VERSION",
    "config_text",
    "find_geth",
    "init_command",
    "run_command",
]

GETH_VERSION: Final = "1.13.15"
BINARY_VARIABLE: Final = "DAISEE_GETH"
BUILT: Final = Path("build", "bin", "geth")

HTTP_API: Final = "eth,net,web3"
"""What members may ask: nothing of ``personal``, ``admin``, ``debug``, ``miner`` or ``clique``."""

GAS_PRICE_FLOOR_WEI: Final = 1
"""geth takes no transaction below 1 wei, whatever it is told."""

CACHE_MB: Final = 64
MAX_PENDING_OF_ACCOUNT: Final = 1_024
MAX_PENDING: Final = 16_384


def find_geth() -> Path:
    """geth: $DAISEE_GETH, the one that scripts/install-geth built, or on the PATH.

    Raises ConfigurationError when there is none.
    """
    named = os.environ.get(BINARY_VARIABLE)
    if named:
        if Path(named).is_file():
            return Path(named)
        raise ConfigurationError(f"{BINARY_VARIABLE} names {named}, and there is no such file")
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).parents[3]):
        if (folder / BUILT).is_file():
            return folder / BUILT
    on_path = shutil.which("geth")
    if on_path:
        return Path(on_path)
    raise ConfigurationError(
        "there is no geth on this machine",
        next_step="scripts/install-geth builds the right one; any other must be 1.13.x",
    )


def init_command(geth: Path | str, data: Path | str, genesis: Path | str) -> list[str]:
    """Write the first block into a data folder. Again is harmless."""
    return [
        str(geth),
        *("--datadir", str(data), "--db.engine", "pebble", "--state.scheme", "hash"),
        *("--verbosity", "1", "init", str(genesis)),
    ]


def run_command(
    geth: Path | str,
    network: Network,
    peer: Peer,
    *,
    files: Path | str,
    data: Path | str,
    socket: Path | str,
    config: Path | str,
) -> list[str]:
    """One node of a network. ``files`` is its folder with keys, ``data`` what it writes itself.

    Every state is written as its block is (``--gcmode archive``): otherwise validators that die at
    once have forgotten the last states, go back in time, and seal another history.
    """
    command = [
        str(geth),
        *("--config", str(config), "--datadir", str(data), "--networkid", str(network.chain_id)),
        *("--nodekey", f"{files}/nodekey", "--port", str(peer.p2p_port), "--nodiscover"),
        *("--nat", "none", "--syncmode", "full", "--gcmode", "archive", "--snapshot=false"),
        *("--state.scheme", "hash", "--db.engine", "pebble", "--cache", str(CACHE_MB)),
        *("--ipcpath", str(socket), "--authrpc.addr", "127.0.0.1", "--authrpc.port", "0"),
        *("--miner.gasprice", str(GAS_PRICE_FLOOR_WEI), "--miner.recommit", "1s"),
        *("--txpool.pricelimit", str(GAS_PRICE_FLOOR_WEI)),
        *("--txpool.accountslots", str(MAX_PENDING_OF_ACCOUNT)),
        *("--txpool.accountqueue", str(MAX_PENDING_OF_ACCOUNT)),
        *("--txpool.globalslots", str(MAX_PENDING), "--txpool.globalqueue", str(MAX_PENDING)),
        *("--miner.gaslimit", str(GAS_LIMIT), "--maxpeers", str(2 * len(network.peers))),
        *("--log.format", "logfmt", "--verbosity", "3"),
    ]
    if peer.kind == "validator":
        return command + _sealing(peer, files)
    return [
        *command,
        *("--http", "--http.addr", "127.0.0.1", "--http.port", str(peer.rpc_port)),
        *("--http.api", HTTP_API, "--http.vhosts", "localhost,127.0.0.1"),
    ]


def config_text(network: Network, peer: Peer) -> str:
    """What geth takes from a file only: whom it dials, and from which addresses it is dialled."""
    others = [other.enode for other in network.peers if other != peer]
    allowed = sorted({_network_of(other.host) for other in network.peers})
    listed = ",\n  ".join(json.dumps(enode) for enode in others)
    return (
        "# Peers of this node: dialled, trusted, and nobody else is looked for.\n"
        "[Node.P2P]\n"
        f"StaticNodes = [\n  {listed}\n]\n"
        f"TrustedNodes = [\n  {listed}\n]\n"
        f"NetRestrict = {json.dumps(allowed)}\n"
    )


def _sealing(peer: Peer, files: Path | str) -> list[str]:
    return [
        *("--mine", "--miner.etherbase", peer.address, "--unlock", peer.address),
        *("--keystore", f"{files}/keystore", "--password", f"{files}/password"),
    ]


def _network_of(host: str) -> str:
    """One address as the network that geth compares with."""
    return f"{host}/128" if ":" in host else f"{host}/32"
