"""Where the commands that look at a market read it: a finished run's folder, or a live chain.

A run left its ledger behind. Of a live chain one is made, in memory, from all of the market's
events up to the head: then both answer alike.
"""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Final, Protocol, TypeVar

import click

from node.cli.output import counting
from node.errors import ConfigurationError
from node.market.history import SlotRecord, rebuild
from node.model import (
    BEFORE_ALL,
    MAX_HOUSEHOLDS,
    EventPage,
    LogPosition,
    MarketEvent,
    MarketRules,
    RulesScheduled,
)
from node.slots import iso_utc, parse_iso_utc, slot_at, slot_start_s
from node.store import LedgerDatabase

__all__ = [
    "EventPages",
    "MarketPast",
    "ledger_from",
    "open_past",
    "source_options",
]

SLOTS_AT_ONCE: Final = 2_000
"""Slots whose events are in memory at a time."""

_F = TypeVar("_F", bound=Callable[..., object])


class EventPages(Protocol):
    """A market on a chain, page by page."""

    async def events_after(self, position: LogPosition) -> EventPage:
        """The next page of events after a position. May raise ChainUnreachable."""
        ...


class MarketPast:
    """What the commands ask of a source, in the words that a person types.

    Raises ConfigurationError where the source has no market rules: nothing can be read without.
    """

    def __init__(self, source: LedgerDatabase, where: str) -> None:
        self.source = source
        self.where = where
        self.names = dict(source.names())
        self.scheduled = list(source.events(kinds=(RulesScheduled,)))
        first = next((e for e in self.scheduled if isinstance(e, RulesScheduled)), None)
        if first is None:
            raise ConfigurationError(
                f"{where} holds no market rules, so its events cannot be read",
                next_step="make the run again, or check the market's address",
            )
        self.rules: MarketRules = first.rules
        self.slot_s = first.rules.slot_s

    def record(self, slot: int) -> SlotRecord:
        """One slot's record; of a slot in which nobody ordered, an empty one."""
        records = rebuild(chain(self.scheduled, self.source.events(slot=slot)), self.rules)
        return records[0] if records else SlotRecord(slot, self.rules)

    def records(self, from_slot: int, to_slot: int) -> Iterator[SlotRecord]:
        """The records of the slots from one (included) to another (not included)."""
        for start in range(from_slot, to_slot, SLOTS_AT_ONCE):
            events = self.source.events(
                from_slot=start, to_slot=min(start + SLOTS_AT_ONCE, to_slot)
            )
            yield from rebuild(chain(self.scheduled, events), self.rules)

    def all_events(self) -> Iterable[MarketEvent]:
        """Every event, in chain order."""
        return self.source.events()

    def name_of(self, household: int) -> str:
        """A household's name, its number if it has none."""
        return self.names.get(household, str(household))

    def household(self, text: str) -> int:
        """The household that a person means by a name or a number.

        Raises click.BadParameter when there is none.
        """
        by_name = {name: number for number, name in self.names.items()}
        if text in by_name:
            return by_name[text]
        if text.isdecimal() and self._is_household(int(text)):
            return int(text)
        close = difflib.get_close_matches(text, by_name, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        known = f"It has: {', '.join(self.names.values())}." if self.names else "Give its number."
        raise click.BadParameter(f"{self.where} has no household {text!r}.{hint} {known}")

    def _is_household(self, number: int) -> bool:
        if number in self.names:
            return True
        return number <= MAX_HOUSEHOLDS and any(True for _ in self.source.events(household=number))

    def slot(self, text: str) -> int:
        """The slot that a person means by its number or by an instant in it.

        Raises click.BadParameter when the text is neither, or the slot is not in the source.
        """
        slot = int(text) if text.isdecimal() else slot_at(self._instant_s(text), self.slot_s)
        known = self.source.slots()
        if slot not in known:
            raise click.BadParameter(f"{self.where} has no slot {text}. {self._span_text(known)}")
        return slot

    def first_slot_from(self, text: str) -> int:
        """The first slot that starts at or after a slot number or an instant."""
        if text.isdecimal():
            return int(text)
        return -(-self._instant_s(text) // self.slot_s)

    def _instant_s(self, text: str) -> int:
        """An instant, or a day, which begins at midnight UTC."""
        try:
            return parse_iso_utc(text if "T" in text else f"{text}T00:00:00Z")
        except ValueError:
            raise click.BadParameter(
                f"{text!r} is no slot number, no day (2016-06-01) and no instant"
                " (2016-06-01T12:00:00Z)."
            ) from None

    def _span_text(self, slots: range) -> str:
        if not slots:
            return "Nobody has ordered anything in it yet."
        first = iso_utc(slot_start_s(slots[0], self.slot_s))
        last = iso_utc(slot_start_s(slots[-1], self.slot_s))
        return f"Its slots run from {slots[0]} ({first}) to {slots[-1]} ({last})."


def _address(_ctx: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    if text is not None and re.fullmatch(r"0x[0-9a-fA-F]{40}", text) is None:
        raise click.BadParameter(f"{text!r} is no address: 0x and 40 hexadecimal digits.")
    return text


def source_options(command: _F) -> _F:
    """The options that say which market a command looks at."""
    options = (
        click.option(
            "--run",
            "run_folder",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="The folder of a finished run.",
        ),
        click.option(
            "--rpc", metavar="URL", help="A node of a live chain, or file:PATH; needs --market."
        ),
        click.option(
            "--market",
            metavar="ADDRESS",
            callback=_address,
            help="The market's contract on that chain.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@contextmanager
def open_past(run_folder: Path | None, rpc: str | None, market: str | None) -> Iterator[MarketPast]:
    """Open the market that the options of ``source_options`` name.

    Raises click.UsageError when they name none or two, ConfigurationError when the folder is not
    that of a finished run, ChainUnreachable or ChainMismatch from a live chain.
    """
    if (run_folder is None) == (rpc is None):
        raise click.UsageError(
            "Say which market: --run DIR for a finished run,"
            " or --rpc URL --market ADDRESS for a live chain."
        )
    if (rpc is None) != (market is None):
        raise click.UsageError("--rpc URL and --market ADDRESS go together.")
    if run_folder is not None:
        source, where = LedgerDatabase.open(run_folder), str(run_folder)
    else:
        source, where = asyncio.run(_ledger_of(rpc or "", market or "")), f"the market {market}"
    with source:
        yield MarketPast(source, where)


async def _ledger_of(rpc: str, market: str) -> LedgerDatabase:
    # web3 takes longer to load than most commands take to run.
    from node.chain.client import MarketClient  # noqa: PLC0415
    from node.chain.http import http_rpc  # noqa: PLC0415

    async with http_rpc(rpc) as connection:
        return await ledger_from(await MarketClient.connect(connection, market))


async def ledger_from(pages: EventPages) -> LedgerDatabase:
    """A ledger in memory of all events up to the head of the chain."""
    position = BEFORE_ALL
    with counting("events read") as advance, ExitStack() as unfinished:
        ledger = unfinished.enter_context(LedgerDatabase.open_to_append(None))
        # The chain has an end, and each page but the last ends nearer to it.
        while (page := await pages.events_after(position)).more:
            ledger.append(page.events)
            advance(len(page.events))
            assert page.upto > position, position
            position = page.upto
        ledger.append(page.events)
        unfinished.pop_all()
        return ledger
