"""A household's two keys at rest, on its own machine: the owner's and the signer's.

The signer's key stays with the node and signs orders, which are bounded. The owner's names the
signer and takes money out; it is needed again only for that, and is best kept elsewhere. Each is a
keystore of version 3 with a password of its own, in files that nobody else may read.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eth_account import Account

from node.chain.keys import Key
from node.chain.keystore import read_keystore
from node.chain.network.keeping import KEY_BYTES, Draw, KeyFiles, make_account, write_secret
from node.errors import ConfigurationError

__all__ = [
    "SCRYPT_ROUNDS",
    "HouseholdKeys",
    "PendingKey",
    "household_keys",
    "keep_secret",
    "open_key",
    "pending_key",
    "put_in_place",
    "read_password",
]

SCRYPT_ROUNDS: Final = 262_144
"""What a guess at the password costs: a second and 256 MB, as with every other client."""

MAX_PASSWORD_BYTES: Final = 4_096

_OF_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class HouseholdKeys:
    """Where a household's keys are."""

    owner: KeyFiles
    signer: KeyFiles

    @classmethod
    def below(cls, folder: Path, owner_folder: Path | None = None) -> HouseholdKeys:
        """The usual places: the signer's in the folder itself, the owner's in one of its own."""
        owners = owner_folder or folder / "owner"
        return cls(
            owner=KeyFiles(owners / "owner.json", owners / "owner-password"),
            signer=KeyFiles(folder / "household.json", folder / "household-password"),
        )

    @property
    def made(self) -> tuple[str, ...]:
        """Which of them are there already."""
        found = (("owner", self.owner), ("signer", self.signer))
        return tuple(name for name, files in found if files.keystore.exists())


def household_keys(places: HouseholdKeys, draw: Draw) -> tuple[Key, Key]:
    """The owner's and the signer's key: made where there is none, else those that are there.

    Made by root, they belong to whom the folder belongs to: to the service's user, say. Raises
    ConfigurationError for files that cannot be written, read or opened, or that others may read.
    """
    try:
        for files in (places.signer, places.owner):
            if not files.keystore.exists():
                above = _nearest_folder(files.keystore)
                make_account(files, draw, light=False)
                _hand_over(files, above)
    except OSError as error:
        raise ConfigurationError(
            f"a key cannot be written: {error}",
            next_step="run this as the user that the node runs as",
        ) from error
    return open_key(places.owner), open_key(places.signer)


def keep_secret(path: Path, text: str) -> None:
    """Keep another secret beside the keys, like them for whom the folder belongs to alone.

    Raises OSError.
    """
    above = _nearest_folder(path)
    write_secret(path, text)
    _chown(path, above.stat())


def open_key(files: KeyFiles) -> Key:
    """The key of a keystore and a password file. Raises ConfigurationError, also when others than
    the files' owner may read or write one of them."""
    _refuse_open(files.keystore)
    return read_keystore(files.keystore, read_password(files.password))


def read_password(path: Path) -> str:
    """A password from its file, without the newline at the end. Raises ConfigurationError."""
    _refuse_open(path)
    try:
        content = path.read_bytes()
        text = content.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the password cannot be read: {error}", file=path) from error
    if not 0 < len(text) <= MAX_PASSWORD_BYTES:
        raise ConfigurationError("this holds no password", file=path)
    return text


@dataclass(frozen=True, slots=True)
class PendingKey:
    """A signer's key that is not in use yet: it waits beside the one that it will replace."""

    key: Key
    path: Path
    was_there: bool


def pending_key(keystore: Path, password: str, draw: Draw) -> PendingKey:
    """The next key of a keystore, under the same password. One that was made before, by a rotation
    that was interrupted, is taken again: the chain may know it already."""
    path = keystore.with_name(keystore.name + ".next")
    if path.exists():
        _refuse_open(path)
        return PendingKey(read_keystore(path, password), path, was_there=True)
    secret = draw(KEY_BYTES)
    document = Account.encrypt(secret, password, kdf="scrypt", iterations=SCRYPT_ROUNDS)
    try:
        write_secret(path, json.dumps(document) + "\n")
    except OSError as error:
        raise ConfigurationError(f"the new key cannot be written: {error}", file=path) from error
    return PendingKey(Key(secret), path, was_there=False)


def put_in_place(pending: PendingKey, keystore: Path) -> Path | None:
    """Let the next key be the key; the one before is kept beside it, by its address, because gas
    may be left on its account. Returns where it is, None if there was none before."""
    if not keystore.exists():
        _chown(pending.path, keystore.parent.stat())
        pending.path.replace(keystore)
        return None
    before = KeyFiles(keystore, keystore).address()
    kept = keystore.with_name(f"{keystore.stem}-{before}{keystore.suffix}")
    kept.unlink(missing_ok=True)
    _chown(pending.path, keystore.stat())
    # A link and a rename: whatever happens in between, there is a key under the keystore's name.
    os.link(keystore, kept)
    pending.path.replace(keystore)
    return kept


def _nearest_folder(path: Path) -> Path:
    """The folder that is there already, however far above."""
    return next(folder for folder in path.absolute().parents if folder.exists())


def _hand_over(files: KeyFiles, above: Path) -> None:
    """Give new files, and the folders made for them, to the owner of the folder above them."""
    owner = above.stat()
    for path in (files.keystore, files.password):
        _chown(path, owner)
        for folder in path.absolute().parents:
            if folder == above:
                break
            _chown(folder, owner)


def _chown(path: Path, owner: os.stat_result) -> None:
    """Only root can; and a stick may know no owners."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            os.chown(path, owner.st_uid, owner.st_gid)


def _refuse_open(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigurationError(
            f"this is not there, or not for this user ({error.strerror})",
            file=path,
            next_step="put it back from where it was kept",
        ) from error
    if mode & _OF_OTHERS:
        raise ConfigurationError(
            f"others may read or write this (mode {mode:04o})",
            file=path,
            next_step=f"chmod 600 {path}; if others had access to it, make a new one",
        )
