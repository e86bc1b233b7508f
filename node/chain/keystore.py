"""A key at rest: a keystore file of version 3, as every Ethereum client writes and reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from eth_account import Account

from node.chain.keys import Key
from node.errors import ConfigurationError

__all__ = ["read_keystore"]

MAX_KEYSTORE_BYTES: Final = 65_536


def read_keystore(path: Path, password: str) -> Key:
    """The key in a keystore file. Deriving it from the password takes a second, on purpose.

    Raises ConfigurationError when the file cannot be read or the password is another one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_KEYSTORE_BYTES)
        keystore = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"the keystore cannot be read: {error}",
            file=path,
            next_step="put it back from the backup, or have the operator name a new key",
        ) from error
    try:
        return Key(bytes(Account.decrypt(keystore, password)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"the keystore cannot be opened: {error}",
            file=path,
            next_step="check the password file; the keystore must be of version 3",
        ) from error
