"""``daisee config``: which settings hold, and where each of them comes from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Final, TypeVar

import click

from node.cli.output import Column, example, json_option, say, say_document, say_table
from node.cli.paths import places
from node.config import NodeConfig, load_config, refuse_open_secrets
from node.config.endpoints import without_credentials
from node.service.rooms import check_rooms

__all__ = ["CONFIG_VARIABLE", "config", "config_options", "find_config", "settings_of"]

CONFIG_VARIABLE: Final = "DAISEE_CONFIG"

_SECTIONS: Final = (
    "household",
    "meter",
    "chain",
    "key",
    "strategy",
    "storage",
    "publish",
    "metrics",
    "log",
)

_F = TypeVar("_F", bound=Callable[..., object])


def config_options(command: _F) -> _F:
    """The options by which a command finds its settings."""
    options = (
        click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path, dir_okay=False),
            envvar=CONFIG_VARIABLE,
            metavar="FILE",
            help="The settings; else the user's or the service's, see 'daisee paths'.",
        ),
        click.option(
            "--set",
            "changes",
            multiple=True,
            metavar="SECTION.KEY=VALUE",
            help="One setting for this time only.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def find_config(environment: Mapping[str, str], home: Path) -> Path:
    """The user's settings if there are any, else the service's."""
    found = places(environment, home)["config"]
    return found["user"] if found["user"].exists() else found["service"]


def settings_of(config_file: Path | None, changes: tuple[str, ...]) -> NodeConfig:
    """The settings that the options of ``config_options`` name. Raises ConfigurationError."""
    path = config_file or find_config(os.environ, Path.home())
    flags: dict[str, str] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise click.BadParameter(f"{change!r} is not SECTION.KEY=VALUE", param_hint="--set")
        flags[key.strip()] = value.strip()
    return load_config(path, os.environ, flags=flags)


@click.group(short_help="Show and check the settings of a node.")
def config() -> None:
    """Show and check the settings of a node.

    A flag comes before the environment (DAISEE_CHAIN__RPC for rpc of [chain]), the environment
    before the file, the file before the default.
    """


@config.command(epilog=example("daisee config show --origin"))
@config_options
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@json_option
def show(
    *, config_file: Path | None, changes: tuple[str, ...], origin: bool, as_json: bool
) -> None:
    """Show every setting that holds. Secrets are in files of their own, and not shown."""
    settings = settings_of(config_file, changes)
    values = {
        key: without_credentials(value) if isinstance(value, str) else value
        for key, value in _values(settings)
    }
    if as_json:
        document: dict[str, object] = {"file": str(settings.file), "settings": values}
        if origin:
            document["origins"] = {key: _origin(settings, key) for key in values}
        say_document(document)
        return
    columns = [Column("setting", figures=False), Column("value", figures=False)]
    if origin:
        columns.append(Column("from", figures=False))
    rows = [
        (key, str(value), *([_origin(settings, key)] if origin else []))
        for key, value in values.items()
    ]
    say_table(columns, rows)


@config.command(epilog=example("daisee config check --config /etc/daisee/config.toml"))
@config_options
@json_option
def check(*, config_file: Path | None, changes: tuple[str, ...], as_json: bool) -> None:
    """Check the settings, and that nobody else may read the files with secrets."""
    settings = settings_of(config_file, changes)
    check_rooms(settings)
    refuse_open_secrets(settings)
    mode = "trades" if settings.trades else "paper mode: orders are written down, none is sent"
    if as_json:
        say_document({"file": str(settings.file), "ok": True, "trades": settings.trades})
    else:
        say(f"{settings.file}: all settings can be used ({mode})")


def _values(settings: NodeConfig) -> Iterator[tuple[str, object]]:
    for name in _SECTIONS:
        section = getattr(settings, name)
        if isinstance(section, Mapping):
            yield from ((f"{name}.{key}", value) for key, value in section.items())
        elif is_dataclass(section):
            for field in fields(section):
                value = getattr(section, field.name)
                yield f"{name}.{field.name}", str(value) if isinstance(value, Path) else value


def _origin(settings: NodeConfig, key: str) -> str:
    found = settings.origins.get(key)
    return "default" if found is None else str(found)
