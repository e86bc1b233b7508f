"""What an install puts where, and what it may need."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.shared import CHECKOUT

_KERNEL = ("clock", "errors", "model", "ports", "slots", "units")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every file of the built wheel. Nothing is fetched to build it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(CHECKOUT)], check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel: dict[str, bytes]) -> None:
    top_level = {name.split("/")[0] for name in wheel}
    (metadata,) = (name for name in top_level if name.endswith(".dist-info"))
    assert top_level == {"node", "simulations", metadata}
    assert metadata.startswith("daisee_node-")
    assert f"{metadata}/licenses/LICENSE" in wheel


def test_the_only_command_is_daisee(wheel: dict[str, bytes]) -> None:
    """A command called ``node`` would shadow Node.js."""
    (entry_points,) = (name for name in wheel if name.endswith("/entry_points.txt"))
    console, _, commands = wheel[entry_points].decode().partition("[daisee.commands]")
    assert console.split("\n\n")[0].splitlines() == [
        "[console_scripts]",
        "daisee = node.cli.main:main",
    ]
    assert "simulate = simulations.cli:simulate" in commands


def test_the_wheel_carries_what_the_node_reads_at_run_time(wheel: dict[str, bytes]) -> None:
    read = {
        path.relative_to(CHECKOUT).as_posix()
        for path in Path(CHECKOUT, "node").rglob("*")
        if path.suffix in {".json", ".sql", ".typed"}
    }
    assert read <= set(wheel)


def test_the_kernel_runs_on_the_standard_library_alone() -> None:
    imports = "; ".join(f"import node.{name}" for name in _KERNEL)
    program = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); {imports}"
    # -I and -S: without the site packages, a third party cannot be found.
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True, timeout=60)
