"""Which processes were started for a folder: those that name it on their command line."""

from __future__ import annotations

from pathlib import Path

__all__ = ["living"]


def living(folder: Path) -> list[str]:
    """Their command lines. A killed process that nobody has waited for has none any more."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(folder) in line:
                found.append(line)
    return found
