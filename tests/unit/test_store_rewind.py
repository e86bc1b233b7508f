"""A chain that takes blocks back: a household's projection is the final chain's, whatever came."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from node.chain.outbox import Outbox
from node.model import (
    LogPosition,
    MarketEvent,
    Order,
    OrderAccepted,
    OrderSettled,
    Side,
    SignedOrder,
    SlotCleared,
)
from node.ports import IntentState
from node.store import NodeDatabase

SLOTS: Final = 6
END_OF_BLOCK: Final = 2**32 - 1
MAX_DEPTH: Final = 12

Block = tuple[MarketEvent, ...]
Draws = Sequence[int]

draws = st.lists(st.integers(0, 2**16), max_size=4)


class NoSigner:
    def sign(self, order: Order) -> bytes:
        raise AssertionError(order)


class ChainDouble:
    """Blocks of one household's events, as a market would let them follow each other."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []

    def mine(self, chosen: Draws) -> None:
        """A block with some of the events that may come now; each draw also varies its numbers."""
        block: list[MarketEvent] = []
        for draw in chosen:
            at = LogPosition(len(self.blocks), len(block))
            possible = list(self._possible([*self._events(), *block]))
            if possible:
                kind, slot, side = possible[draw % len(possible)]
                block.append(_event(kind, at, slot, side, draw))
        self.blocks.append(tuple(block))

    def _events(self) -> list[MarketEvent]:
        return [event for block in self.blocks for event in block]

    def _possible(self, past: list[MarketEvent]) -> list[tuple[type[MarketEvent], int, Side]]:
        accepted = {(e.slot, e.side) for e in past if isinstance(e, OrderAccepted)}
        cleared = {e.slot for e in past if isinstance(e, SlotCleared)}
        settled = {(e.slot, e.side) for e in past if isinstance(e, OrderSettled)}
        found: list[tuple[type[MarketEvent], int, Side]] = []
        for slot in range(SLOTS):
            if slot not in cleared:
                found.append((SlotCleared, slot, Side.BID))
            for side in Side:
                if (slot, side) not in accepted and slot not in cleared:
                    found.append((OrderAccepted, slot, side))
                if (slot, side) in accepted - settled and slot in cleared:
                    found.append((OrderSettled, slot, side))
        return found


def _event(
    kind: type[MarketEvent], at: LogPosition, slot: int, side: Side, draw: int
) -> MarketEvent:
    if kind is OrderAccepted:
        return OrderAccepted(at, slot, 7, side, 500, 9_000, draw)
    if kind is SlotCleared:
        return SlotCleared(at, slot, 7_000 if draw % 2 else None, draw, draw, draw)
    return OrderSettled(at, slot, 7, side, draw, 7_000, draw)


def _new_database() -> NodeDatabase:
    """Every order of the household is on its way before the chain begins."""
    database = NodeDatabase.open(None)
    with database.transaction():
        for slot in range(SLOTS):
            for side in Side:
                database.add_intent(SignedOrder(Order(7, slot, side, 500, 9_000), b"s" * 64))
                database.set_intent_state(slot, side, IntentState.SENT)
    return database


def _project(database: NodeDatabase, blocks: Sequence[Block], upto: LogPosition) -> None:
    """Every event after the cursor, as the daemon does it."""
    outbox = Outbox(database, NoSigner())
    for event in (event for block in blocks for event in block):
        if not database.cursor() < event.position <= upto:
            continue
        if isinstance(event, SlotCleared):
            database.add_clearing(event)
        elif isinstance(event, OrderAccepted):
            assert outbox.observe(event)
        else:
            assert isinstance(event, OrderSettled)
            database.add_settlement(event)
    database.set_cursor(upto)


def _knowledge(database: NodeDatabase) -> tuple[Any, ...]:
    return (
        database.cursor(),
        database.own_trades(),
        database.open_intents(),
        database.recent_clearings(SLOTS),  # from memory
        database.recent_clearings(10_000),  # from the file
        database.totals(),
    )


class _ForgetAgainError(Exception):
    pass


def _from_genesis(
    fresh: NodeDatabase, blocks: Sequence[Block], upto: LogPosition
) -> tuple[Any, ...]:
    """What a fresh database knows that sees nothing but these blocks; it forgets it afterwards."""
    found: list[tuple[Any, ...]] = []
    with suppress(_ForgetAgainError), fresh.transaction():
        _project(fresh, blocks, upto)
        found.append(_knowledge(fresh))
        raise _ForgetAgainError
    return found[0]


class Reorganisations(RuleBasedStateMachine):
    """Mining, following (also half a block), and reorganisations of 1 to 12 blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.chain = ChainDouble()
        self.database = _new_database()
        self.fresh = _new_database()
        self.changed = True

    @rule(chosen=draws)
    def a_block_is_mined(self, chosen: Draws) -> None:
        self.chain.mine(chosen)

    @rule()
    def the_node_follows(self) -> None:
        self._follow(LogPosition(len(self.chain.blocks) - 1, END_OF_BLOCK))

    @rule(draw=st.integers(0, 2**16), index=st.integers(0, 3))
    def the_node_follows_to_the_middle(self, draw: int, index: int) -> None:
        self._follow(LogPosition(draw % max(len(self.chain.blocks), 1), index))

    @rule(
        depth=st.integers(1, MAX_DEPTH),
        blocks=st.lists(draws, min_size=1, max_size=MAX_DEPTH + 1),
        too_far=st.integers(0, 3),
    )
    def the_chain_is_reorganised(self, depth: int, blocks: list[Draws], too_far: int) -> None:
        fork = max(len(self.chain.blocks) - depth, 0)
        del self.chain.blocks[fork:]
        for chosen in blocks:
            self.chain.mine(chosen)
        with self.database.transaction():
            self.database.rewind(LogPosition(fork - 1 - too_far, END_OF_BLOCK))
        self.changed = True

    @invariant()
    def what_it_knows_is_the_chain_up_to_the_cursor(self) -> None:
        if not self.changed:
            return
        self.changed = False
        expected = _from_genesis(self.fresh, self.chain.blocks, self.database.cursor())
        assert _knowledge(self.database) == expected

    def teardown(self) -> None:
        self.changed = True
        self.the_node_follows()
        self.what_it_knows_is_the_chain_up_to_the_cursor()
        self.database.close()
        self.fresh.close()

    def _follow(self, upto: LogPosition) -> None:
        if upto <= self.database.cursor() or not self.chain.blocks:
            return
        with self.database.transaction():
            _project(self.database, self.chain.blocks, upto)
        self.changed = True


TestReorganisations = Reorganisations.TestCase
TestReorganisations.settings = settings(
    max_examples=int(os.environ.get("DAISEE_REWIND_RUNS", "200")), stateful_step_count=50
)
