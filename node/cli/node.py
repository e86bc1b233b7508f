"""``daisee node``: run a household's node, and see how it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import click

from node.cli.config import config_options, settings_of
from node.cli.node_confirm import confirm
from node.cli.output import (
    Column,
    energy_text,
    example,
    json_option,
    money_text,
    price_text,
    say,
    say_document,
    say_table,
)
from node.clock import SystemClock
from node.config import NodeConfig
from node.errors import ConfigurationError
from node.publish.state import STATUS_SCHEMA
from node.slots import iso_utc

__all__ = ["node"]

ANSWER_S: Final = 3.0
MAX_PAGE_BYTES: Final = 2**20

Document = Mapping[str, Any]


@click.group(short_help="Run a household's node, and see how it is.")
def node() -> None:
    """Run a household's node, and see how it is."""


@node.command(epilog=example("daisee node run --config /etc/daisee/config.toml"))
@config_options
@click.option("--paper", is_flag=True, help="Sign and send nothing, whatever the settings say.")
@json_option
def run(*, config_file: Path | None, changes: tuple[str, ...], paper: bool, as_json: bool) -> None:
    """Read the meter, order, follow the chain: until SIGTERM or Ctrl-C.

    What happens is logged on stderr; a document says at the end how the node stood. Without a
    [chain] that trades, orders are only written down.
    """
    # The rooms of the service take longer to load than the other commands take to run.
    from node.service.logs import set_up_logging  # noqa: PLC0415
    from node.service.run import run_service  # noqa: PLC0415

    config = settings_of(config_file, changes)
    if paper and config.trades:
        config = settings_of(config_file, (*changes, "chain.trade=false"))
    set_up_logging(config.log)
    document = asyncio.run(run_service(config, SystemClock()))
    if as_json:
        say_document(document)


@node.command(epilog=example("daisee node status"))
@config_options
@json_option
def status(*, config_file: Path | None, changes: tuple[str, ...], as_json: bool) -> None:
    """Show how the node is: its meter, its chain, the last slots and orders, today's sums.

    Asked is the running node, on its page for this machine; if it does not answer, its database is
    read, and that is said. Without a running node the exit code is 4.
    """
    config = settings_of(config_file, changes)
    document = _from_page(config)
    is_running = document is not None
    if document is None:
        document = _from_database(config)
    if as_json:
        say_document({**document, "running": is_running})
    else:
        _say_status(config, document, is_running=is_running)
    if not is_running:
        raise click.exceptions.Exit(4)


node.add_command(confirm)


def _from_page(config: NodeConfig) -> Document | None:
    """What the running node says; None if none answers, or another program has its port."""
    host, port = config.metrics.host, config.metrics.port
    if not config.metrics.serve or port == 0:
        return None
    address = f"[{host}]" if ":" in host else host
    try:
        # This machine is asked, whatever proxy the environment names.
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"http://{address}:{port}/status.json", timeout=ANSWER_S) as answer:
            document = json.loads(answer.read(MAX_PAGE_BYTES))
    except (URLError, OSError, ValueError, HTTPException, RecursionError):
        return None
    is_ours = isinstance(document, dict) and document.get("schema") == STATUS_SCHEMA
    return document if is_ours else None


def _from_database(config: NodeConfig) -> Document:
    from node.service.picture import store_picture  # noqa: PLC0415 - see run
    from node.store import NodeDatabase  # noqa: PLC0415

    database = config.storage.database
    try:
        database.stat()
    except FileNotFoundError as error:
        raise ConfigurationError(
            "there is no database yet: no node has run with these settings",
            file=database,
            next_step="start it: 'systemctl start daisee-node', or 'daisee node run'",
        ) from error
    except PermissionError as error:
        raise ConfigurationError(
            "the database is the node's own, and this user may not read it",
            file=database,
            next_step="sudo daisee node status",
        ) from error
    with NodeDatabase.open_read_only(database) as storage:
        return store_picture(storage, config, SystemClock().now_s())


