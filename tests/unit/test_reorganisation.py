"""A node on a chain that takes blocks back: what it knows is the chain as it is, and nothing else.

The chain is a double that forks 1 to 12 blocks deep, also while it is read; the node, its database
and the way in which it follows are the real ones.
"""

from __future__ import annotations

import os
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from node.chain.client import END_OF_BLOCK
from node.clock import ManualClock
from node.config import load_config
from node.daemon import HouseholdNode
from node.errors import ChainUnreachable
from node.market.strategies import strategy_named
from node.meter.replay import ReplayMeter
from node.model import Household, LogPosition, MarketRules, OrderSettled, Side, SlotCleared
from node.ports import IntentState
from node.service.paper import PaperSigner
from node.service.picture import store_picture
from node.store import NodeDatabase
from tests.support.reorganised import (
    DEPTH,
    HOUSEHOLD,
    SLOTS,
    Draws,
    ForkingChain,
    ForkingMarket,
    accepted,
    order_of,
)

RULES: Final = MarketRules(slot_s=900, gate_s=900)
ALL_OPEN_S: Final = SLOTS * 900
NEVER_CLOSED: Final = MarketRules(slot_s=900, gate_s=10**9)

draws = st.lists(st.integers(0, 2**16), max_size=4)
branches = st.lists(draws, max_size=DEPTH + 1)
depths = st.integers(1, DEPTH)


def at_once(steps: Coroutine[Any, Any, None]) -> None:
    """Run what waits for nothing, as everything does here; without the cost of an event loop."""
    with pytest.raises(StopIteration):
        steps.send(None)


def new_database() -> NodeDatabase:
    """Every order of the household is on its way before the chain begins."""
    database = NodeDatabase.open(None)
    with database.transaction():
        for slot in range(SLOTS):
            for side in Side:
                database.add_intent(order_of(slot, side))
                database.set_intent_state(slot, side, IntentState.SENT)
    return database


def new_node(database: NodeDatabase, market: ForkingMarket, clock: ManualClock) -> HouseholdNode:
    return HouseholdNode(
        household=Household(HOUSEHOLD, 10_000, 10_000),
        slot_s=RULES.slot_s,
        meter=ReplayMeter("m", clock, start_s=0, step_s=900, load_wh=[0], pv_wh=[0]),
        strategy=strategy_named("fixed-reserve"),
        signer=PaperSigner(),
        market=market,
        storage=database,
        clock=clock,
        rng=random.Random(0),
        evidence_key=bytes(32),
    )


def knowledge(database: NodeDatabase) -> tuple[Any, ...]:
    cursor = database.cursor()
    return (
        (cursor, cursor.block_hash),
        database.own_trades(),
        database.open_intents(),
        database.recent_clearings(SLOTS),  # from memory
        database.recent_clearings(10_000),  # from the file
        database.totals(),
    )


def from_genesis(chain: ForkingChain, clock: ManualClock, rules: MarketRules) -> tuple[Any, ...]:
    """What a new household knows that reads this branch alone."""
    with new_database() as fresh:
        at_once(new_node(fresh, ForkingMarket(chain, rules), clock).follow())
        return knowledge(fresh)


