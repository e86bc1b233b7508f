"""A household node's database: what it keeps, what it refuses, and what survives."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import Disagreement
from node.model import (
    BEFORE_ALL,
    MAX_ENERGY_WH,
    MAX_HOUSEHOLDS,
    MAX_PRICE,
    EvidenceClass,
    LogPosition,
    Order,
    OrderSettled,
    Quality,
    RegisterReading,
    SampleBatch,
    Side,
    SignedOrder,
    SlotCleared,
    SlotEnergy,
)
from node.ports import IntentState, NodeStorage
from node.store import NodeDatabase, OwnTotals, OwnTrade
from node.store.node_database import RECENT_CLEARINGS
from tests.support.processes import run_in_process
from tests.support.slot_life import SLOT, ask, bid, cleared, settled
from tests.support.sqlite_faults import watching

slots = st.integers(0, 2**32 - 1)
energies = st.integers(0, MAX_ENERGY_WH)
prices = st.integers(1, MAX_PRICE)
positions = st.builds(LogPosition, st.integers(0, 2**40), st.integers(0, 2**20))
readings = st.builds(
    RegisterReading,
    st.text(st.characters(codec="utf-8"), min_size=1),
    st.integers(0, 2**40),
    st.integers(0, 2**53),
    st.integers(0, 2**53),
    st.sampled_from(EvidenceClass),
    st.sampled_from(Quality),
)
signed_orders = st.builds(
    SignedOrder,
    st.builds(
        Order,
        st.integers(0, MAX_HOUSEHOLDS),
        slots,
        st.sampled_from(Side),
        energies,
        prices,
        st.binary(min_size=32, max_size=32) | st.just(bytes(32)),
    ),
    st.binary(min_size=64, max_size=64) | st.just(b""),
)
clearings = st.builds(
    SlotCleared, positions, slots, st.none() | prices, energies, energies, energies
)
settlements = st.builds(
    OrderSettled,
    positions,
    slots,
    st.integers(0, MAX_HOUSEHOLDS),
    st.sampled_from(Side),
    energies,
    st.none() | prices,
    st.integers(-(2**58), 2**58),
)


def batch(number: int) -> SampleBatch:
    """A quarter of an hour of samples."""
    return SampleBatch("m", number * 900, number * 900 + 899, 900, b"%d" % number)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite"


class TestWhatItKeeps:
    def test_it_is_the_storage_that_the_rooms_ask_for(self) -> None:
        with NodeDatabase.open(None) as database:
            storage: NodeStorage = database
            assert storage.cursor() == BEFORE_ALL

    def test_a_new_database_holds_nothing(self) -> None:
        with NodeDatabase.open(None) as database:
            assert database.last_reading() is None
            assert database.slot_energy(SLOT) is None
            assert database.intent(SLOT, Side.BID) is None
            assert list(database.open_intents()) == []
            assert list(database.recent_clearings(5)) == []
            assert list(database.own_trades()) == []
            assert database.totals() == OwnTotals(0, 0, 0, 0, 0, 0, 0)

    @given(reading=readings)
    def test_a_reading_comes_back_as_it_was(self, reading: RegisterReading) -> None:
        with NodeDatabase.open(None) as database:
            database.add_reading(reading)
            assert database.last_reading() == reading

    @given(signed=signed_orders)
    def test_an_order_comes_back_with_the_bytes_that_were_signed(self, signed: SignedOrder) -> None:
        with NodeDatabase.open(None) as database:
            database.add_intent(signed)
            assert database.intent(signed.order.slot, signed.order.side) == signed
            assert list(database.open_intents()) == [(signed, IntentState.PENDING)]

    @given(clearing=clearings, settlement=settlements, signed=signed_orders)
    def test_what_became_of_an_order_comes_back_as_it_was(
        self, clearing: SlotCleared, settlement: OrderSettled, signed: SignedOrder
    ) -> None:
        order = signed.order
        clearing = replace(clearing, slot=order.slot)
        settlement = replace(settlement, slot=order.slot, side=order.side)
        with NodeDatabase.open(None) as database:
            database.add_intent(signed)
            database.add_clearing(clearing)
            database.add_settlement(settlement)
            assert list(database.own_trades()) == [
                OwnTrade(order, IntentState.PENDING, "", clearing, settlement)
            ]
            assert list(database.recent_clearings(1)) == [clearing]

    @pytest.mark.parametrize("quality", Quality)
    def test_a_closed_slot_comes_back_with_its_quality(self, quality: Quality) -> None:
        energy = SlotEnergy(SLOT, 312, 45, quality)
        with NodeDatabase.open(None) as database:
            database.add_slot_energy(energy)
            assert database.slot_energy(SLOT) == energy
            assert database.slot_energy(SLOT + 1) is None

    def test_the_last_reading_is_the_one_kept_last_even_if_its_clock_went_back(self) -> None:
        with NodeDatabase.open(None) as database:
            database.add_reading(RegisterReading("m", 2_000, 10, 0))
            database.add_reading(RegisterReading("m", 1_000, 20, 0))
            last = database.last_reading()
            assert last is not None
            assert last.import_wh == 20

    def test_the_cursor_stays_where_it_was_set(self, path: Path) -> None:
        with NodeDatabase.open(path) as database:
            database.set_cursor(LogPosition(12, 4))
        with NodeDatabase.open(path) as database:
            assert database.cursor() == LogPosition(12, 4)

    def test_a_file_keeps_everything_for_its_owner_alone(self, path: Path) -> None:
        with NodeDatabase.open(path) as database:
            database.add_intent(bid())
        assert path.stat().st_mode & 0o077 == 0
        with NodeDatabase.open(path) as database:
            assert database.intent(SLOT, Side.BID) == bid()


class TestMeters:
    def test_a_sources_state_is_the_one_given_last(self, path: Path) -> None:
        with NodeDatabase.open(path) as database:
            assert database.meter_state("linky") is None
            database.set_meter_state("linky", '{"import_wh": 1}')
            database.set_meter_state("inverter", "")
            database.set_meter_state("linky", '{"import_wh": 2}')
        with NodeDatabase.open(path) as database:
            assert database.meter_state("linky") == '{"import_wh": 2}'
            assert database.meter_state("inverter") == ""

    def test_the_same_batch_again_changes_nothing(self) -> None:
        with NodeDatabase.open(None) as database:
            database.add_samples(batch(0))
            database.add_samples(replace(batch(0), packed=b"other"))
            database.add_samples(replace(batch(0), meter_id="other"))
            assert list(database.samples("m", 0, 900)) == [batch(0)]

    @pytest.mark.parametrize(
        ("from_s", "to_s", "numbers"),
        [
            (900, 1_800, [1]),
            (899, 1_801, [0, 1, 2]),
            (1_000, 1_001, [1]),
            (900, 900, []),
            (-5, 0, []),
            (0, 10**9, [0, 1, 2, 4]),
            (2_700, 3_600, []),  # the gap
            (3_000, 3_700, [4]),
        ],
    )
    def test_samples_are_found_by_the_time_that_they_reach_into(
        self, from_s: int, to_s: int, numbers: list[int]
    ) -> None:
        with NodeDatabase.open(None) as database:
            for number in (4, 0, 2, 1):
                database.add_samples(batch(number))
                database.add_samples(replace(batch(number), meter_id="another"))
            found = list(database.samples("m", from_s, to_s))
            assert found == [batch(number) for number in numbers]

    def test_old_samples_are_pruned_and_their_room_is_used_again(self, path: Path) -> None:
        with NodeDatabase.open(path) as database:
            with database.transaction():
                for number in range(5_000):
                    database.add_samples(batch(number))
            assert database.prune_samples(batch(4_500).to_s) == 4_500
            assert database.prune_samples(batch(4_500).to_s) == 0
            assert next(iter(database.samples("m", 0, 10**9))) == batch(4_500)
        size = path.stat().st_size
        with NodeDatabase.open(path) as database, database.transaction():
            for number in range(5_000, 9_000):
                database.add_samples(batch(number))
        assert path.stat().st_size <= size


class TestOrders:
    def test_open_orders_come_oldest_slot_first_and_leave_when_decided(self) -> None:
        with NodeDatabase.open(None) as database:
            for signed in (bid(SLOT + 2), ask(SLOT + 1), bid(SLOT + 1), bid(SLOT)):
                database.add_intent(signed)
            database.set_intent_state(SLOT, Side.BID, IntentState.SENT)
            assert list(database.open_intents()) == [
                (bid(SLOT), IntentState.SENT),
                (ask(SLOT + 1), IntentState.PENDING),
                (bid(SLOT + 1), IntentState.PENDING),
                (bid(SLOT + 2), IntentState.PENDING),
            ]
            database.set_intent_state(SLOT, Side.BID, IntentState.ACCEPTED)
            database.set_intent_state(SLOT + 1, Side.ASK, IntentState.REFUSED, "gate_not_open")
            database.set_intent_state(SLOT + 1, Side.BID, IntentState.EXPIRED)
            assert list(database.open_intents()) == [(bid(SLOT + 2), IntentState.PENDING)]
            trades = database.own_trades(SLOT, SLOT + 2)
            assert [(trade.state, trade.reason) for trade in trades] == [
                (IntentState.ACCEPTED, ""),
                (IntentState.REFUSED, "gate_not_open"),
                (IntentState.EXPIRED, ""),
            ]

    def test_a_second_order_of_a_slot_and_side_is_refused_and_the_first_stays(self) -> None:
        with NodeDatabase.open(None) as database:
            database.add_intent(bid())
            database.add_intent(ask())
            with pytest.raises(ValueError, match="already has its bid"):
                database.add_intent(bid(energy_wh=501))
            assert database.intent(SLOT, Side.BID) == bid()

    def test_a_slot_closes_once(self) -> None:
        with NodeDatabase.open(None) as database:
            database.add_slot_energy(SlotEnergy(SLOT, 1, 2))
            with pytest.raises(ValueError, match="already closed"):
                database.add_slot_energy(SlotEnergy(SLOT, 1, 2))

    def test_an_order_that_was_never_made_cannot_move_on(self) -> None:
        with NodeDatabase.open(None) as database, pytest.raises(ValueError, match="no ask"):
            database.set_intent_state(SLOT, Side.ASK, IntentState.SENT)


class TestProjection:
    def test_the_same_event_again_changes_nothing(self) -> None:
        with NodeDatabase.open(None) as database:
            for _ in range(2):
                database.add_clearing(cleared())
                database.add_settlement(settled())
            assert list(database.recent_clearings(9)) == [cleared()]
            assert database.totals().bought_wh == 400

    @pytest.mark.parametrize(
        ("other", "field"),
        [
            (replace(cleared(), price=7_100), "price was 7000, now 7100"),
            (replace(cleared(), price=None), "price was 7000, now None"),
            (replace(cleared(), bid_wh=1_001), "bid_wh"),
            (replace(cleared(), position=LogPosition(1, 1)), "position"),
        ],
    )
    def test_another_clearing_of_the_slot_is_a_disagreement(
        self, other: SlotCleared, field: str
    ) -> None:
        with NodeDatabase.open(None) as database:
            database.add_clearing(cleared())
            with pytest.raises(Disagreement, match=field):
                database.add_clearing(other)
            assert list(database.recent_clearings(1)) == [cleared()]

    def test_another_settlement_of_the_order_is_a_disagreement(self) -> None:
        with NodeDatabase.open(None) as database:
            database.add_settlement(settled())
            with pytest.raises(Disagreement, match="filled_wh was 400, now 399"):
                database.add_settlement(replace(settled(), filled_wh=399))
            with pytest.raises(Disagreement, match="household"):
                database.add_settlement(replace(settled(), household=8))

    def test_recent_clearings_are_the_newest_slots_oldest_first(self) -> None:
        with NodeDatabase.open(None) as database:
            for slot in (5, 1, 3):
                database.add_clearing(cleared(slot))
            assert [c.slot for c in database.recent_clearings(2)] == [3, 5]
            for slot in (6, 4, 2):  # 4 and 2 out of turn
                database.add_clearing(cleared(slot))
            assert [c.slot for c in database.recent_clearings(4)] == [3, 4, 5, 6]
            assert [c.slot for c in database.recent_clearings(0)] == []

    def test_recent_clearings_of_any_count(self) -> None:
        newest = 2 * RECENT_CLEARINGS
        with NodeDatabase.open(None) as database:
            assert list(database.recent_clearings(1)) == []
            for slot in range(newest):
                database.add_clearing(cleared(slot))
            for asked in (1, RECENT_CLEARINGS, RECENT_CLEARINGS + 1, newest + 1):
                expected = list(range(newest))[-asked:]
                assert [c.slot for c in database.recent_clearings(asked)] == expected

    def test_a_clearing_that_was_rolled_back_is_not_recent(self) -> None:
        def breaks(database: NodeDatabase) -> None:
            with database.transaction():
                database.add_clearing(cleared(2))
                assert [c.slot for c in database.recent_clearings(5)] == [1, 2]
                raise KeyError

        with NodeDatabase.open(None) as database:
            database.add_clearing(cleared(1))
            with pytest.raises(KeyError):
                breaks(database)
            assert [c.slot for c in database.recent_clearings(5)] == [1]


class TestRewind:
    def test_what_came_after_a_position_is_forgotten_and_nothing_else(self) -> None:
        with NodeDatabase.open(None) as database:
            for slot in (1, 2):
                database.add_intent(bid(slot))
                at = LogPosition(slot, 2)
                database.set_intent_state(slot, Side.BID, IntentState.ACCEPTED, at=at)
                database.add_clearing(cleared(slot))  # at (slot, 3)
                database.add_settlement(settled(slot))  # at (slot, 4)
            database.set_cursor(LogPosition(9, 9))
            assert len(database.recent_clearings(9)) == 2
            database.rewind(LogPosition(2, 3))
            assert database.cursor() == LogPosition(2, 3)
            assert database.recent_clearings(9) == [cleared(1), cleared(2)]
            assert [t.settled for t in database.own_trades()] == [settled(1), None]
            assert database.open_intents() == []
            database.rewind(LogPosition(1, 9))
            assert database.recent_clearings(9) == [cleared(1)]
            assert database.open_intents() == [(bid(2), IntentState.SENT)]

    def test_it_is_undone_with_the_transaction_around_it(self) -> None:
        def breaks(database: NodeDatabase) -> None:
            with database.transaction():
                database.rewind(BEFORE_ALL)
                assert (database.recent_clearings(9), database.cursor()) == ([], BEFORE_ALL)
                raise KeyError

        with NodeDatabase.open(None) as database:
            database.add_clearing(cleared())
            database.set_cursor(LogPosition(SLOT, 9))
            with pytest.raises(KeyError):
                breaks(database)
            assert database.recent_clearings(9) == [cleared()]
            assert database.cursor() == LogPosition(SLOT, 9)

    def test_it_never_moves_the_cursor_on(self) -> None:
        with NodeDatabase.open(None) as database:
            database.set_cursor(LogPosition(5, 0))
            database.rewind(LogPosition(6, 0))
            assert database.cursor() == LogPosition(5, 0)


class TestOwnTrades:
    def test_a_trade_grows_with_its_slot(self) -> None:
        with NodeDatabase.open(None) as database:
            database.add_intent(bid())
            (trade,) = database.own_trades()
            assert (trade.order, trade.cleared, trade.settled) == (bid().order, None, None)
            database.add_clearing(cleared())
            database.add_clearing(cleared(SLOT + 1))
            (trade,) = database.own_trades()
            assert (trade.cleared, trade.settled) == (cleared(), None)
            database.add_settlement(settled())
            database.add_settlement(settled(side=Side.ASK))
            (trade,) = database.own_trades()
            assert trade.settled == settled()

    def test_a_slot_without_a_price_is_told_from_one_not_yet_cleared(self) -> None:
        with NodeDatabase.open(None) as database:
            database.add_intent(bid())
            database.add_clearing(cleared(price=None))
            (trade,) = database.own_trades()
            assert trade.cleared == cleared(price=None)

    def test_totals_are_sums_over_a_range_that_leaves_out_its_end(self) -> None:
        with NodeDatabase.open(None) as database:
            for slot in range(SLOT, SLOT + 4):
                database.add_slot_energy(SlotEnergy(slot, 500, 800))
                database.add_settlement(settled(slot))
                database.add_settlement(settled(slot, Side.ASK))
            assert database.totals(SLOT + 1, SLOT + 3) == OwnTotals(
                slots=2,
                import_wh=1_000,
                export_wh=1_600,
                bought_wh=800,
                sold_wh=400,
                paid_units=5_600_000,
                earned_units=2_800_000,
            )
            assert database.totals().slots == 4
            assert database.totals(from_slot=SLOT + 3).slots == 1
            assert database.totals(to_slot=SLOT).slots == 0


class TestTransactions:
    def test_all_or_nothing(self, path: Path) -> None:
        def close_and_order(database: NodeDatabase, slot: int, signed: SignedOrder) -> None:
            with database.transaction():
                database.add_slot_energy(SlotEnergy(slot, 1, 1))
                database.add_intent(signed)
                if slot == 2:
                    raise KeyError

        with NodeDatabase.open(path) as database:
            close_and_order(database, 1, bid(1))
            with pytest.raises(KeyError):
                close_and_order(database, 2, bid(2))
            with pytest.raises(ValueError, match="already"):
                close_and_order(database, 3, bid(1))
        with NodeDatabase.open(path) as database:
            assert [database.slot_energy(slot) is not None for slot in (1, 2, 3)] == [
                True,
                False,
                False,
            ]
            assert [signed for signed, _ in database.open_intents()] == [bid(1)]

    def test_a_refused_write_that_is_handled_inside_leaves_the_rest_of_it_whole(self) -> None:
        with NodeDatabase.open(None) as database:
            with database.transaction():
                database.add_intent(bid())
                with pytest.raises(ValueError, match="already"):
                    database.add_intent(bid())
                database.add_slot_energy(SlotEnergy(SLOT, 1, 1))
            assert database.slot_energy(SLOT) is not None

    def test_one_inside_another_is_a_bug(self) -> None:
        def nest(database: NodeDatabase) -> None:
            with database.transaction():
                database.add_intent(bid())
                with database.transaction():
                    pass

        with NodeDatabase.open(None) as database:
            with pytest.raises(RuntimeError, match="inside a transaction"):
                nest(database)
            assert list(database.open_intents()) == []
            with database.transaction():
                database.add_intent(bid())
            assert len(database.open_intents()) == 1

    def test_a_commit_waits_for_the_disk(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: set[sqlite3.Connection] = set()
        monkeypatch.setattr(sqlite3, "connect", watching(opened.add))
        with NodeDatabase.open(path):
            (raw,) = opened
            assert raw.execute("PRAGMA synchronous").fetchone() == (2,)
            assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)

    def test_a_process_that_dies_inside_one_loses_nothing_committed(self, path: Path) -> None:
        died = run_in_process(
            """
            import os, sys
            from pathlib import Path
            from node.model import Order, Side, SignedOrder, SlotEnergy
            from node.store import NodeDatabase

            database = NodeDatabase.open(Path(sys.argv[1]))
            for slot in range(200):
                with database.transaction():
                    database.add_slot_energy(SlotEnergy(slot, slot, 0))
                    database.add_intent(SignedOrder(Order(7, slot, Side.BID, 5, 9_000), b"s" * 64))
                    if slot == 150:
                        os._exit(17)
            """,
            path,
        )
        assert died.returncode == 17
        with NodeDatabase.open(path) as database:
            assert [signed.order.slot for signed, _ in database.open_intents()] == list(range(150))
            assert database.totals().slots == 150
            database.add_slot_energy(SlotEnergy(150, 1, 1))