def _say_status(config: NodeConfig, document: Document, *, is_running: bool) -> None:
    now_s = SystemClock().now_s()
    if is_running:
        _say_health(config, document, now_s)
    else:
        say(f"node     does not run; this is what {config.storage.database} says")
        last_s = document["last_reading_at_s"]
        say(f"meter    last read {_ago(last_s, now_s)}")
    paper = " (paper mode: nothing is signed or sent)" if document["mode"] == "paper" else ""
    today = document["today"]
    say(
        f"today    import {energy_text(today['import_wh'])} kWh,"
        f" export {energy_text(today['export_wh'])} kWh,"
        f" bought {energy_text(today['bought_wh'])} kWh, sold {energy_text(today['sold_wh'])} kWh,"
        f" {money_text(today['amount_units'])} EUR"
    )
    say(f"slots    the last {len(document['slots'])} closed{paper}")
    say_table(
        [
            Column("start", figures=False),
            Column("import kWh"),
            Column("export kWh"),
            Column("quality", figures=False),
        ],
        [
            (
                slot["start"],
                energy_text(slot["import_wh"]),
                energy_text(slot["export_wh"]),
                slot["quality"],
            )
            for slot in document["slots"]
        ],
    )
    if document["orders"]:
        _say_orders(document)


def _say_health(config: NodeConfig, document: Document, now_s: int) -> None:
    meter, chain, clock = document["meter"], document["chain"], document["clock"]
    # A meter tells W or VA, never the one for the other.
    powers = ((meter["power_w"], "W"), (meter["power_va"], "VA"))
    power = "".join(f", {value} {unit}" for value, unit in powers if value is not None)
    say(f"meter    {meter['state']}, last heard {_ago(meter['last_frame_at_s'], now_s)}{power}")
    if meter["fault"]:
        say(f"         {meter['fault']}")
    if not chain["known"]:
        say("chain    none in the settings")
    else:
        word = "ok" if chain["reachable"] else "away"
        say(f"chain    {word} since {iso_utc(chain['since_s'])}, block {chain['block']}")
    set_by = "set from the network" if clock["synchronised"] else "not known to be set"
    ahead = clock["meter_ahead_s"]
    meter_clock = "" if ahead is None else f", the meter's is {ahead:+d} s"
    say(f"clock    {iso_utc(clock['now_s'])}, {set_by}{meter_clock}")
    end_s = (document["slot"] + 1) * config.household.slot_s
    say(f"next     the slot ends at {iso_utc(end_s)}, and is ordered then")
    backup = document["backup"]
    say(f"backup   {_ago(backup['at_s'], now_s)}")
    if backup["trouble"]:
        say(f"         {backup['trouble']}")
    for trouble in document["troubles"]:
        say(f"trouble  {trouble['step']} since {iso_utc(trouble['since_s'])}: {trouble['message']}")
        if trouble["next_step"]:
            say(f"         next: {trouble['next_step']}")


def _say_orders(document: Document) -> None:
    columns = [
        Column("slot"),
        Column("side", figures=False),
        Column("kWh"),
        Column("limit ct/kWh"),
        Column("state", figures=False),
        Column("filled kWh"),
        Column("price ct/kWh"),
        Column("final", figures=False),
    ]
    rows = [
        (
            str(order["slot"]),
            order["side"],
            energy_text(order["energy_wh"]),
            price_text(order["limit_price"]),
            order["state"],
            energy_text(order["filled_wh"]),
            price_text(order["price"]),
            "yes" if order["final"] else "" if order["filled_wh"] is None else "not yet",
        )
        for order in document["orders"]
    ]
    say_table(columns, rows)


def _ago(at_s: int | None, now_s: int) -> str:
    if at_s is None:
        return "never"
    seconds = max(now_s - at_s, 0)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