class Reorganisations(RuleBasedStateMachine):
    """Mining, forks of 1 to 12 blocks, gates that close, and a node that follows and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.chain = ForkingChain()
        self.clock = ManualClock(0)
        self.database = new_database()
        self.node = self._started()
        self.followed = False

    @rule(chosen=draws)
    def a_block_is_mined(self, chosen: Draws) -> None:
        self.chain.mine(chosen)

    @rule(depth=depths, blocks=branches)
    def the_chain_forks(self, depth: int, blocks: list[Draws]) -> None:
        self.chain.fork(depth, blocks)

    @rule()
    def the_node_follows(self) -> None:
        at_once(self.node.follow())
        self.followed = True

    @rule(depth=depths, blocks=branches, after=st.integers(0, 6))
    def the_chain_forks_while_it_is_read(self, depth: int, blocks: list[Draws], after: int) -> None:
        def wait_and_fork(left: int) -> None:
            if left:
                self.chain.on_question = lambda: wait_and_fork(left - 1)
            else:
                self.chain.fork(depth, blocks)

        self.chain.on_question = lambda: wait_and_fork(after)
        at_once(self.node.follow())
        self.chain.on_question = None

    @rule()
    def the_node_restarts(self) -> None:
        self.node = self._started()

    @rule()
    def a_gate_closes(self) -> None:
        self.clock.advance_to(self.clock.now_s() + RULES.slot_s)

    @invariant()
    def what_it_knows_is_the_chain(self) -> None:
        """Unless this branch is shorter than the one that it knows: then it waits to see."""
        is_ahead = self.database.cursor().block > self.chain.head
        if self.followed and not is_ahead:
            assert knowledge(self.database) == from_genesis(self.chain, self.clock, RULES)
        self.followed = False

    def teardown(self) -> None:
        for _ in range(DEPTH):
            self.chain.mine([])
        self.the_node_follows()
        self.what_it_knows_is_the_chain()
        self.database.close()

    def _started(self) -> HouseholdNode:
        return new_node(self.database, ForkingMarket(self.chain, RULES), self.clock)


TestReorganisations = Reorganisations.TestCase
TestReorganisations.settings = settings(
    max_examples=int(os.environ.get("DAISEE_REORGANISATIONS", "200")),
    stateful_step_count=50,
    deadline=None,
)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("depth", range(1, DEPTH + 1))
def test_the_blocks_before_the_fork_stay_and_those_after_it_go(
    depth: int, *, restarts: bool
) -> None:
    chain, clock, database = ForkingChain(), ManualClock(ALL_OPEN_S), new_database()
    market = ForkingMarket(chain, NEVER_CLOSED)
    node = new_node(database, market, clock)
    for block in range(1, 20):
        slot, side = divmod(block - 1, 2)
        if slot < SLOTS:
            chain.add([accepted(LogPosition(block, 0), slot, Side(side))])
        else:
            chain.add([SlotCleared(LogPosition(block, 0), block, None, 0, 0, 0)])
        at_once(node.follow())
    if restarts:
        market = ForkingMarket(chain, NEVER_CLOSED)
        node = new_node(database, market, clock)
    chain.fork(depth, [[]] * (depth + 1))
    at_once(node.follow())
    kept = 19 - depth
    assert database.cursor() == LogPosition(20, END_OF_BLOCK)
    states = [trade.state for trade in database.own_trades()]
    assert states.count(IntentState.ACCEPTED) == min(kept, 2 * SLOTS)
    assert len(database.recent_clearings(99)) == max(kept - 2 * SLOTS, 0)
    assert node.status().counters.reorganisations == 1
    at_once(node.resend())  # the very bytes, of what the new branch has not accepted
    gone = [divmod(block - 1, 2) for block in range(kept + 1, 2 * SLOTS + 1)]
    assert market.submitted == [order_of(slot, Side(side)) for slot, side in gone]
    database.close()


def test_an_endpoint_that_is_behind_takes_nothing_back() -> None:
    ahead, behind = ForkingChain(), ForkingChain()
    database, clock = new_database(), ManualClock(ALL_OPEN_S)
    for chain in (ahead, behind):
        for block in (1, 2, 3):
            chain.add([accepted(LogPosition(block, 0), block, Side.BID)])
    market = ForkingMarket(ahead, NEVER_CLOSED)
    node = new_node(database, market, clock)
    at_once(node.follow())
    ahead.add([SlotCleared(LogPosition(4, 0), 1, 7_000, 1, 1, 1)])
    at_once(node.follow())
    known = knowledge(database)
    ahead.blocks.pop()  # asked now is one that has not heard of the fourth block
    at_once(node.follow())
    assert knowledge(database) == known
    restarted = new_node(database, ForkingMarket(behind, NEVER_CLOSED), clock)
    at_once(restarted.follow())
    assert knowledge(database) == known
    database.close()


@pytest.mark.parametrize(("depth", "final"), [(0, True), (6, True), (7, False), (12, False)])
def test_money_is_final_under_the_rule_of_the_engine(
    depth: int, *, final: bool, tmp_path: Path
) -> None:
    chain, clock, database = ForkingChain(), ManualClock(ALL_OPEN_S), new_database()
    slot = SLOTS - 1
    chain.add([accepted(LogPosition(1, 0), slot, Side.BID)])
    chain.add([SlotCleared(LogPosition(2, 0), slot, 7_000, 1, 1, 1)])
    chain.add([OrderSettled(LogPosition(3, 0), slot, HOUSEHOLD, Side.BID, 1, 7_000, -7_000)])
    for _ in range(6):
        chain.add([])
    at_once(new_node(database, ForkingMarket(chain, NEVER_CLOSED), clock).follow())
    settings_file = tmp_path / "daisee.toml"
    settings_file.write_text(
        '[meter]\nkind = "replay"\nfile = "home.csv"\n[chain]\nrpc = "http://127.0.0.1:1"\n'
        f'chain_id = 1\nmarket = "0x{"00" * 20}"\ntrade = true\nfinality_depth = {depth}\n'
    )
    shown = store_picture(database, load_config(settings_file, {}), clock.now_s())
    orders = cast("list[dict[str, object]]", shown["orders"])
    assert [order["final"] for order in orders if order["filled_wh"] is not None] == [final]
    assert shown["final_block"] == max(9 - depth, 0)
    database.close()


def test_a_chain_that_never_rests_is_asked_again_later() -> None:
    chain, clock, database = ForkingChain(), ManualClock(ALL_OPEN_S), new_database()
    node = new_node(database, ForkingMarket(chain, NEVER_CLOSED), clock)
    chain.mine([])

    def restless() -> None:
        chain.fork(1, [[]])
        chain.on_question = restless

    chain.on_question = restless
    with pytest.raises(ChainUnreachable, match="changed 4 times"):
        at_once(node.follow())
    chain.on_question = None
    at_once(node.follow())
    assert knowledge(database) == from_genesis(chain, clock, NEVER_CLOSED)
    database.close()
