"""``daisee simulate --chain geth|besu``: a neighbourhood that lives in real time on a real network.

Nothing here is simulated but the meters: validators, relay and households are processes, slots end
by the machine's clock, and blocks come when they come. At the end the chain's own events are
audited with the reference, and written as those of any other run.
"""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from node.clock import cpu_seconds, wall_seconds
from node.errors import ConfigurationError, Disagreement
from node.market.audit import AuditReport, audit
from node.model import MarketEvent, OrderAccepted
from node.ports import IntentState
from node.store import LedgerDatabase, NodeDatabase
from simulations.generated import generate_community
from simulations.live_homes import peak_rss_kb
from simulations.live_street import LiveHome, LiveStreet, StreetPlan, Traffic
from simulations.neighbourhood import Home, Progress
from simulations.outcome import ChainUse, RunOutcome
from simulations.profiles import HomeProfile, read_community
from simulations.run import (
    Books,
    Took,
    Watcher,
    new_folder,
    outcome_of,
    peak_rss_mb,
    write_documents,
    write_slots,
)
from simulations.scenario import DEFAULT_SLOT_S, DEFAULT_START, Scenario, parse_start

__all__ = ["DEFAULT_SLOTS", "DEFAULT_VALIDATORS", "LiveReport", "live_homes", "simulate_live"]

DEFAULT_SLOTS: Final = 15
DEFAULT_VALIDATORS: Final = 4
DEFAULT_HOMES: Final = 20
DEFAULT_LIVE_SLOT_S: Final = 20

MORNING_S: Final = 9 * 3_600
"""Homes live from nine in the morning (UTC) on: there is sun, and not for everybody enough."""

LONGEST_JITTER_S: Final = 20
FOLLOWED_AFTER_S: Final = 5


@dataclass(frozen=True, slots=True)
class LiveReport:
    """What only a run in real time can tell; ``live.json`` in its folder.

    Orders: what the homes' meters gave cause for, and what became of it. Blocks are those from the
    first slot's start on. Memory is the most that each process held.
    """

    orders_expected: int
    orders_accepted: int
    orders_expired: int
    audit_differences: int
    blocks: int
    longest_gap_s: float
    reorganisations: int
    sealers_freed: int
    opened_after_s: int
    home_peak_rss_mb: tuple[float, ...]
    validator_peak_rss_mb: tuple[float, ...]
    relay_peak_rss_mb: float


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen from outside."""

    blocks: int
    longest_gap_s: float
    opened_after_s: int


@dataclass(frozen=True, slots=True)
class _Metered:
    """A home's outcome, as ``simulations.figures`` adds it up."""

    home: Home
    number: int
    storage: NodeDatabase
    deposit_units: int
    import_wh: Sequence[int]
    export_wh: Sequence[int]


async def simulate_live(
    scenario: Scenario, folder: Path, watcher: Watcher, *, validators: int, slots: int
) -> RunOutcome:
    """Run a scenario in real time and write its folder.

    Raises ConfigurationError for bad input, without the engine, and on a machine that is too slow;
    ChainUnreachable when the chain stops; Disagreement, when the folder is written, if an order was
    not accepted or the outcome is not the reference's.
    """
    began_cpu_s, began_wall_s = cpu_seconds(), wall_seconds()
    with new_folder(folder) as draft:
        watcher.stage("reading load curves" if scenario.data else "generating homes")
        slot_s = scenario.slot_s or DEFAULT_LIVE_SLOT_S
        rules = scenario.rules(slot_s)
        homes = live_homes(scenario, slots)
        plan = StreetPlan(scenario.chain, validators)
        with tempfile.TemporaryDirectory(prefix="daisee-live-") as place:
            street = LiveStreet(Path(place), homes, rules, plan, watcher.stage)
            async with _stopped_in_order(), street:
                async with street.pulse() as pulse:
                    first_block, opened_after_s = await _live(street, watcher, began_wall_s)
                watcher.stage("adding up")
                traffic = await street.traffic(first_block)
                seen = _Seen(traffic.blocks, pulse.longest_gap_s, opened_after_s)
                with ExitStack() as opened:
                    members = [_metered(home, street, opened) for home in street.homes]
                    books, checked, events = await _books(street, draft, traffic)
                    report = _report(street, members, events, checked, seen)
                    took = Took(
                        cpu_seconds() - began_cpu_s, wall_seconds() - began_wall_s, peak_rss_mb()
                    )
                    title = scenario.title or folder.name
                    outcome = outcome_of(scenario, title, rules, members, street.slots, books, took)
        write_documents(draft, scenario, rules, outcome)
        document = json.dumps(asdict(report), sort_keys=True, indent=2)
        (draft / "live.json").write_text(document + "\n", encoding="utf-8")
    _refuse_differences(folder, outcome, report, checked)
    return outcome


