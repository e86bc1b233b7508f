"""``daisee dump``: one document to send along with a question."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from node.cli.config import find_config
from node.cli.doctor import config_option
from node.cli.output import example, json_option, say_document
from node.clock import SystemClock
from node.config import load_config
from node.doctor import dump_document, examine, page_of
from node.errors import ConfigurationError

__all__ = ["dump"]


@click.command(
    short_help="Write what helpers need to know, without what is private.",
    epilog=example("daisee dump > dump.json"),
)
@config_option
@json_option
def dump(*, config_file: Path | None, as_json: bool) -> None:  # noqa: ARG001 - it is JSON anyway
    """Write what helpers need to know, without what is private.

    One JSON document: versions, settings, what the doctor finds, how the node is. Names, addresses,
    meters, keys and passwords are left out, and so are energy and money. Read it before you send
    it.
    """
    file = config_file or find_config(os.environ, Path.home())
    report = asyncio.run(examine(file, os.environ, SystemClock()))
    say_document(dump_document(file, os.environ, report, asyncio.run(_page(file))))


async def _page(file: Path) -> Mapping[str, Any] | None:
    try:
        return await page_of(load_config(file, os.environ))
    except ConfigurationError:
        return None
