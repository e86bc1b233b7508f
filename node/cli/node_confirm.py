"""``daisee node confirm``: the owner tells its node that the meter was replaced, or reset."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import click

from node.cli.config import config_options, settings_of
from node.cli.output import example, json_option, say, say_document
from node.clock import SystemClock
from node.errors import ConfigurationError, MeterSilent, Refused

__all__ = ["confirm"]

WAIT_S: Final = 20

EFFECTS: Final = {
    "swap": "the old meter's series ends with its last reading; totals go on with the new meter",
    "restart": "the register goes on from its new value; the step between counts as no energy",
}


@click.command(epilog=example("daisee node confirm swap --config /etc/daisee/config.toml"))
@click.argument("what", type=click.Choice(tuple(EFFECTS)))
@config_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def confirm(
    *, what: str, config_file: Path | None, changes: tuple[str, ...], yes: bool, as_json: bool
) -> None:
    """Say that the meter was replaced (swap) or reset (restart).

    A node never decides this by itself: it holds the new values until its owner says so. What was
    counted before stays counted. The running node answers whether it waited for this; if it did
    not, nothing changes and the exit code is 6.
    """
    from node.service.confirming import Confirmation, ask  # noqa: PLC0415 - as node run does

    config = settings_of(config_file, changes)
    database = config.storage.database
    if not database.exists():
        raise ConfigurationError(
            "there is no database yet: no node has run with these settings",
            file=database,
            next_step="start it: 'systemctl start daisee-node', or 'daisee node run'",
        )
    if not yes:
        click.confirm(f"{EFFECTS[what].capitalize()}. Go on?", abort=True, err=True)
    answer = asyncio.run(ask(database, Confirmation(what), SystemClock(), WAIT_S))
    if answer is None:
        raise MeterSilent(
            "no node answered; nothing was confirmed",
            next_step="start it, let it hear the meter, and confirm again",
        )
    if not answer.done:
        raise Refused(
            f"nothing was confirmed: {answer.why}",
            reason="nothing_to_confirm",
            next_step="'daisee node status' shows what the meter waits for",
        )
    if as_json:
        say_document({"confirmed": what})
    else:
        say(f"Confirmed: {EFFECTS[what]}.")
