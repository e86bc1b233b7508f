"""A chain that is put back further than any engine goes by itself, as from a backup of all of its
machines: a household knows the chain as it is now, also when it was off meanwhile."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.chain.heads import MAX_BEHIND, FollowedChain
from node.clock import ManualClock
from node.daemon import HouseholdNode
from node.errors import ChainUnreachable
from node.model import LogPosition, MarketRules, Side
from node.ports import IntentState
from node.store import NodeDatabase
from node.store.checkpoints import SPACING, superseded
from tests.support.reorganised import ForkingChain, ForkingMarket, accepted
from tests.unit.test_reorganisation import (
    ALL_OPEN_S,
    NEVER_CLOSED,
    RULES,
    at_once,
    from_genesis,
    knowledge,
    new_database,
    new_node,
)

LONG: Final = 300


class FarBack(ForkingChain):
    """Goes back as far as it is told."""

    def put_back(self, to_block: int) -> None:
        del self.blocks[to_block + 1 :], self._hashes[to_block + 1 :]


class UsualMarket(ForkingMarket):
    """Followed as a household follows a real chain, in pages of any length."""

    def __init__(self, chain: ForkingChain, rules: MarketRules = NEVER_CLOSED) -> None:
        super().__init__(chain, rules)
        self._followed = FollowedChain(chain)


def grow(chain: ForkingChain, to_block: int, rng: random.Random) -> None:
    while chain.head < to_block:
        chain.mine([rng.randrange(2**16)] if rng.random() < 0.05 else [])


@settings(max_examples=60, deadline=None)
@given(
    depth=st.integers(1, LONG - 1),
    follows=st.integers(1, 60),
    restarts=st.booleans(),
    longer=st.integers(1, 120),
    seed=st.integers(0, 2**32),
)
def test_a_chain_put_back_is_followed_as_if_it_were_read_for_the_first_time(
    depth: int, follows: int, longer: int, seed: int, *, restarts: bool
) -> None:
    chain, clock, rng = FarBack(), ManualClock(ALL_OPEN_S), random.Random(seed)
    with new_database() as database:
        node = new_node(database, UsualMarket(chain), clock)
        for number in range(1, follows + 1):
            grow(chain, LONG * number // follows, rng)
            at_once(node.follow())
        chain.put_back(LONG - depth)
        if restarts:
            node = new_node(database, UsualMarket(chain), clock)
        while chain.head < LONG + longer:
            grow(chain, chain.head + rng.randrange(1, 60), rng)
            follow_or_wait(node)
        at_once(node.follow())
        assert knowledge(database) == from_genesis(chain, clock, NEVER_CLOSED)


def follow_or_wait(node: HouseholdNode) -> None:
    """While the new chain is much shorter, it may still be the old one half read."""
    with suppress(ChainUnreachable):
        at_once(node.follow())


def test_a_file_keeps_what_a_restart_goes_back_to(tmp_path: Path) -> None:
    chain, clock = FarBack(), ManualClock(ALL_OPEN_S)
    path = tmp_path / "node.db"
    with NodeDatabase.open(path) as database:
        node = new_node(database, UsualMarket(chain), clock)
        for _ in range(10):
            grow(chain, chain.head + SPACING, random.Random(1))
            at_once(node.follow())
        known = database.cursor().before
        assert [at.block for at in known][-1] == chain.head
    with NodeDatabase.open(path) as database:
        assert database.cursor().before == known
        assert [at.block_hash for at in database.cursor().before] == [at.block_hash for at in known]


def test_while_the_new_chain_is_much_shorter_nothing_is_given_up_and_it_is_told() -> None:
    """An order accepted meanwhile was shown as expired, and no trouble with it."""
    chain, clock = FarBack(), ManualClock(0)
    with new_database() as database:
        node = new_node(database, UsualMarket(chain, RULES), clock)
        grow_empty(chain, LONG)
        at_once(node.follow())
        chain.put_back(120)
        node = new_node(database, UsualMarket(chain, RULES), clock)
        chain.add([accepted(LogPosition(121, 0), 0, Side.BID)])
        clock.advance_to(5_000)
        with pytest.raises(ChainUnreachable, match="block 121; block 300 was read before"):
            at_once(node.follow())
        assert IntentState.EXPIRED not in {trade.state for trade in database.own_trades()}
        grow_empty(chain, LONG + 1)
        at_once(node.follow())
        (first,) = [t for t in database.own_trades() if (t.order.slot, t.order.side) == (0, 1)]
        assert first.state is IntentState.ACCEPTED


def test_an_endpoint_a_few_blocks_behind_is_waited_for_without_a_word() -> None:
    chain, clock = FarBack(), ManualClock(ALL_OPEN_S)
    with new_database() as database:
        node = new_node(database, UsualMarket(chain), clock)
        grow_empty(chain, LONG)
        at_once(node.follow())
        known = knowledge(database)
        chain.put_back(LONG - MAX_BEHIND)
        at_once(node.follow())
        assert knowledge(database) == known


def grow_empty(chain: ForkingChain, to_block: int) -> None:
    while chain.head < to_block:
        chain.add([])


def test_years_of_a_chain_are_a_few_checkpoints_of_every_age() -> None:
    with NodeDatabase.open(None) as database:
        for block in range(0, 3_000_000, 1_000):
            database.set_cursor(LogPosition(block, 0, block.to_bytes(32)))
        kept = [at.block for at in database.cursor().before]
    assert len(kept) < 50
    newest = kept[-1]
    for back in (1_000, 10_000, 100_000, 1_000_000, 2_900_000):
        nearest = max(block for block in kept if block <= newest - back)
        assert newest - nearest <= 4 * back, back


@given(st.sets(st.integers(0, 10**6), max_size=40))
def test_the_oldest_and_the_newest_always_stay(blocks: set[int]) -> None:
    gone = superseded(blocks)
    assert set(gone) <= blocks - {min(blocks, default=0), max(blocks, default=0)}
