"""Where daisee keeps its files: a user's under XDG, a service's under /etc and /var/lib."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from node.cli.output import Column, example, json_option, say_document, say_table

__all__ = ["paths", "places"]

_SERVICE: Final = {
    "config": Path("/etc/daisee/config.toml"),
    "database": Path("/var/lib/daisee/node.db"),
    "keystore": Path("/var/lib/daisee/keystore"),
}
_XDG: Final = {
    "config": ("XDG_CONFIG_HOME", ".config", "config.toml"),
    "database": ("XDG_STATE_HOME", ".local/state", "node.db"),
    "keystore": ("XDG_DATA_HOME", ".local/share", "keystore"),
}


def places(environment: Mapping[str, str], home: Path) -> dict[str, dict[str, Path]]:
    """Each kind of file with its place for a ``user`` and for a ``service``.

    As the XDG specification has it, a variable that is empty or no absolute path is ignored.
    """
    found = {}
    for kind, (variable, below_home, name) in _XDG.items():
        base = Path(environment.get(variable, ""))
        folder = base if base.is_absolute() else home / below_home
        found[kind] = {"user": folder / "daisee" / name, "service": _SERVICE[kind]}
    return found


@click.command(
    short_help="Show where settings, database and keys are kept.", epilog=example("daisee paths")
)
@json_option
def paths(*, as_json: bool) -> None:
    """Show where daisee keeps its settings, its database and its keys.

    There is one place for a user and one for a service of the system.
    """
    found = places(os.environ, Path.home())
    if as_json:
        say_document(
            {kind: {who: str(path) for who, path in row.items()} for kind, row in found.items()}
        )
        return
    columns = [Column(heading, figures=False) for heading in ("what", "of a user", "of a service")]
    rows = [(kind, str(row["user"]), str(row["service"])) for kind, row in found.items()]
    say_table(columns, rows)
