"""The keys of a network's nodes: made before it is founded, and from then on only looked at.

``network.toml`` says by which keys a network was founded. It is written when all of them are on the
disk, so a folder without it is one whose founding was interrupted. With it, a key that is not here
is on its machine: another one in its place would be nobody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from node.chain.keys import Key
from node.chain.network.keeping import (
    Draw,
    KeyFiles,
    enode_id_of,
    make_account,
    make_node_key,
    read_node_key,
)
from node.chain.network.record import FILE, Network, Peer
from node.errors import ConfigurationError

__all__ = [
    "Written",
    "make_keys",
    "operator_files",
    "operator_key_here",
    "peer_keys_here",
    "secret_files",
]


@dataclass(frozen=True, slots=True)
class Written:
    """One file of the layout, below its folder: ``made``, ``there`` (as it should be), ``kept``
    (somebody changed it), ``rewritten``, or ``elsewhere``: a secret of another machine."""

    path: Path
    state: str
    secret: bool = False


def operator_files(folder: Path) -> KeyFiles:
    """The operator's account."""
    return KeyFiles(folder / "operator" / "keystore.json", folder / "operator" / "password")


def secret_files(peer: Peer, engine: str) -> list[Path]:
    """A node's secrets, below the network's folder."""
    files = [peer.folder / "nodekey"]
    if _has_account(peer, engine):
        files += [peer.folder / "keystore" / "key.json", peer.folder / "password"]
    return files


def make_keys(
    folder: Path, sketched: Peer, engine: str, draw: Draw, *, light: bool
) -> tuple[Peer, list[Written]]:
    """Make what keys of a node are missing; the node with its public names, and its secret files.
    Raises ConfigurationError for keys that are there and cannot be used."""
    below = secret_files(sketched, engine)
    before = {path for path in below if (folder / path).exists()}
    node_key = make_node_key(folder / sketched.folder / "nodekey", draw)
    address = ""
    if _has_account(sketched, engine):
        address = make_account(_account(folder, sketched), draw, light=light)
    elif sketched.kind == "validator":
        address = _address_of(node_key)
    written = [Written(path, "there" if path in before else "made", secret=True) for path in below]
    return replace(sketched, address=address, enode_id=enode_id_of(node_key)), written


def peer_keys_here(folder: Path, network: Network, peer: Peer) -> list[Written]:
    """Which of a known node's secrets are here.

    Raises ConfigurationError for keys that are not those by which the network knows it.
    """
    node_key_file = folder / peer.folder / "nodekey"
    known = True
    if node_key_file.exists():
        node_key = read_node_key(node_key_file)
        known = enode_id_of(node_key) == peer.enode_id
        if peer.kind == "validator" and not _has_account(peer, network.engine):
            known = known and _address_of(node_key) == peer.address
    if _has_account(peer, network.engine):
        known = known and _is_account(_account(folder, peer), peer.address)
    if not known:
        raise ConfigurationError(
            f"the network knows another {peer.name}, by the keys of another machine",
            file=folder / FILE,
            next_step=f"put {folder / peer.folder} back from its backup",
        )
    return _found(folder, secret_files(peer, network.engine))


def operator_key_here(folder: Path, network: Network) -> list[Written]:
    """The same of the operator's account."""
    files = operator_files(folder)
    if not _is_account(files, network.operator):
        raise ConfigurationError(
            "the network knows another operator",
            file=files.keystore,
            next_step="put it back from the backup",
        )
    below = (files.keystore.relative_to(folder), files.password.relative_to(folder))
    return _found(folder, below)


def _found(folder: Path, below: Sequence[Path]) -> list[Written]:
    return [
        Written(path, "there" if (folder / path).exists() else "elsewhere", secret=True)
        for path in below
    ]


def _is_account(files: KeyFiles, address: str) -> bool:
    """Whether a keystore, if it is there, is of an address. Raises ConfigurationError when nobody
    can open it."""
    if not files.keystore.exists():
        return True
    files.require_password()
    return files.address() == address


def _account(folder: Path, peer: Peer) -> KeyFiles:
    files = folder / peer.folder
    return KeyFiles(files / "keystore" / "key.json", files / "password")


def _address_of(node_key: bytes) -> str:
    """Besu seals with the key by which its peers know it."""
    return Key(node_key).address.lower()


def _has_account(peer: Peer, engine: str) -> bool:
    return peer.kind == "validator" and engine == "geth"
