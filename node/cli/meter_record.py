"""``daisee meter record``: raw bytes of a meter, for a test or a question."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from node.cli.interrupting import until_interrupted
from node.cli.meter_options import meter_options, settings_of
from node.cli.output import counting, example, json_option, say, say_document
from node.clock import SystemClock
from node.errors import ConfigurationError, MeterError, MeterSilent
from node.meter.recording import KINDS
from node.meter.redaction import REDACTED_KINDS, redacted
from node.meter.settings import MeterSettings, Way
from node.meter.sources import connect_for
from node.meter.tally import Tally

__all__ = ["record"]

MAX_BYTES: Final = 16 * 2**20
"""A quarter of an hour of the fastest line, or hours of any meter."""

MINUTE_S: Final = 60


@click.command(
    short_help="Record what a meter says, to decode it later.",
    epilog=example(
        "daisee meter record linky.tic --port /dev/ttyUSB0 --seconds 30",
        "daisee meter record shelly.ndjson --kind shelly --broker homeassistant.local",
        "daisee meter decode linky.tic",
    ),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@meter_options
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 86_400),
    default=MINUTE_S,
    show_default=True,
    help="How long to record.",
)
@click.option("--with-ids", is_flag=True, help="Keep the numbers of meter and delivery point.")
@json_option
def record(file: Path, seconds: float, *, with_ids: bool, as_json: bool, **options: object) -> None:
    """Record what a meter says into FILE: raw bytes of a line, or one message per line. The file
    decodes again with daisee meter decode. Ctrl-C ends it early and keeps what was heard.

    Numbers that name a Linky or a P1 meter are replaced, with right checksums, unless --with-ids is
    given: without it, what holds no whole frame is not kept. Other recordings keep the names in
    them: look before you publish one.
    """
    if file.exists():
        raise ConfigurationError("exists already", file=file, next_step="choose another name")
    recording = _Recording()
    if until_interrupted(recording.run(options, seconds)):
        click.echo("ended early", err=True)
    if recording.tally is None or not recording.content:
        raise MeterSilent(
            "nothing was heard: no file is written",
            next_step="daisee meter detect says what speaks where",
        )
    is_redacted = recording.kind in REDACTED_KINDS and not with_ids
    content = bytes(recording.content)
    kept = redacted(content, recording.kind) if is_redacted else content
    if not kept:
        raise MeterError(
            f"{len(content)} bytes were heard, and no whole frame of {recording.kind} in them in"
            " which the meter's numbers could be replaced: no file is written",
            next_step="--with-ids keeps them as they came; the file may then name the meter: look"
            " at it before you publish it",
        )
    _write(file, kept)
    if as_json:
        say_document(
            {
                "file": str(file),
                "kind": recording.kind,
                "bytes": len(kept),
                "frames": recording.tally.frames,
                "refused": recording.tally.refused,
                "is_redacted": is_redacted,
            }
        )
        return
    say(f"{file}: {len(kept)} bytes, {recording.tally.frames} frames of {recording.kind}")
    if is_redacted:
        say("the numbers of meter and delivery point are replaced; consumption is not")
    else:
        say("note: this file names the meter or device: look before you publish it")


class _Recording:
    """One run of the command."""

    def __init__(self) -> None:
        self.kind = ""
        self.content = bytearray()
        self.tally: Tally | None = None

    async def run(self, options: Mapping[str, object], seconds: float) -> None:
        """Until the time is over, the connection is lost, or MAX_BYTES are there."""
        settings = await settings_of(options)
        if settings.way in {Way.MODBUS, Way.FILE} or settings.kind not in (*KINDS, "json"):
            raise ConfigurationError(
                f"a meter of kind {settings.kind} cannot be recorded",
                next_step="record one on a serial line, a broker or over HTTP",
            )
        self.kind = settings.kind
        tally = self.tally = Tally(settings)
        try:
            async with asyncio.timeout(seconds):
                await self._listen(settings, tally)
        except TimeoutError:
            return
        except MeterSilent as error:
            if not self.content:
                raise
            click.echo(f"ended early: {error.message}", err=True)

    async def _listen(self, settings: MeterSettings, tally: Tally) -> None:
        with counting("frames") as advance:
            async with connect_for(settings, SystemClock(), self._keep)() as transport:
                async for arrived in transport.arrivals():
                    if tally.observe(arrived) is not None:
                        advance(1)
                    if len(self.content) >= MAX_BYTES:
                        return

    def _keep(self, chunk: bytes) -> None:
        self.content += chunk[: MAX_BYTES - len(self.content)]


def _write(file: Path, content: bytes) -> None:
    try:
        with file.open("xb") as opened:
            opened.write(content)
    except OSError as error:
        raise ConfigurationError(f"cannot be written ({error.strerror})", file=file) from error
