"""``daisee simulate`` and ``daisee demo``."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from node.cli.output import example, json_option, say, say_document
from node.market.strategies import STRATEGIES
from node.units import parse_duration_s
from simulations.live import LiveView
from simulations.outcome import RunOutcome
from simulations.results import results_document
from simulations.run import simulate as run_simulation
from simulations.scenario import (
    LIVE_ENGINES,
    Scenario,
    StrategyChoice,
    parse_chain,
    parse_start,
    read_scenario,
)
from simulations.words import headline, homes_rows, moments

DEFAULT_RUNS: Final = Path("runs")
DEMO: Final = Scenario(
    title="Prats-de-Mollo",
    seed=22,
    chain="embedded",
    homes=8,
    days=1,
    start="2026-06-19",
)


@click.command(
    short_help="Simulate a neighbourhood on generated or measured homes.",
    epilog=example(
        "daisee simulate --homes 12 --days 2 --seed 7 --chain embedded --out runs/street",
        "daisee simulate --chain geth --validators 4 --homes 20 --slot 20s --gate 15s --slots 15",
    ),
)
@click.argument(
    "scenario_file", metavar="[SCENARIO.toml]", required=False, type=click.Path(path_type=Path)
)
@click.option(
    "--homes",
    type=click.IntRange(1, 10_000),
    help="How many homes.  [default: 8, or all of the data]",
)
@click.option(
    "--days", type=click.IntRange(1, 3_660), help="How many days.  [default: 1, or all of the data]"
)
@click.option("--start", metavar="DAY", help="First day of generated homes, as 2026-06-19.")
@click.option("--seed", type=int, help="Makes the run repeatable.  [default: 1]")
@click.option(
    "--slot",
    metavar="LENGTH",
    help="Market time unit: 15m, 30m, 1h.  [default: the data's own step]",
)
@click.option(
    "--gate", metavar="LENGTH", help="How long orders are accepted after each slot.  [default: 5m]"
)
@click.option(
    "--chain",
    metavar="ENGINE",
    help="reference (no chain, unsigned orders), embedded (py-evm in this process), anvil, the URL"
    " of a development chain; or geth or besu: a whole network here, in real time."
    "  [default: reference]",
)
@click.option(
    "--validators",
    type=click.IntRange(1, 21),
    help="Of a network in real time.  [default: 4]",
)
@click.option(
    "--slots",
    type=click.IntRange(1, 10_000),
    help="Of a run in real time; each lives one step of the homes' data.  [default: 15]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder of home profiles, one CSV a home.",
)
@click.option(
    "--strategy", metavar="NAME", help=f"How homes set their price: {', '.join(STRATEGIES)}."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write; must not exist.  [default: runs/N]",
)
@json_option
def simulate(
    scenario_file: Path | None,
    homes: int | None,
    days: int | None,
    start: str | None,
    seed: int | None,
    slot: str | None,
    gate: str | None,
    chain: str | None,
    data: Path | None,
    strategy: str | None,
    out: Path | None,
    *,
    validators: int | None,
    slots: int | None,
    as_json: bool,
) -> None:
    """Let N real household nodes trade over one clock, and write what came of it.

    Homes are generated (sun, weather and appliances at Prats-de-Mollo, from the seed) or read from
    a folder of load curves. A scenario file says all this and more; options win over it.
    """
    scenario = Scenario() if scenario_file is None else read_scenario(scenario_file)
    scenario = replace(
        scenario,
        homes=scenario.homes if homes is None else homes,
        days=scenario.days if days is None else days,
        start=scenario.start if start is None else _start(start),
        seed=scenario.seed if seed is None else seed,
        slot_s=scenario.slot_s if slot is None else _duration(slot, "--slot"),
        gate_s=scenario.gate_s if gate is None else _duration(gate, "--gate"),
        chain=scenario.chain if chain is None else parse_chain(chain),
        data=scenario.data if data is None else data,
        strategy=scenario.strategy if strategy is None else _strategy(strategy),
    )
    folder = _next_run() if out is None else out
    if scenario.chain in LIVE_ENGINES:
        outcome = _run_live(scenario, folder, validators, slots)
    elif validators is not None or slots is not None:
        raise click.UsageError("--validators and --slots are of --chain geth or besu")
    else:
        outcome = _run(scenario, folder)
    if as_json:
        say_document(results_document(outcome))
        return
    say(headline(outcome))
    for row in homes_rows(outcome):
        say(row)
    _say_next(folder, outcome, scenario.chain if "://" in scenario.chain else "")


@click.command(
    short_help="Watch eight homes trade for a day, with a commentary.",
    epilog=example("daisee demo", "daisee demo --out runs/demo"),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write; must not exist.  [default: runs/N]",
)
@json_option
def demo(out: Path | None, *, as_json: bool) -> None:
    """Eight generated homes live through a summer day on a chain in this process.

    Each home runs the very node that a house would run: it reads its meter, signs its orders, and
    the contract clears them every quarter of an hour.
    """
    folder = _next_run() if out is None else out
    if not as_json:
        say(
            "Eight homes in Prats-de-Mollo, in the Pyrenees, on a day in June. Five have panels\n"
            "on the roof. They are generated; the sun follows the place and the date.\n"
            "\n"
            "Each home has a node of its own. At the end of every quarter of an hour the node\n"
            "reads the meter and signs an order for exactly what was metered, and the contract\n"
            "finds one price for all. The chain is Ethereum's own machine, inside this program.\n"
            "96 slots, some seconds of patience...\n"
        )
    outcome = _run(DEMO, folder)
    if as_json:
        say_document(results_document(outcome))
        return
    for line in moments(outcome):
        say(line)
    say()
    say(headline(outcome))
    for row in homes_rows(outcome):
        say(row)
    say()
    say(
        "Nobody's electrons were steered to a neighbour: an allocation is an accounting fact\n"
        "about the shared grid. The supplier bills what is left."
    )
    _say_next(folder, outcome)


def _run(scenario: Scenario, folder: Path) -> RunOutcome:
    with LiveView() as view:
        return asyncio.run(run_simulation(scenario, folder, view.watcher))


def _run_live(
    scenario: Scenario, folder: Path, validators: int | None, slots: int | None
) -> RunOutcome:
    # web3 takes a second to load.
    from simulations.live_network import (  # noqa: PLC0415
        DEFAULT_SLOTS,
        DEFAULT_VALIDATORS,
        simulate_live,
    )

    with LiveView() as view:
        run = simulate_live(
            scenario,
            folder,
            view.watcher,
            validators=validators or DEFAULT_VALIDATORS,
            slots=slots or DEFAULT_SLOTS,
        )
        try:
            return asyncio.run(run)
        except asyncio.CancelledError:
            raise click.Abort from None  # SIGTERM, as Ctrl-C: everything is stopped


def _say_next(folder: Path, outcome: RunOutcome, url: str = "") -> None:
    busiest = max(outcome.flows, key=lambda flow: flow.traded_wh)
    daisee = _command()
    looks = {
        f"{folder}/report.html": "the run in pictures: open it in a browser",
        f"{daisee} slot --run {folder} {busiest.slot}": "why this price? the busiest slot's book",
        f"{daisee} trades --run {folder}": "who bought and sold what",
        f"{daisee} balance --run {folder}": "everybody's credit",
        f"{daisee} audit --run {folder}": "recompute every slot, and compare",
    }
    if outcome.chain.engine == "anvil" and url:
        live = f"{daisee} audit --rpc {url} --market {outcome.chain.market}"
        looks[live] = "the same from the chain itself"
    width = max(map(len, looks))
    say()
    say("What to look at next:")
    for what, why in looks.items():
        say(f"  {what:<{width}}  {why}")


def _command() -> str:
    """How this very program can be typed again: not everybody has its folder on the PATH."""
    if shutil.which("daisee"):
        return "daisee"
    return os.path.relpath(sys.argv[0]) if Path(sys.argv[0]).name == "daisee" else "daisee"


def _next_run() -> Path:
    return next(
        folder
        for number in itertools.count(1)
        if not (folder := DEFAULT_RUNS / str(number)).exists()
    )


def _duration(text: str, option: str) -> int:
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _start(text: str) -> str:
    try:
        parse_start(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is no day (2026-06-19)", param_hint="--start"
        ) from error
    return text


def _strategy(name: str) -> StrategyChoice:
    choice = StrategyChoice(name)
    choice.build()
    return choice
