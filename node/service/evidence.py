"""The secret that salts the evidence of orders: made once, and copied with every backup."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError, StorageBusy
from node.store.disk import may_pass

__all__ = ["EVIDENCE_KEY", "EVIDENCE_KEY_BYTES", "copy_evidence_key", "evidence_key"]

EVIDENCE_KEY: Final = "evidence.key"
EVIDENCE_KEY_BYTES: Final = 32


def evidence_key(database: Path) -> bytes:
    """The key of a database: made once, beside it, for its owner alone. Without it nobody can open
    what stands on chain, so backups hold it too.

    Raises ConfigurationError when the file is damaged or cannot be written, StorageBusy when the
    disk is full.
    """
    path = database.with_name(EVIDENCE_KEY)
    try:
        if not path.exists():
            _write_whole(path, secrets.token_bytes(EVIDENCE_KEY_BYTES))
        key = path.read_bytes()
    except OSError as error:
        if may_pass(error):
            raise StorageBusy(
                f"{path}: the evidence key cannot be kept ({error.strerror})",
                next_step="make room on that disk",
            ) from error
        raise ConfigurationError(f"the evidence key cannot be used: {error}", file=path) from error
    if len(key) != EVIDENCE_KEY_BYTES:
        raise ConfigurationError(
            f"the evidence key has {len(key)} bytes instead of {EVIDENCE_KEY_BYTES}",
            file=path,
            next_step="put it back from a backup; without it old evidence cannot be opened",
        )
    return key


def copy_evidence_key(database: Path, folder: Path) -> None:
    """Have a backup's folder hold the key of a database: a copy that is torn, or of another key, is
    replaced. A whole one of another key is kept as ``.1``, and a damaged key is never copied: that
    folder may have the last good one. Raises OSError.
    """
    key = database.with_name(EVIDENCE_KEY)
    copy = folder / EVIDENCE_KEY
    if not key.exists():
        return
    content = key.read_bytes()
    there = copy.read_bytes() if copy.exists() else b""
    if content == there or len(content) != EVIDENCE_KEY_BYTES:
        return
    if len(there) == EVIDENCE_KEY_BYTES:
        _write_whole(copy.with_name(copy.name + ".1"), there)
    _write_whole(copy, content)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file for its owner alone: all of it under its name, or nothing, wherever the power
    fails. Raises OSError."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
