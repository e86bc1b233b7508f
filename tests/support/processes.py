"""Programs of a few lines, run in a process of their own: they may die, the test goes on."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from tests.support.shared import CHECKOUT


def run_in_process(program: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run Python text from the checkout; it finds the path in ``sys.argv[1]``."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(path)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