def live_homes(scenario: Scenario, slots: int) -> list[Home]:
    """The homes of a scenario, with as many steps of their profiles as there are slots. A step of
    the profile is lived through in a slot, however short that is."""
    if scenario.data is None:
        profiles = generate_community(
            scenario.homes or DEFAULT_HOMES,
            parse_start(scenario.start or DEFAULT_START),
            scenario.days or 1,
            DEFAULT_SLOT_S,
            scenario.seed,
        )
    else:
        profiles = read_community(scenario.data)[: scenario.homes]
    if scenario.homes is not None and len(profiles) < scenario.homes:
        raise ConfigurationError(f"{scenario.data} has {len(profiles)} homes, not {scenario.homes}")
    return [Home(_part(profile, slots), scenario.strategy_of(profile.name)) for profile in profiles]


def _part(profile: HomeProfile, slots: int) -> HomeProfile:
    """So many steps from the first morning on, or the last ones if it ends before."""
    step_s = profile.step_s
    if profile.steps < slots:
        raise ConfigurationError(
            f"home {profile.name} has {profile.steps} steps, and each of {slots} slots needs one",
            next_step="fewer slots, or more days",
        )
    morning = (MORNING_S - profile.start_s % 86_400) % 86_400 // step_s
    start_s = profile.start_s + min(morning, profile.steps - slots) * step_s
    return profile.between(start_s, start_s + slots * step_s)


async def _live(street: LiveStreet, watcher: Watcher, began_wall_s: float) -> tuple[int, int]:
    """Open the street, live through its slots and let everything become final; the block in which
    the first slot began, and how long it took to open."""
    slots, rules = await street.open(), street.rules
    opened_after_s = round(wall_seconds() - began_wall_s)
    watcher.stage("waiting for the first slot")
    await street.until(slots.start * rules.slot_s)
    first_block = await street.rpc.head()
    jitter_s = min(rules.slot_s, LONGEST_JITTER_S)
    for done, slot in enumerate(slots, start=1):
        watcher.stage("trading")
        await street.until(rules.gate_closes_s(slot) + jitter_s + FOLLOWED_AFTER_S)
        cleared = await street.cleared()
        orders = sum(isinstance(event, OrderAccepted) for event in await street.events())
        traded_wh = sum(found.matched_wh for found in cleared.values())
        watcher.progress(
            Progress(done, len(slots), slot, rules.slot_s, orders, traded_wh, cleared.get(slot))
        )
    watcher.stage("settling")
    await street.settle_rest()
    await street.until_final()
    await street.until(street.now_s() + rules.slot_s)  # every node follows once more
    await street.stop_homes()
    return first_block, opened_after_s


