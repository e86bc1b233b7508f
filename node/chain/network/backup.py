"""A copy of all that cannot be made again: keys, genesis, community file; and the chain if wanted.

A network keeps its chain on every machine, so a lost disk needs no backup of blocks: the node
fetches them from its peers. Only when all machines are lost are exported blocks what is left.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from node.chain.json_rpc import number
from node.chain.network import geth
from node.chain.network.asking import ask
from node.chain.network.commands import failure_of
from node.chain.network.record import FILE, Network, load_network
from node.errors import ConfigurationError, Refused

__all__ = [
    "BLOCKS_FILE",
    "Backup",
    "back_up_network",
    "export_blocks",
    "import_blocks",
    "restore_network",
]

MANIFEST: Final = "manifest.json"
BLOCKS_FILE: Final = "blocks.rlp"
VERSION: Final = 1
LEFT_OUT: Final = frozenset({"data", "run"})
MAX_MEMBERS: Final = 4_096
MAX_FILE_BYTES: Final = 2**24
BLOCKS_AT_ONCE: Final = 32
IMPORT_WITHIN_S: Final = 86_400.0

Backup = Mapping[str, str]
"""What a backup holds: each file's digest by its place."""


async def export_blocks(endpoint: Path | str, to: Path) -> int:
    """Write every block from the first to the head into a file that geth imports; how many.

    Asked is a running node's own socket. Raises ChainUnreachable or Refused.
    """
    head = number(await ask(endpoint, "eth_blockNumber"))
    with to.open("wb") as file:
        for start in range(1, head + 1, BLOCKS_AT_ONCE):
            heights = range(start, min(start + BLOCKS_AT_ONCE, head + 1))
            blocks = await asyncio.gather(
                *(ask(endpoint, "debug_getRawBlock", hex(height)) for height in heights)
            )
            for block in blocks:
                file.write(bytes.fromhex(str(block).removeprefix("0x")))
    return head


def back_up_network(folder: Path, target: Path, blocks: Path | None = None) -> Backup:
    """Write a folder's keys, settings and, with ``blocks``, its chain into one archive.

    Only its owner may read it: with the passwords in it, it is as good as the keys. It is read back
    and compared before it gets its name. Raises ConfigurationError.
    """
    load_network(folder)
    if target.exists():
        raise ConfigurationError(
            "there is a file already, and a backup overwrites none", file=target
        )
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    members = dict(_members(folder))
    if blocks is not None:
        members[BLOCKS_FILE] = blocks
    digests = {name: _digest(path) for name, path in members.items()}
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with part.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                _add_text(archive, json.dumps({"version": VERSION, "files": digests}))
                for name, path in members.items():
                    archive.add(path, arcname=name, recursive=False)
            file.flush()
            os.fsync(file.fileno())
        with tempfile.TemporaryDirectory(dir=target.parent) as trial:
            _unpack(part, Path(trial))
        part.replace(target)
    except OSError as error:
        raise ConfigurationError(
            f"the backup cannot be written: {error.strerror}", file=target
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return digests


def restore_network(source: Path, folder: Path) -> tuple[Network, Path | None]:
    """Unpack a backup into a folder that holds nothing; the network, and its blocks if they are in.

    Raises ConfigurationError when the archive is damaged, Refused when the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Refused(
            f"{folder} is not empty, and keys that are there must not be lost",
            reason="not_empty",
            next_step="restore into a new folder, and move it when it is right",
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _unpack(source, folder)
    blocks = folder / BLOCKS_FILE
    return load_network(folder), blocks if blocks.exists() else None


async def import_blocks(folder: Path, network: Network, blocks: Path) -> None:
    """Give the blocks of a backup to every node of the folder. Raises ConfigurationError."""
    program = geth.find_geth()
    for peer in network.peers:
        data = folder / peer.folder / "data"
        init = geth.init_command(program, data, folder / "genesis.json")
        take = [
            *(str(program), "--datadir", str(data), "--verbosity", "1"),
            *("--gcmode", "archive", "--snapshot=false", "--state.scheme", "hash"),
            *("--db.engine", "pebble", "--syncmode", "full", "import", str(blocks)),
        ]
        for command in (init, take):
            if why := await failure_of(command, within_s=IMPORT_WITHIN_S):
                raise ConfigurationError(
                    f"the blocks cannot be imported: {why.splitlines()[-1]}", file=data
                )


def _members(folder: Path) -> Iterator[tuple[str, Path]]:
    """All files but what nodes write themselves, by their place in the folder."""
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.is_file() and not LEFT_OUT & set(place.parts) and path.suffix != ".part":
            yield str(place), path


def _add_text(archive: tarfile.TarFile, text: str) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(MANIFEST)
    entry.size, entry.mode = len(content), 0o600
    archive.addfile(entry, io.BytesIO(content))


def _unpack(source: Path, folder: Path) -> None:
    """Every file of an archive, compared with the manifest that it begins with."""
    try:
        with tarfile.open(source, mode="r:gz") as archive:
            members = _known_members(archive, source)
            first = archive.extractfile(members[0])
            assert first is not None
            wanted = json.loads(first.read(MAX_FILE_BYTES))
            if wanted["version"] != VERSION or not isinstance(wanted["files"], dict):
                raise ConfigurationError("this backup is of another version", file=source)
            archive.extractall(folder, members=members[1:], filter="data")
    except (OSError, tarfile.TarError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"this backup cannot be read: {error}", file=source, next_step="take an older one"
        ) from error
    for name, digest in wanted["files"].items():
        if not (folder / name).is_file() or _digest(folder / name) != digest:
            raise ConfigurationError(
                f"this backup is damaged: {name} is not as it was",
                file=source,
                next_step="take an older one",
            )


def _known_members(archive: tarfile.TarFile, source: Path) -> list[tarfile.TarInfo]:
    members = []
    for member in archive:
        members.append(member)
        if len(members) > MAX_MEMBERS or not member.isfile():
            raise ConfigurationError("this is no backup of a network", file=source)
    names = {member.name for member in members}
    if not members or members[0].name != MANIFEST or FILE not in names:
        raise ConfigurationError("this is no backup of a network", file=source)
    return members


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
