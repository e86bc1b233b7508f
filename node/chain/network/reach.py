"""Which nodes of a network can be asked from here, and how.

A trial lists its endpoints in a file that it holds locked while it lives: what a trial left that
was killed names a process that may be anybody's by now. On a real machine the nodes' own sockets
lie in their data folders; sockets of other machines, forwarded by ``ssh -L``, are put below ``run``
under the nodes' names, and count as well.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from node.chain.network.record import Network, Peer
from node.errors import ConfigurationError

__all__ = ["ENDPOINTS_FILE", "Reach", "endpoints_file", "reach_of", "write_endpoints"]

ENDPOINTS_FILE: Final = "endpoints.json"


@dataclass(frozen=True, slots=True)
class Reach:
    """Endpoints by name, for the operator's own questions and for members' ones; and the process
    that runs the whole network here, if one does. ``trial_ended``: one did, and ended without a
    chance to say so."""

    own: Mapping[str, Path | str]
    members: Mapping[str, str]
    supervisor: int | None = None
    trial_ended: bool = False

    def all(self) -> dict[str, Path | str]:
        """One endpoint for each node."""
        return {**self.members, **self.own}


def endpoints_file(folder: Path) -> Path:
    """Where a trial says how its nodes are asked."""
    return folder / "run" / ENDPOINTS_FILE


def write_endpoints(
    folder: Path,
    endpoints: Mapping[str, Path | str],
    members: Mapping[str, str],
    *,
    supervisor: int,
) -> TextIO:
    """Tell other programs of this user where a trial's nodes are asked. They believe it as long as
    what is returned stays open: it holds the lock of this very file, and a later trial's is
    another one."""
    document = {
        "supervisor": supervisor,
        "endpoints": {name: str(endpoint) for name, endpoint in endpoints.items()},
        "members": dict(members),
    }
    path = endpoints_file(folder)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    held = part.open("x")
    fcntl.flock(held, fcntl.LOCK_EX)
    held.write(json.dumps(document) + "\n")
    held.flush()
    part.replace(path)
    return held


def reach_of(folder: Path, network: Network) -> Reach:
    """What can be asked from here. Whether it answers is another question.

    Raises ConfigurationError where only another user may look.
    """
    try:
        return _reach_of(folder, network)
    except PermissionError as error:
        raise ConfigurationError(
            "this user may not look at the nodes here",
            file=error.filename,
            next_step="run it as their user: 'sudo -u daisee-chain daisee chain ...'",
        ) from error


def _reach_of(folder: Path, network: Network) -> Reach:
    try:
        with endpoints_file(folder).open() as file:
            document = json.load(file)
            lives = _is_locked(file)
    except (FileNotFoundError, NotADirectoryError):
        return _on_machines(folder, network)
    except ValueError:
        return _on_machines(folder, network, trial_ended=True)
    trial = _trial_of(document) if lives else None
    return trial or _on_machines(folder, network, trial_ended=True)


def _trial_of(document: object) -> Reach | None:
    if not isinstance(document, dict):
        return None
    try:
        supervisor = int(document["supervisor"])
        endpoints = {str(name): str(value) for name, value in document["endpoints"].items()}
        members = {str(name): str(url) for name, url in document["members"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    own = {
        name: value if value.startswith("http") else Path(value)
        for name, value in endpoints.items()
    }
    return Reach(own, members, supervisor)


def _on_machines(folder: Path, network: Network, *, trial_ended: bool = False) -> Reach:
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
    return Reach(own, members, trial_ended=trial_ended)


def _sockets(folder: Path, peer: Peer) -> tuple[Path, Path]:
    return folder / "run" / f"{peer.name}.ipc", folder / peer.folder / "data" / "geth.ipc"


def _is_locked(file: TextIO) -> bool:
    """Whether the one who wrote a file still lives: nobody else locks it against readers."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
