"""``daisee meter``: what a meter says."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

import click

from node.cli.output import (
    Column,
    energy_text,
    example,
    json_option,
    say,
    say_document,
    say_table,
)
from node.errors import ConfigurationError
from node.meter.codec import MAX_REJECTED_BYTES, MeterFrame, Rejected
from node.meter.recording import KINDS, MAX_RECORDING_BYTES, Recording, read_recording
from node.slots import iso_utc

__all__ = ["meter"]

MOST_SHOWN = 20


_LIVE: Final = {
    "detect": ("node.cli.meter_detect", "Find meters on serial ports and brokers."),
    "record": ("node.cli.meter_record", "Record what a meter says, to decode it later."),
    "watch": ("node.cli.meter_watch", "Watch what a meter says now."),
}
"""Subcommands that need a connection; they load when they are invoked. A test holds each line to
what the command says of itself."""


class _Meter(click.Group):
    """Decoding a file needs no transport: those are heavy on a small computer."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every subcommand's name, in order."""
        return sorted({*super().list_commands(ctx), *_LIVE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one subcommand."""
        if cmd_name not in _LIVE:
            return super().get_command(ctx, cmd_name)
        command = getattr(import_module(_LIVE[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command), cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of subcommands, without loading one."""
        del ctx  # it would be asked for the commands
        lines = {name: command.get_short_help_str() for name, command in self.commands.items()}
        lines |= {name: short_help for name, (_, short_help) in _LIVE.items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted(lines.items()))


@click.group(
    cls=_Meter,
    short_help="Read what a meter says.",
    epilog=example("daisee meter detect", "daisee meter decode linky.tic"),
)
def meter() -> None:
    """Read what a meter says."""


@meter.command(
    short_help="Decode a recorded file of any known meter.",
    epilog=example(
        "daisee meter decode linky.tic", "daisee meter decode --kind dsmr-p1 --json telegram.txt"
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    help="What the file is from.  [default: what it looks like]",
)
@json_option
def decode(file: Path, kind: str | None, *, as_json: bool) -> None:
    """Decode a recorded file of any known meter: its registers, and what was refused and why.

    Nothing is sent anywhere. Bytes that do not hold are refused and shown, never guessed.
    """
    recording = read_recording(_content(file), kind)
    if as_json:
        say_document(_document(recording))
        return
    _say(recording)


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_RECORDING_BYTES:
            raise ConfigurationError(
                f"is larger than {MAX_RECORDING_BYTES // 2**20} MiB",
                file=file,
                next_step="decode a part of it",
            )
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read ({error.strerror})", file=file, next_step="check the name"
        ) from error


def _document(recording: Recording) -> dict[str, object]:
    return {
        "kind": recording.kind,
        "meter_id": recording.meter_id,
        "readings": [_reading(frame) for frame in recording.frames],
        "rejected": [
            {"reason": item.reason, "raw": _raw_text(item)} for item in recording.rejected
        ],
    }


def _reading(frame: MeterFrame) -> dict[str, object]:
    reading: dict[str, object] = {
        "import_wh": frame.import_wh,
        "export_wh": frame.export_wh,
        "taken_at": None if frame.taken_at_s is None else iso_utc(frame.taken_at_s),
        "meter_id": frame.meter_id,
        "evidence_class": frame.evidence_class.value,
        "complete": frame.complete,
        "fields": dict(frame.fields),
        "notes": list(frame.notes),
    }
    # Apparent power is not power: whoever reads the one must not take it for the other.
    if frame.power_va is not None:
        reading["power_va"] = frame.power_va
    if frame.power_w is not None or frame.power_va is None:
        reading["power_w"] = frame.power_w
    return reading


def _raw_text(item: Rejected) -> str:
    """Refused bytes as text, with everything that is none escaped."""
    return item.raw[:MAX_REJECTED_BYTES].decode("ascii", "backslashreplace")


def _say(recording: Recording) -> None:
    frames, rejected = recording.frames, recording.rejected
    say(
        f"{recording.kind}, meter {recording.meter_id or 'without a name'}:"
        f" {len(frames)} readings, {len(rejected)} refusals."
    )
    if frames:
        say_table(
            (
                Column("taken at", figures=False),
                Column("import kWh"),
                Column("export kWh"),
                Column("power"),
                Column("fields"),
            ),
            [_row(frame) for frame in frames[:MOST_SHOWN]],
        )
        _say_rest(len(frames), "readings")
    for note in dict.fromkeys(note for frame in frames for note in frame.notes):
        say(f"note: {note}")
    for item in rejected[:MOST_SHOWN]:
        say(f"refused: {item.reason}: {_raw_text(item)[:60]!r}")
    _say_rest(len(rejected), "refusals")


def _say_rest(count: int, what: str) -> None:
    if count > MOST_SHOWN:
        say(f"... and {count - MOST_SHOWN} more {what}; --json has them all")


def _row(frame: MeterFrame) -> tuple[str, ...]:
    power = "-"
    if frame.power_w is not None:
        power = f"{frame.power_w} W"
    elif frame.power_va is not None:
        power = f"{frame.power_va} VA"
    return (
        "-" if frame.taken_at_s is None else iso_utc(frame.taken_at_s),
        energy_text(frame.import_wh),
        energy_text(frame.export_wh),
        power,
        str(len(frame.fields)),
    )
