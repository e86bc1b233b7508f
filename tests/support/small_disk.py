"""A file system of half a mebibyte, for what happens when a disk is full."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.shared import CHECKOUT


def run_with_small_disk(
    program: str, folder: Path, *arguments: str, within_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run Python text that finds a file system of 512 KiB of its own in ``sys.argv[1]``."""
    unshare = shutil.which("unshare")
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(folder)]
    alone = [unshare or "unshare", "--user", "--map-root-user", "--mount"]
    if unshare is None or subprocess.run([*alone, *mount], check=False).returncode:
        pytest.skip("nobody may mount a small file system here")
    prepared = (
        f"import subprocess; subprocess.run({mount!r}, check=True)\n{textwrap.dedent(program)}"
    )
    return subprocess.run(
        [*alone, sys.executable, "-c", prepared, str(folder), *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
