"""A database that was put back, or lost: what the chain has already is not ordered again."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from node.clock import ManualClock
from node.errors import ChainUnreachable
from node.market.strategies import FixedReserve
from node.model import EventPage, LogPosition, MarketRules, Order, Side
from node.ports import IntentState
from node.store import NodeDatabase
from tests.support.reference_street import (
    EXPORT_WH,
    HOME,
    IMPORT_WH,
    LOAD_WH,
    RULES,
    SLOT,
    START_S,
    Signer,
    Street,
    node_of,
)

OTHER = FixedReserve(ask_price=4_100, bid_price=9_000)
"""Would write other limits than the node before."""


@pytest.fixture
def street() -> Street:
    return Street(ManualClock(START_S))


async def lose_a_day(street: Street, folder: Path, *, closed: bool) -> Path:
    """A slot is ordered after a backup was made, before the slot was closed or after; then the
    disk dies. Returns the backup."""
    backup = folder / "backup.sqlite"
    with NodeDatabase.open(folder / "lost.sqlite") as storage:
        node = node_of(street, storage)
        await node.start()
        street.clock.advance_to(START_S + 901)
        if not closed:
            storage.backup(backup)
        energy, evidence = await node.close_slot(SLOT)
        if closed:
            storage.backup(backup)
        await node.order_slot(energy, evidence)
        await node.follow()
        assert storage.own_trades()[0].state is IntentState.ACCEPTED
    street.clock.advance_to(START_S + 960)
    return backup


@pytest.mark.parametrize("closed", [False, True], ids=["before closing", "after closing"])
@pytest.mark.parametrize("away_s", [0, 100], ids=["chain there", "events late"])
def test_a_database_put_back_inside_the_gate_signs_no_second_order(
    tmp_path: Path, street: Street, away_s: int, *, closed: bool
) -> None:
    """Not even while the chain takes orders and tells no events."""
    back = asyncio.run(lose_a_day(street, tmp_path, closed=closed))
    quiet_until_s = street.clock.now_s() + away_s
    events_after = street.events_after

    class Late:
        """The street, whose events are not told for a while."""

        rules_at, submit, clear = street.rules_at, street.submit, street.clear

        async def events_after(self, position: LogPosition, household: int) -> EventPage:
            if street.clock.now_s() < quiet_until_s:
                raise ChainUnreachable("no events")
            return await events_after(position, household)

    made, sent = Signer.made, len(street.sent)
    with NodeDatabase.open(back) as storage:
        node = node_of(street, storage, strategy=OTHER, market=Late())
        asyncio.run(node.run(slots=len(LOAD_WH) - 1))
        assert [s.order.slot - SLOT for s in street.sent[sent:]] == [1, 2, 4, 5, 7]
        assert Signer.made == made + 5
        first, *later = storage.own_trades()
        assert (first.order.slot, first.order.energy_wh) == (SLOT, IMPORT_WH[0])
        assert first.state is IntentState.ELSEWHERE
        assert first.settled is not None
        assert {trade.state for trade in later} == {IntentState.ACCEPTED}
        assert storage.open_intents() == []
        assert (node.counters.orders_accepted, node.counters.orders_unknown) == (5, 1)
        assert storage.totals().bought_wh >= IMPORT_WH[0]
    with NodeDatabase.open(back) as storage:  # it stays so
        asyncio.run(node_of(street, storage).run(slots=1))
        assert storage.own_trades()[0].state is IntentState.ELSEWHERE
        assert Signer.made == made + 5


def test_the_other_side_of_the_slot_is_ordered_all_the_same(street: Street) -> None:
    """A slot with import and export, of which the chain has one."""
    rules = MarketRules()
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage)
        asyncio.run(node.start())
        street.clock.advance_to(START_S + 1_800)
        known = Order(HOME, SLOT + 1, Side.BID, 77, rules.grid.cap_price)
        street.market.submit(known, street.clock.now_s())
        asyncio.run(node.run(slots=1))
        states = {(t.order.slot, t.order.side): t.state for t in storage.own_trades()}
    assert states[SLOT + 1, Side.BID] is IntentState.ELSEWHERE
    assert states[SLOT + 1, Side.ASK] is IntentState.ACCEPTED
    assert (1, Side.ASK, EXPORT_WH[1]) in street.accepted()


def test_a_lost_database_has_its_trades_again_from_the_chain(street: Street) -> None:
    with NodeDatabase.open(None) as storage:
        asyncio.run(node_of(street, storage).run(slots=len(LOAD_WH)))
        whole = storage.own_trades()
        totals = storage.totals()
    with NodeDatabase.open(None) as anew:
        asyncio.run(node_of(street, anew).follow())
        assert [(t.order, t.cleared, t.settled) for t in anew.own_trades()] == [
            (t.order, t.cleared, t.settled) for t in whole
        ]
        assert {trade.state for trade in anew.own_trades()} == {IntentState.ELSEWHERE}
        assert anew.totals().bought_wh == totals.bought_wh
        assert anew.totals().paid_units == totals.paid_units
        assert anew.open_intents() == []


def test_a_block_that_is_taken_back_takes_such_an_order_with_it(
    tmp_path: Path, street: Street
) -> None:
    """It is not sent in its place: there are no bytes of it here."""
    back = tmp_path / "copy.sqlite"
    shutil.copy(asyncio.run(lose_a_day(street, tmp_path, closed=True)), back)
    with NodeDatabase.open(back) as storage:
        asyncio.run(node_of(street, storage).follow())
        assert storage.is_elsewhere(SLOT, Side.BID)
        assert storage.intent(SLOT, Side.BID) is None
        storage.rewind(LogPosition(-1, -1))
        assert not storage.is_elsewhere(SLOT, Side.BID)
        assert storage.own_trades() == []
        assert storage.open_intents() == []
        asyncio.run(node_of(street, storage).follow())
        assert storage.is_elsewhere(SLOT, Side.BID)
    assert RULES.gate_is_open(SLOT, street.clock.now_s())
