"""Which nodes of a network can be asked from here, and how.

A trial leaves a list of its endpoints. On a real machine the nodes' own sockets lie in their data
folders; sockets of other machines, forwarded by ``ssh -L``, are put below ``run`` under the nodes'
names, and count as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.chain.network.record import Network, Peer

__all__ = ["ENDPOINTS_FILE", "Reach", "reach_of", "write_endpoints"]

ENDPOINTS_FILE: Final = "endpoints.json"


@dataclass(frozen=True, slots=True)
class Reach:
    """Endpoints by name, for the operator's own questions and for members' ones; and the process
    that runs the whole network here, if one does."""

    own: Mapping[str, Path | str]
    members: Mapping[str, str]
    supervisor: int | None = None

    def all(self) -> dict[str, Path | str]:
        """One endpoint for each node."""
        return {**self.members, **self.own}


def write_endpoints(
    folder: Path,
    endpoints: Mapping[str, Path | str],
    members: Mapping[str, str],
    *,
    supervisor: int,
) -> None:
    """Tell other programs of this user where a trial's nodes are asked."""
    document = {
        "supervisor": supervisor,
        "endpoints": {name: str(endpoint) for name, endpoint in endpoints.items()},
        "members": dict(members),
    }
    (folder / "run" / ENDPOINTS_FILE).write_text(json.dumps(document) + "\n")


def reach_of(folder: Path, network: Network) -> Reach:
    """What can be asked from here. Whether it answers is another question."""
    try:
        document = json.loads((folder / "run" / ENDPOINTS_FILE).read_text())
        supervisor = int(document["supervisor"])
        endpoints = {str(name): str(value) for name, value in document["endpoints"].items()}
        members = {str(name): str(url) for name, url in document["members"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _on_machines(folder, network)
    own = {
        name: value if value.startswith("http") else Path(value)
        for name, value in endpoints.items()
    }
    return Reach(own, members, supervisor if _is_alive(supervisor) else None)


def _on_machines(folder: Path, network: Network) -> Reach:
    own: dict[str, Path | str] = {}
    members: dict[str, str] = {}
    for peer in network.peers:
        url = f"http://127.0.0.1:{peer.rpc_port}"
        is_here = (folder / peer.folder / "data").exists()
        for socket in _sockets(folder, peer):
            if socket.is_socket():
                own[peer.name] = socket
                break
        else:
            if is_here and network.engine == "besu":
                own[peer.name] = url
        if is_here and peer.kind == "rpc":
            members[peer.name] = url
    return Reach(own, members)


def _sockets(folder: Path, peer: Peer) -> tuple[Path, Path]:
    return folder / "run" / f"{peer.name}.ipc", folder / peer.folder / "data" / "geth.ipc"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
