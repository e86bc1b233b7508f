"""Changing single settings of a file that people own: their comments and their order stay."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from node.config.lines import lines_of_keys
from node.errors import ConfigurationError

__all__ = ["Scalar", "replace_file", "require_writable", "with_settings", "writing"]

Scalar = str | int | bool

_VALUE: Final = re.compile(r"(=\s*)(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s#]+)")


def with_settings(text: str, section: str, values: Mapping[str, Scalar]) -> str:
    """A settings file with these values in a section: each in place of the one that stands there,
    else below the section's heading, else in a new section at the end.

    Of a value that stands there it replaces text, numbers and booleans on one line, which is all
    that the settings of a node are. Raises ValueError for another one.
    """
    lines = text.splitlines()
    places = lines_of_keys(text)
    new: list[str] = []
    for key, value in values.items():
        written = _toml(value)
        if (at := places.get(f"{section}.{key}")) is None:
            new.append(f"{key} = {written}")
            continue
        changed, count = _VALUE.subn(lambda found: found[1] + written, lines[at - 1], count=1)  # noqa: B023 - used at once
        if not count:
            raise ValueError(f"line {at} holds no value that can be replaced")
        lines[at - 1] = changed
    if new and section in places:
        lines[places[section] : places[section]] = new
    elif new:
        lines += [*([""] if lines and lines[-1].strip() else []), f"[{section}]", *new]
    return "\n".join(lines) + "\n"


def replace_file(path: Path, text: str, *, reader: Path | None = None) -> None:
    """Write a file in place of what is there, whole or not at all; its mode and owner stay.

    A new one is its owner's alone; made by root, the group of ``reader``, a folder of the service's
    user, may read it too. Raises ConfigurationError when it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    with writing(path, "run it as the user that owns the settings, or name others with --config"):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            was = path.stat()
            if os.geteuid() == 0:
                os.chown(part, was.st_uid, was.st_gid)
            part.chmod(was.st_mode & 0o7777)
        elif reader is not None and os.geteuid() == 0:
            os.chown(part, -1, reader.stat().st_gid)
            part.chmod(0o640)
        part.replace(path)


@contextmanager
def writing(path: Path, next_step: str = "") -> Iterator[None]:
    """While a file is written: a system that does not let it be is ConfigurationError."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"this cannot be written ({error.strerror})",
            file=path,
            next_step=next_step or "choose a place that this user may write to",
        ) from error


def require_writable(path: Path) -> None:
    """Find out whether a file can be written before anything else is: nothing tells but trying.

    Makes the folders that it needs, and leaves the file itself as it is. Raises ConfigurationError.
    """
    probe = path.with_name(path.name + ".part")
    with writing(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT, 0o600))
        probe.unlink()


def _toml(value: Scalar) -> str:
    """A value of TOML: text of JSON is one of TOML too."""
    return json.dumps(value, ensure_ascii=False)
