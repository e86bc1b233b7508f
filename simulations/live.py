"""What a terminal shows while a run goes on: a progress bar with its ETA, and the last slots."""

from __future__ import annotations

from collections import deque
from typing import Final, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from node.clock import wall_seconds
from node.slots import iso_utc, slot_start_s
from node.units import cent_per_kwh, kwh
from simulations.neighbourhood import Progress as RunProgress
from simulations.run import Watcher

LAST_SLOTS: Final = 8
REDRAW_S: Final = 0.1


class LiveView:
    """Draws on stderr, and only on a terminal; elsewhere it is silent."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("slots, left:"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task("", total=None)
        self._last: deque[RunProgress] = deque(maxlen=LAST_SLOTS)
        self._slot_s = 0
        self._drawn_s = 0.0
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    @property
    def watcher(self) -> Watcher:
        """What to hand to a run."""
        return Watcher(self._stage, self._progress)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _stage(self, stage: str) -> None:
        self._bar.update(self._task, description=stage)
        self._draw()

    def _progress(self, progress: RunProgress) -> None:
        self._last.append(progress)
        self._slot_s = progress.slot_s
        self._bar.update(
            self._task,
            description="trading",
            completed=progress.slots_done,
            total=progress.slots,
        )
        if wall_seconds() - self._drawn_s >= REDRAW_S or progress.slots_done == progress.slots:
            self._draw()

    def _draw(self) -> None:
        if self._live.is_started:
            self._drawn_s = wall_seconds()
            self._live.update(Group(self._table(), self._bar), refresh=True)

    def _table(self) -> Table:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("slot", "price ct/kWh", "traded kWh", "asked kWh", "bid kWh"):
            table.add_column(heading, justify="left" if heading == "slot" else "right")
        for progress in self._last:
            cleared = progress.last
            start = iso_utc(slot_start_s(progress.slot, self._slot_s))
            if cleared is None:
                table.add_row(start, "-", "-", "-", "-")
                continue
            price = "-" if cleared.price is None else f"{cent_per_kwh(cleared.price):.2f}"
            energies = (cleared.matched_wh, cleared.ask_wh, cleared.bid_wh)
            table.add_row(start, price, *(f"{kwh(energy):.3f}" for energy in energies))
        return table
