"""Keys of a network at rest: made once, written for their owner alone, never shown.

A key that exists is never replaced: running ``init`` again, or after a power cut, takes what is
there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eth_account import Account
from eth_keys.datatypes import PrivateKey

from node.chain.keys import Key
from node.errors import ConfigurationError

__all__ = [
    "KEY_BYTES",
    "Draw",
    "KeyFiles",
    "enode_id_of",
    "make_account",
    "make_node_key",
    "read_node_key",
    "settle",
    "write_open",
    "write_secret",
]

KEY_BYTES: Final = 32

SCRYPT_STANDARD: Final = 262_144
"""Rounds that cost a thief 256 MB and a second for each guess: keys of a community."""

SCRYPT_LIGHT: Final = 4_096
"""For a trial on one machine, whose keys are worth nothing."""

Draw = Callable[[int], bytes]
"""So many unguessable bytes: ``secrets.token_bytes``, or a test's own."""


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """An account at rest: its keystore of version 3, and the file with its password."""

    keystore: Path
    password: Path

    def address(self) -> str:
        """The account's address, in lower case, without opening the keystore."""
        try:
            document = json.loads(self.keystore.read_text())
            return "0x" + str(document["address"]).lower().removeprefix("0x")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"this is no keystore: {error}",
                file=self.keystore,
                next_step="put it back from the backup",
            ) from error

    def require_password(self) -> None:
        """Raise ConfigurationError when the keystore is there and nothing that opens it."""
        if self.keystore.exists() and not self.password.exists():
            raise ConfigurationError(
                "the keystore is there and its password is not",
                file=self.password,
                next_step="put the password back from the backup: a new one opens nothing",
            )


def make_account(files: KeyFiles, draw: Draw, *, light: bool) -> str:
    """An account with a password of its own; the one that exists if there is one. Its address."""
    files.require_password()
    if files.keystore.exists():
        return files.address()
    if not files.password.exists():
        write_secret(files.password, draw(KEY_BYTES).hex() + "\n")
    password = files.password.read_text().rstrip("\n")
    secret = _secret(draw)
    rounds = SCRYPT_LIGHT if light else SCRYPT_STANDARD
    document = Account.encrypt(secret, password, kdf="scrypt", iterations=rounds)
    write_secret(files.keystore, json.dumps(document) + "\n")
    return Key(secret).address.lower()


def make_node_key(path: Path, draw: Draw) -> bytes:
    """The key by which a node's peers know it; the one that exists if there is one."""
    if path.exists():
        return read_node_key(path)
    secret = _secret(draw)
    write_secret(path, secret.hex() + "\n")
    return secret


def read_node_key(path: Path) -> bytes:
    """The key of a file. Raises ConfigurationError when that holds none."""
    try:
        key = bytes.fromhex(path.read_text().strip().removeprefix("0x"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"this is no node key: {error}", file=path) from error
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"this is no node key: it has {len(key)} bytes", file=path)
    return key


def enode_id_of(node_key: bytes) -> str:
    """A node's public name."""
    return PrivateKey(node_key).public_key.to_bytes().hex()


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all, and never over another."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def write_open(path: Path, text: str) -> None:
    """Write a file that everybody may read, whole or not at all."""
    write_secret(path, text)
    path.chmod(0o644)


def settle(folder: Path) -> None:
    """Have the disk know every name below a folder: that a file's content is on it says nothing of
    its name. What nodes write themselves is theirs."""
    for place, below, _ in os.walk(folder):
        below[:] = [name for name in below if name not in ("data", "run")]
        known = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(known)
        finally:
            os.close(known)


def _secret(draw: Draw) -> bytes:
    """A private key: any 32 bytes but a handful that are no number of the curve."""
    secret = draw(KEY_BYTES)
    assert len(secret) == KEY_BYTES, len(secret)
    return secret
