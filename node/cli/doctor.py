"""``daisee doctor``: what is wrong with this node, and what to do about it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import click

from node.cli.config import CONFIG_VARIABLE, find_config
from node.cli.output import example, json_option, say, say_document
from node.clock import SystemClock
from node.doctor import Report, Severity, examine
from node.errors import Disagreement

__all__ = ["config_option", "doctor"]

_F = TypeVar("_F", bound=Callable[..., object])

_MARKS: Final = {Severity.OK: "ok", Severity.WARNING: "warning", Severity.ERROR: "ERROR"}


def config_option(command: _F) -> _F:
    """Which node is meant. Its settings need not be right: that is the first thing looked at."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar=CONFIG_VARIABLE,
        metavar="FILE",
        help="The settings; else the user's or the service's, see 'daisee paths'.",
    )(command)


@click.command(
    short_help="Examine this household's node.",
    epilog=example("daisee doctor --config /etc/daisee/config.toml"),
)
@config_option
@json_option
def doctor(*, config_file: Path | None, as_json: bool) -> None:
    """Examine this household's node.

    Looks at settings, clock, disk, database, meter, broker, chain and key, within ten seconds, and
    changes nothing. What each check means is in docs/doctor.md. Ends with 7 when there is an error.
    """
    file = config_file or find_config(os.environ, Path.home())
    report = asyncio.run(examine(file, os.environ, SystemClock()))
    if as_json:
        say_document(report.document())
    else:
        _say(report)
    if report.worst is Severity.ERROR:
        errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
        raise Disagreement(f"{errors} of {len(report.findings)} checks found an error")


def _say(report: Report) -> None:
    width = max(len(mark) for mark in _MARKS.values())
    for finding in report.findings:
        say(f"{finding.check}  {_MARKS[finding.severity]:{width}}  {finding.title}")
        say(f"{'':{width + 8}}{finding.evidence}")
        if finding.next_step:
            say(f"{'':{width + 8}}next: {finding.next_step}")
