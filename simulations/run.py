"""One run, from a scenario to its folder: ``results.json``, ``slots.jsonl``, ``report.html``, the
ledger that ``daisee slot``, ``trades``, ``balance`` and ``audit`` read, and the scenario itself.

The folder appears whole or not at all: everything is written beside it and moved at the end.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node import __version__
from node.clock import ManualClock, cpu_seconds, wall_seconds
from node.errors import ConfigurationError
from node.market.history import slot_line
from node.market.strategies import MarketView
from node.model import MarketRules, Side
from node.store import LedgerDatabase
from simulations.exchange import Exchange, ReferenceExchange
from simulations.figures import (
    Figures,
    Metered,
    flows_of,
    home_outcome,
    metering_error_wh,
    money_error_units,
    records_of,
)
from simulations.generated import generate_community
from simulations.neighbourhood import Home, Neighbourhood, Progress
from simulations.outcome import ChainUse, RunOutcome
from simulations.profiles import HomeProfile, read_community, whole_slots
from simulations.report import render_report
from simulations.results import results_document
from simulations.scenario import (
    DEFAULT_SLOT_S,
    DEFAULT_START,
    Scenario,
    parse_start,
    scenario_text,
)

DAY_S: Final = 86_400
DEFAULT_HOMES: Final = 8
BEFORE_FIRST_SLOT_S: Final = 3_600
"""The run begins an hour before the first slot: deployment and admissions take their blocks."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """Whom a run tells how it goes on; both may do nothing."""

    stage: Callable[[str], None]
    progress: Callable[[Progress], None]


async def simulate(scenario: Scenario, folder: Path, watcher: Watcher) -> RunOutcome:
    """Run a scenario and write its folder.

    Raises ConfigurationError for bad input and for a folder that exists, ChainUnreachable or
    ChainMismatch for a chain that cannot be used.
    """
    began_cpu_s, began_wall_s = cpu_seconds(), wall_seconds()
    with new_folder(folder) as draft:
        watcher.stage("reading load curves" if scenario.data else "generating homes")
        homes, rules = homes_and_rules(scenario)
        clock = ManualClock(homes[0].profile.start_s - BEFORE_FIRST_SLOT_S)
        watcher.stage(f"opening the {scenario.chain} market for {len(homes)} homes")
        exchange = await open_exchange(scenario, rules, clock)
        try:
            with LedgerDatabase.open_to_append(draft) as ledger:
                run = Neighbourhood(homes, exchange, clock, ledger, scenario.seed)
                await run.run(watcher.progress)
                watcher.stage("adding up")
                figures = write_slots(draft, ledger, rules, run.slots)
                balances = {
                    number: await exchange.balance_units(number) for number in figures.names
                }
                fees_units = await exchange.fees_units()
                use = await exchange.use()
        finally:
            await exchange.close()
        took = Took(cpu_seconds() - began_cpu_s, wall_seconds() - began_wall_s, peak_rss_mb())
        books = Books(figures, balances, fees_units, use)
        title = scenario.title or folder.name
        outcome = outcome_of(scenario, title, rules, run.members, run.slots, books, took)
        write_documents(draft, scenario, rules, outcome)
    return outcome


@dataclass(frozen=True, slots=True)
class Took:
    """What a run cost this machine."""

    cpu_s: float
    wall_s: float
    peak_rss_mb: float


@dataclass(frozen=True, slots=True)
class Books:
    """What the market itself says at the end: its events added up, and its own accounts."""

    figures: Figures
    balances: Mapping[int, int]
    fees_units: int
    use: ChainUse


def write_slots(draft: Path, ledger: LedgerDatabase, rules: MarketRules, slots: range) -> Figures:
    """Write ``slots.jsonl`` from the ledger, adding it up on the way."""
    figures = Figures(rules, ledger.names())
    with (draft / "slots.jsonl").open("w", encoding="utf-8") as lines:
        for record in figures.watch(records_of(ledger, rules, slots)):
            line = slot_line(record, rules.slot_s, figures.names)
            lines.write(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n")
    return figures


def outcome_of(
    scenario: Scenario,
    title: str,
    rules: MarketRules,
    members: Sequence[Metered],
    slots: range,
    books: Books,
    took: Took,
) -> RunOutcome:
    """Everything that a report needs."""
    figures = books.figures
    money_error = money_error_units(figures, members, books.balances, books.fees_units)
    return RunOutcome(
        title=title,
        slot_s=rules.slot_s,
        seed=scenario.seed,
        version=__version__,
        tariffs=scenario.tariffs,
        network_fee=rules.network_fee,
        floor_price=rules.grid.floor_price,
        cap_price=rules.grid.cap_price,
        flows=flows_of(members, figures, slots),
        homes=tuple(home_outcome(member, figures, scenario.tariffs) for member in members),
        biggest_trades=figures.biggest_trades(),
        orders=figures.orders,
        energy_error_wh=figures.energy_error_wh + metering_error_wh(members),
        money_error_units=money_error,
        chain=books.use,
        cpu_s=round(took.cpu_s, 3),
        wall_s=round(took.wall_s, 3),
        peak_rss_mb=took.peak_rss_mb,
    )


def write_documents(
    draft: Path, scenario: Scenario, rules: MarketRules, outcome: RunOutcome
) -> None:
    """Write the scenario, ``results.json`` and ``report.html``."""
    (draft / "scenario.toml").write_text(scenario_text(scenario, rules), encoding="utf-8")
    document = json.dumps(results_document(outcome), sort_keys=True, indent=2)
    (draft / "results.json").write_text(document + "\n", encoding="utf-8")
    (draft / "report.html").write_text(render_report(outcome), encoding="utf-8")


def peak_rss_mb() -> float:
    """The peak resident memory of the largest process of the run: this one, or one it started."""
    processes = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return round(max(resource.getrusage(who).ru_maxrss for who in processes) / 1024, 1)


def homes_and_rules(scenario: Scenario) -> tuple[list[Home], MarketRules]:
    """The homes of a scenario, cut to whole slots of its span, and the rules they trade under."""
    if scenario.data is not None and scenario.start is not None:
        raise ConfigurationError(
            "a first day is given, and load curves that begin when they begin",
            next_step="leave out the start, or the data",
        )
    if scenario.data is None:
        slot_s = scenario.slot_s or DEFAULT_SLOT_S
        profiles = generate_community(
            scenario.homes or DEFAULT_HOMES,
            parse_start(scenario.start or DEFAULT_START),
            scenario.days or 1,
            slot_s,
            scenario.seed,
        )
    else:
        profiles = read_community(scenario.data)
        slot_s = scenario.slot_s or profiles[0].step_s
        profiles = [
            _first_days(whole_slots(profile, slot_s), scenario.days)
            for profile in _first_homes(profiles, scenario)
        ]
    rules = scenario.rules(slot_s)
    homes = [Home(profile, scenario.strategy_of(profile.name)) for profile in profiles]
    unknown = sorted(set(scenario.strategies) - {home.name for home in homes})
    if unknown:
        raise ConfigurationError(
            f"a strategy is given for {unknown[0]!r}, but no home has that name",
            next_step=f"homes: {', '.join(home.name for home in homes[:20])}",
        )
    for home in homes:
        _try_strategy(home, rules)
    return homes, rules


async def open_exchange(scenario: Scenario, rules: MarketRules, clock: ManualClock) -> Exchange:
    """The market that a scenario asks for, open for members. Engines load when asked for only."""
    if scenario.chain == "reference":
        return ReferenceExchange(rules, clock)
    # web3 and py-evm take a second to load and 60 MB to keep.
    from simulations.chain_exchange import open_chain  # noqa: PLC0415

    return await open_chain(scenario.chain, rules, clock, scenario.seed)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A draft beside ``folder`` that becomes it on leaving, and vanishes on failure, as do the
    folders that were made for it."""
    if folder.exists():
        raise ConfigurationError(
            f"the output folder {folder} exists",
            next_step="name another one; nothing is ever overwritten",
        )
    draft = folder.parent / f".{folder.name}.part"
    new_parents = [parent for parent in folder.parents if not parent.exists()]  # innermost first
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if draft.exists():
            shutil.rmtree(draft)  # what an interrupted run left
        draft.mkdir()
    except OSError as error:
        raise ConfigurationError(
            f"cannot write to {folder.parent} ({error.strerror})",
            next_step="choose a folder that this user may write to",
        ) from error
    try:
        yield draft
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        with suppress(OSError):  # somebody else may use them by now
            for parent in new_parents:
                parent.rmdir()
        raise
    draft.rename(folder)


def _first_homes(profiles: list[HomeProfile], scenario: Scenario) -> list[HomeProfile]:
    wanted = scenario.homes or len(profiles)
    if wanted > len(profiles):
        raise ConfigurationError(
            f"{scenario.data} has {len(profiles)} homes, not {wanted}",
            next_step="ask for fewer homes, or leave out the data to have them generated",
        )
    return profiles[:wanted]


def _first_days(profile: HomeProfile, days: int | None) -> HomeProfile:
    if days is None:
        return profile
    end_s = profile.start_s + days * DAY_S
    if end_s > profile.end_s:
        held = (profile.end_s - profile.start_s) / DAY_S
        raise ConfigurationError(f"home {profile.name} has {held:g} days of data, not {days}")
    return profile.between(profile.start_s, end_s)


def _try_strategy(home: Home, rules: MarketRules) -> None:
    """Have a first price from it: one that does not fit the rules is better refused now."""
    for side in Side:
        home.strategy.limit_price(side, MarketView(rules, random.Random(0)))