async def _books(
    street: LiveStreet, draft: Path, traffic: Traffic
) -> tuple[Books, AuditReport, Sequence[MarketEvent]]:
    """Write down what the chain says, and have the reference recompute it."""
    events = await street.events()
    names = {home.number: home.home.name for home in street.homes}
    with LedgerDatabase.open_to_append(draft) as ledger:
        ledger.set_names(names)
        ledger.set_facts(_facts(street))
        ledger.append(events)
        figures = write_slots(draft, ledger, street.rules, street.slots)
    fees_units = await street.fees_units()
    books = Books(figures, await street.balances(), fees_units, _use(street, traffic))
    return books, audit(events, street.rules, names), events


def _metered(home: LiveHome, street: LiveStreet, opened: ExitStack) -> _Metered:
    """What a home's node knows, beside what its meter counted: in the slots of the run."""
    profile, slots, slot_s = home.home.profile, street.slots, street.rules.slot_s
    lived = HomeProfile(profile.name, slots.start * slot_s, slot_s, profile.load_wh, profile.pv_wh)
    storage = opened.enter_context(NodeDatabase.open_read_only(home.process.folder.database))
    return _Metered(
        Home(lived, home.home.strategy),
        home.number,
        storage,
        home.deposit_units,
        home.import_wh,
        home.export_wh,
    )


def _facts(street: LiveStreet) -> Mapping[str, str | int]:
    community = street.community
    return {
        "engine": community.engine,
        "chain_id": community.chain_id,
        "market": community.market,
    }


def _use(street: LiveStreet, traffic: Traffic) -> ChainUse:
    community = street.community
    return ChainUse(
        community.engine, traffic.blocks, traffic.transactions, traffic.gas_used, community.market
    )


def _report(
    street: LiveStreet,
    members: Sequence[_Metered],
    events: Sequence[MarketEvent],
    checked: AuditReport,
    seen: _Seen,
) -> LiveReport:
    network = street.network
    trades = [trade for member in members for trade in member.storage.own_trades()]
    return LiveReport(
        orders_expected=sum(
            (energy_wh > 0)
            for member in members
            for energies in (member.import_wh, member.export_wh)
            for energy_wh in energies
        ),
        orders_accepted=sum(isinstance(event, OrderAccepted) for event in events),
        orders_expired=sum(trade.state is IntentState.EXPIRED for trade in trades),
        audit_differences=checked.difference_count,
        blocks=seen.blocks,
        longest_gap_s=round(seen.longest_gap_s, 1),
        reorganisations=sum(home.process.says("chain_reorganised") for home in street.homes),
        sealers_freed=network.freed,
        opened_after_s=seen.opened_after_s,
        home_peak_rss_mb=tuple(_mb(home.process.peak_rss_kb) for home in street.homes),
        validator_peak_rss_mb=tuple(
            _mb(peak_rss_kb(network.pid(peer.name)))
            for peer in network.network.validators
            if network.runs(peer.name)
        ),
        relay_peak_rss_mb=0.0 if street.relay is None else _mb(street.relay.look()),
    )


def _refuse_differences(
    folder: Path, outcome: RunOutcome, report: LiveReport, checked: AuditReport
) -> None:
    """Say what was not as it must be, once everything is written."""
    wrong = [difference.text for difference in checked.differences]
    if report.orders_accepted != report.orders_expected:
        wrong.append(f"{report.orders_expected} orders were due, {report.orders_accepted} accepted")
    if (outcome.energy_error_wh, outcome.money_error_units) != (0, 0):
        wrong.append(
            f"{outcome.energy_error_wh} Wh and {outcome.money_error_units} units are missing"
        )
    if any(flow.price is None and flow.traded_wh for flow in outcome.flows):
        wrong.append("energy was traded without a price")
    if wrong:
        raise Disagreement(
            f"this run is not as it must be: {wrong[0]}",
            next_step=f"look at {folder}/live.json and {folder}/report.html",
        )


def _mb(kilobytes: int) -> float:
    return round(kilobytes / 1024, 1)


@asynccontextmanager
async def _stopped_in_order() -> AsyncIterator[None]:
    """SIGTERM ends the run as Ctrl-C does: all processes are stopped before this one goes."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
