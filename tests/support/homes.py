"""Small neighbourhoods by hand: home profiles as files, and runs of them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from node.slots import iso_utc, parse_iso_utc
from simulations.outcome import RunOutcome
from simulations.run import Watcher, simulate
from simulations.scenario import Scenario

JUNE_S: Final = parse_iso_utc("2016-06-01T10:00:00Z")
STEP_S: Final = 900

SILENT: Final = Watcher(stage=lambda _: None, progress=lambda _: None)

Steps = Sequence[tuple[int, int]]
"""Load and PV of each step, in Wh."""


def profile_text(steps: Steps, *, start_s: int = JUNE_S, step_s: int = STEP_S) -> str:
    """A home's file."""
    rows = (
        f"{iso_utc(start_s + number * step_s)},{load_wh},{pv_wh}\n"
        for number, (load_wh, pv_wh) in enumerate(steps)
    )
    return "start,load_wh,pv_wh\n" + "".join(rows)


def write_homes(folder: Path, homes: Mapping[str, Steps], *, start_s: int = JUNE_S) -> Path:
    """A folder of homes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, steps in homes.items():
        (folder / f"{name}.csv").write_text(profile_text(steps, start_s=start_s))
    return folder


def some_homes(count: int, steps: int, seed: int = 1) -> dict[str, Steps]:
    """Homes of which every other one has panels, with energies that often tie."""
    rng = random.Random(seed)
    return {
        f"home-{number}": [
            (rng.choice((0, 50, 100, 400)), rng.choice((0, 100, 300, 900)) * (number % 2))
            for _ in range(steps)
        ]
        for number in range(1, count + 1)
    }


def run_scenario(scenario: Scenario, folder: Path) -> RunOutcome:
    """Run it, silently."""
    return asyncio.run(simulate(scenario, folder, SILENT))


def slot_lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``slots.jsonl``."""
    text = (folder / "slots.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
