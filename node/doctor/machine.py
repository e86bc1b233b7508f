"""The machine under the node: the program that runs, and the clock that it runs by."""

from __future__ import annotations

import ctypes
import json
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import node
from node.doctor.case import Case
from node.doctor.findings import Finding, error, ok, warning

__all__ = ["clock_checks", "clock_is_kept", "package_finding", "program_checks"]

DISTRIBUTION: Final = "daisee-node"
_OTHER: Final = "node"
"""A tree library of that name on the package index: it merges into our own folder."""

_TIMEX_BYTES: Final = 512
"""More than any machine's ``struct timex``; zeros ask for nothing to be changed."""

_NOT_KEPT: Final = 5
"""``TIME_ERROR``: the kernel knows of nobody who keeps the clock."""

_INSTALL: Final = "install daisee-node in a virtual environment of its own"


def program_checks() -> Iterator[Finding]:
    """P001."""
    yield package_finding(Path(node.__file__).resolve(), _found)


def _found(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def package_finding(imported: Path, found: Callable[[str], Distribution | None]) -> Finding:
    """Whether what is imported as ``node`` is what the distribution installed, and nothing else
    installed itself into the same folder."""
    ours = found(DISTRIBUTION)
    if ours is None:
        return error("P001", f"{imported} belongs to no installed daisee-node", _INSTALL)
    if found(_OTHER) is not None:
        return error(
            "P001",
            "another package named 'node' is installed: both share one folder",
            f"pip uninstall node; then {_INSTALL}",
        )
    places = [Path(str(ours.locate_file("node/__init__.py"))).resolve()]
    direct = json.loads(ours.read_text("direct_url.json") or "{}")
    if direct.get("dir_info", {}).get("editable"):
        source = Path(unquote(urlsplit(direct["url"]).path))
        places.append((source / "node" / "__init__.py").resolve())
    if imported not in places:
        return error(
            "P001", f"{imported} is not what daisee-node {ours.version} installed", _INSTALL
        )
    return ok("P001", f"daisee-node {ours.version} in {imported.parent}")


def clock_is_kept() -> bool | None:
    """Whether the kernel says that a time service keeps the clock; None where it does not say."""
    ask = getattr(ctypes.CDLL(None), "adjtimex", None)
    if ask is None:
        return None
    state = int(ask(ctypes.create_string_buffer(_TIMEX_BYTES)))
    return None if state < 0 else state != _NOT_KEPT


async def clock_checks(_: Case) -> AsyncIterator[Finding]:
    """T001."""
    yield kept_finding(clock_is_kept())


def kept_finding(is_kept: bool | None) -> Finding:  # noqa: FBT001 - it is the whole question
    """What follows from the kernel's answer."""
    if is_kept:
        return ok("T001", "the kernel says so")
    said = "the kernel does not say" if is_kept is None else "the kernel knows of none"
    return warning(
        "T001",
        f"{said}; a slot that is closed by a wrong clock cannot be put right",
        "timedatectl set-ntp true; then timedatectl status",
    )
