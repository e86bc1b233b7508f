"""How the commands of a live meter are told which one: by flags, by a settings file, or both."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import click

from node.cli.paths import places
from node.errors import ConfigurationError, MeterSilent
from node.meter.detect import Finding, Port, listen_to_port
from node.meter.settings import KINDS, MeterSettings

__all__ = ["meter_options", "meter_table", "settings_of", "toml_text"]

COMMAND_LINE: Final = Path("command line")
"""Where a fault of a flag is said to stand."""

_PATHS: Final = frozenset({"password_file", "ca_file", "key_file", "replay"})
"""Flags whose paths start from the current folder, whatever the settings file's is."""

_F = TypeVar("_F", bound=Callable[..., object])

_OPTIONS: Final = (
    click.option(
        "--config",
        type=click.Path(path_type=Path),
        help="Settings file with a [meter] table.  [default: daisee's own]",
    ),
    click.option("--kind", type=click.Choice(list(KINDS)), help="What kind of meter it is."),
    click.option("--port", help="Serial port, best by its name in /dev/serial/by-id."),
    click.option("--baud", type=int, help="Speed of the port.  [default: tried in turn]"),
    click.option("--mode", help="Characters of the port, 7E1 or 8N1."),
    click.option("--broker", help="MQTT broker, as host or host:port."),
    click.option("--topic", help="The device's name on the broker, or the topic."),
    click.option("--user", help="User of the broker or device."),
    click.option("--password-file", help="File with the password in its first line."),
    click.option("--tls", is_flag=True, default=None, help="Speak TLS to the broker."),
    click.option("--ca-file", help="Certificate of a broker that the system does not know."),
    click.option("--url", help="Address: http://, https://, tcp:// or modbus://."),
    click.option("--key-file", help="File with the meter's key in hexadecimal."),
    click.option("--replay", help="Recorded file, or home profile, to replay."),
    click.option("--pace", type=int, help="How many times as fast as life to replay."),
)


def meter_options(command: _F) -> _F:
    """The options that name a meter."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def meter_table(config: Path | None) -> tuple[dict[str, object], Path]:
    """The ``[meter]`` table of a settings file, and the file. Raises ConfigurationError."""
    file = _default_file() if config is None else config
    try:
        with file.open("rb") as opened:
            table = tomllib.load(opened).get("meter")
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})", file=file) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"is no TOML: {error}", file=file) from error
    if not isinstance(table, dict):
        raise ConfigurationError(
            "has no [meter] table", file=file, next_step="daisee meter detect prints one"
        )
    return table, file


async def settings_of(options: Mapping[str, object]) -> MeterSettings:
    """The meter that was named. A port without a kind is listened to until it is known.

    Raises ConfigurationError, MeterSilent when the port does not say what it is, UsageError when
    nothing names a meter.
    """
    given = _given(options)
    config = given.pop("config", None)
    if config is not None or not given:
        table, file = meter_table(config if isinstance(config, Path) else None)
        return MeterSettings.from_table({**table, **given}, file)
    if "kind" not in given and "file" in given:
        given["kind"] = "replay"
    if "kind" not in given and "port" in given:
        given |= await _heard_on(str(given["port"]))
    if "kind" not in given:
        raise click.UsageError("--kind is missing; daisee meter detect says which it is")
    return MeterSettings.from_table(given, COMMAND_LINE)


def _given(options: Mapping[str, object]) -> dict[str, object]:
    given = {
        name: str(Path(str(value)).absolute()) if name in _PATHS else value
        for name, value in options.items()
        if value is not None
    }
    if "replay" in given:
        given["file"] = given.pop("replay")
    return given


async def _heard_on(port: str) -> dict[str, object]:
    click.echo(f"listening on {port} to find out what speaks there ...", err=True)
    verdict = await listen_to_port(Port(port, port))
    if verdict.finding is not Finding.SPEAKS:
        raise MeterSilent(
            f"{port}: {verdict.finding}: {verdict.reason or verdict.kind}",
            next_step="check the wires, or name the meter with --kind",
        )
    assert verdict.line is not None
    click.echo(f"{verdict.kind} at {verdict.line}", err=True)
    return {"kind": verdict.kind, "baud": verdict.line.baud}


def _default_file() -> Path:
    found = places(os.environ, Path.home())["config"]
    for file in found.values():
        if file.exists():
            return file
    raise click.UsageError(
        "which meter? Name it with --port, --broker, --url or --replay, or write a settings file:"
        " daisee meter detect prints what it needs"
    )


def toml_text(table: Mapping[str, object]) -> str:
    """A ``[meter]`` table as it is pasted into a settings file."""
    return "\n".join(["[meter]", *(f"{key} = {_toml(value)}" for key, value in table.items())])


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value)  # a TOML basic string escapes as JSON does
        case list():
            return "[\n" + "".join(f"  {_toml(part)},\n" for part in value) + "]"
        case dict():
            return "{ " + ", ".join(f"{key} = {_toml(part)}" for key, part in value.items()) + " }"
        case _:
            return str(value)
