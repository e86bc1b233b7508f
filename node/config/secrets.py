"""Files that only the node's own user may read: keys, passwords, a URL with a token."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from node.config.endpoints import file_of
from node.config.sections import NodeConfig
from node.errors import ConfigurationError

__all__ = ["CREDENTIALS_VARIABLE", "password_of", "refuse_open_secrets"]

CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
"""Where systemd puts the credentials of a service."""

MAX_PASSWORD_BYTES: Final = 4_096

_OF_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def refuse_open_secrets(config: NodeConfig) -> None:
    """Raise ConfigurationError for a key or password file that is missing, or that others than its
    owner may read or write."""
    for key, path in _secret_files(config):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as error:
            raise config.complaint(
                key, f"names {path}, which cannot be looked at ({error.strerror})"
            ) from error
        if mode & _OF_OTHERS:
            raise config.complaint(
                key,
                f"names {path}, which others may read or write (mode {mode:04o})",
                next_step=f"chmod 600 {path}; if others had access to it, make a new one",
            )


def password_of(config: NodeConfig, environment: Mapping[str, str]) -> str:
    """The keystore's password: from systemd's credential if there is one, else from its file.

    A newline at the end is not part of it. Raises ConfigurationError.
    """
    folder = environment.get(CREDENTIALS_VARIABLE)
    credential = Path(folder, config.key.credential) if folder else None
    if credential is not None and credential.exists():
        return _read(credential, config)
    if config.key.password_file is None:
        raise config.complaint(
            "key.password_file",
            "is missing, and systemd handed over no credential",
            next_step="write the password to a file of mode 0600, or use LoadCredential=",
        )
    return _read(config.key.password_file, config)


def _read(path: Path, config: NodeConfig) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PASSWORD_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise config.complaint(
            "key.password_file", f"names {path}, which cannot be read: {error}"
        ) from error
    if not 0 < len(content) <= MAX_PASSWORD_BYTES:
        raise ConfigurationError("this holds no password", file=path)
    return text.rstrip("\r\n")


def _secret_files(config: NodeConfig) -> Iterator[tuple[str, Path]]:
    if config.key.keystore is not None:
        yield "key.keystore", config.key.keystore
    if config.chain is not None and (path := file_of(config.chain.rpc)) is not None:
        yield "chain.rpc", path
    if config.key.password_file is not None:
        yield "key.password_file", config.key.password_file
    if config.publish is not None and config.publish.password_file is not None:
        yield "publish.password_file", config.publish.password_file
    for key in ("password_file", "key_file"):
        value = config.meter.get(key)
        if isinstance(value, str):
            yield f"meter.{key}", config.file.absolute().parent / Path(value).expanduser()
