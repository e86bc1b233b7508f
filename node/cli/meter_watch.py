"""``daisee meter watch``: what a meter says now, and how well it is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from node.cli.interrupting import until_interrupted
from node.cli.meter_options import meter_options, settings_of
from node.cli.output import energy_text, example, json_option, say, say_document
from node.clock import SystemClock
from node.errors import MeterSilent
from node.meter.settings import MeterSettings
from node.meter.sources import connect_for
from node.meter.tally import MeterTally, Tally
from node.slots import iso_utc

__all__ = ["watch"]


@click.command(
    short_help="Watch what a meter says now.",
    epilog=example(
        "daisee meter watch --port /dev/ttyUSB0",
        "daisee meter watch --kind shelly --url http://192.168.1.30 --seconds 60 --json",
    ),
)
@meter_options
@click.option("--seconds", type=click.FloatRange(0.1, 86_400), help="Stop after this time.")
@click.option("--frames", type=click.IntRange(1, 1_000_000), help="Stop after so many frames.")
@json_option
def watch(seconds: float | None, frames: int | None, *, as_json: bool, **options: object) -> None:
    """Watch what a meter says: power, registers, and the share of what was refused for its checksum
    or form. W are watts, VA apparent power, which is more. "held" counts values that a node would
    not have believed. Ends with Ctrl-C.

    With --json it needs --seconds or --frames, and prints one document at the end.
    """
    if as_json and seconds is None and frames is None:
        raise click.UsageError(
            "--json needs --seconds or --frames: it prints one document, at the end"
        )
    watching = _Watching(frames, is_silent=as_json)
    if until_interrupted(watching.run(options, seconds)):
        click.echo(err=True)  # the line on which ^C stands
    tally = watching.tally
    if tally is None:
        return
    if as_json:
        say_document(_document(tally))
    else:
        say(_summary(tally))
    if watching.lost is not None and not (tally.frames and tally.is_replay):
        raise watching.lost
    if not tally.frames:
        raise MeterSilent(
            "no frame was understood",
            next_step="daisee meter detect tries every speed; docs/meters.md says how to connect",
        )


class _Watching:
    """One run of the command."""

    def __init__(self, frames: int | None, *, is_silent: bool) -> None:
        self._frames = frames
        self._is_silent = is_silent
        self.tally: Tally | None = None
        self.lost: MeterSilent | None = None

    async def run(self, options: Mapping[str, object], seconds: float | None) -> None:
        """Until the time is over, the frames are there, or the connection is lost."""
        settings = await settings_of(options)
        tally = self.tally = Tally(settings)
        with _showing(tally, is_silent=self._is_silent) as show:
            try:
                async with asyncio.timeout(seconds):
                    await self._listen(settings, tally, show)
            except TimeoutError:
                return
            except MeterSilent as error:
                self.lost = error

    async def _listen(
        self, settings: MeterSettings, tally: Tally, show: Callable[[MeterTally], None]
    ) -> None:
        async with connect_for(settings, SystemClock())() as transport:
            async for arrived in transport.arrivals():
                meter = tally.observe(arrived)
                if meter is not None:
                    show(meter)
                if self._frames is not None and tally.frames >= self._frames:
                    return


def _showing(
    tally: Tally, *, is_silent: bool
) -> AbstractContextManager[Callable[[MeterTally], None]]:
    """A table that stays in place on a terminal, a line for each frame elsewhere."""
    if is_silent:
        return nullcontext(lambda _: None)
    console = Console()
    if console.is_terminal:
        return _Screen(tally, console)
    told: set[str] = set()

    def line(meter: MeterTally) -> None:
        for note in tally.notes:
            if note not in told:
                told.add(note)
                say(f"note: {note}")
        say("  ".join(_cells(meter)))

    return nullcontext(line)


class _Screen(AbstractContextManager[Callable[[MeterTally], None]]):
    """The table on a terminal."""

    def __init__(self, tally: Tally, console: Console) -> None:
        self._tally = tally
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Callable[[MeterTally], None]:
        self._live.__enter__()
        return self._show

    def __exit__(self, *about: object) -> None:
        self._live.stop()

    def _show(self, _: MeterTally) -> None:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for heading in ("heard", "meter", "power", "import kWh", "export kWh", "class", "held"):
            table.add_column(heading, justify="left" if heading in {"heard", "meter"} else "right")
        for meter in self._tally.meters.values():
            table.add_row(*(Text(cell) for cell in _cells(meter)))
        notes = [Text(f"note: {note}") for note in self._tally.notes]
        self._live.update(Group(table, Text(_counts(self._tally)), *notes), refresh=True)


def _cells(meter: MeterTally) -> tuple[str, ...]:
    return (
        iso_utc(meter.last_at_s),
        meter.meter_id,
        meter.power_text,
        energy_text(meter.import_wh),
        energy_text(meter.export_wh),
        meter.evidence_class,
        str(meter.held),
    )


def _counts(tally: Tally) -> str:
    return (
        f"{tally.frames} frames, {tally.refused} of {tally.accepted + tally.refused} refused"
        f" ({tally.refused_ppm / 10_000:.2f} %), {tally.held} values held"
    )


def _summary(tally: Tally) -> str:
    lines = [_counts(tally)]
    if tally.retained:
        lines.append(f"{tally.retained} messages had been kept by the broker: they may be old")
    lines += [f"refused: {reason}" for reason in tally.reasons[-3:]]
    return "\n".join(lines)


def _document(tally: Tally) -> dict[str, object]:
    return {
        "frames": tally.frames,
        "accepted": tally.accepted,
        "refused": tally.refused,
        "refused_ppm": tally.refused_ppm,
        "retained": tally.retained,
        "held": tally.held,
        "notes": list(tally.notes),
        "refusals": list(tally.reasons),
        "meters": [_meter_document(meter) for meter in tally.meters.values()],
    }


def _meter_document(meter: MeterTally) -> dict[str, object]:
    document: dict[str, object] = {
        "meter_id": None if meter.meter_id == "-" else meter.meter_id,
        "kind": meter.kind,
        "evidence_class": meter.evidence_class,
        "frames": meter.frames,
        "heard_at": iso_utc(meter.last_at_s),
        "import_wh": meter.import_wh,
        "export_wh": meter.export_wh,
        "held": meter.held,
    }
    if meter.power_va is not None:
        document["power_va"] = meter.power_va
    if meter.power_w is not None or meter.power_va is None:
        document["power_w"] = meter.power_w
    return document
