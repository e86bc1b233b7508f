"""A community's ledger: every market event comes back as it was, in the order of its chain."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import ConfigurationError, Disagreement
from node.model import (
    BEFORE_ALL,
    MAX_ENERGY_WH,
    MAX_HOUSEHOLDS,
    MAX_PRICE,
    Deposited,
    LogPosition,
    MarketEvent,
    MarketRules,
    OrderAccepted,
    OrderRefused,
    OrderSettled,
    PriceGrid,
    Refusal,
    RulesScheduled,
    Side,
    SlotCleared,
    Withdrawn,
)
from node.store import LEDGER_FILE, LedgerDatabase, NodeDatabase
from node.store.sqlite import ROWS_AT_ONCE
from tests.support.processes import run_in_process

SLOT = 400_000

positions = st.builds(LogPosition, st.integers(0, 40), st.integers(0, 9))
slots = st.integers(SLOT, SLOT + 4)
households = st.integers(1, 3) | st.just(MAX_HOUSEHOLDS)
sides = st.sampled_from(Side)
energies = st.integers(0, MAX_ENERGY_WH)
sums = st.integers(0, 2**42)
prices = st.integers(1, MAX_PRICE)
credit = st.integers(0, 2**256 - 1) | st.sampled_from([2**63 - 1, 2**63, 10**8])
grids = st.builds(PriceGrid, st.integers(1, 10_000), st.sampled_from([2, 100]), st.integers(1, 224))
rules = st.builds(
    MarketRules,
    st.integers(10, 3_600),
    st.integers(-7_200, 7_200),
    st.integers(1, 900),
    grids,
    st.integers(0, MAX_PRICE),
    st.text("0123456789abcdefABCDEFx", max_size=42),
)
kinds_of_event: dict[type[MarketEvent], st.SearchStrategy[MarketEvent]] = {
    OrderAccepted: st.builds(
        OrderAccepted,
        positions,
        slots,
        households,
        sides,
        energies,
        prices,
        sums,
        st.binary(min_size=32, max_size=32) | st.just(bytes(32)),
    ),
    OrderRefused: st.builds(
        OrderRefused,
        positions,
        slots,
        st.integers(0, 2**32 - 1),
        st.integers(0, 255),
        st.sampled_from(Refusal),
    ),
    SlotCleared: st.builds(SlotCleared, positions, slots, st.none() | prices, sums, sums, sums),
    OrderSettled: st.builds(
        OrderSettled,
        positions,
        slots,
        households,
        sides,
        energies,
        st.none() | prices,
        st.integers(-(2**58), 2**58),
    ),
    Deposited: st.builds(Deposited, positions, households, credit),
    Withdrawn: st.builds(Withdrawn, positions, households, credit),
    RulesScheduled: st.builds(RulesScheduled, positions, st.integers(1, 99), slots, rules),
}
chains = st.lists(
    st.one_of(list(kinds_of_event.values())), max_size=40, unique_by=lambda event: event.position
)


def place(event: MarketEvent) -> LogPosition:
    return event.position


def cleared(slot: int, price: int | None = 9_000) -> SlotCleared:
    return SlotCleared(LogPosition(slot, 0), slot, price, 1, 2, 3)


def files_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def a_long_chain(slot_count: int) -> list[MarketEvent]:
    events: list[MarketEvent] = []
    for slot in range(slot_count):
        for number in (1, 2, 3):
            at = LogPosition(2 * slot, number)
            evidence = bytes([number]) * 32
            events.append(OrderAccepted(at, slot, number, Side.BID, 5, 9_000, 0, evidence))
        events.append(SlotCleared(LogPosition(2 * slot + 1, 0), slot, None, 0, 0, 15))
    return events


class TestEvents:
    @pytest.mark.parametrize("kind", kinds_of_event, ids=lambda kind: kind.__name__)
    def test_every_kind_comes_back_as_it_was(self, kind: type[MarketEvent]) -> None:
        @given(event=kinds_of_event[kind])
        def comes_back(event: MarketEvent) -> None:
            with LedgerDatabase.open_to_append(None) as ledger:
                ledger.append([event])
                (kept,) = ledger.events()
                assert kept == event
                assert type(kept) is kind
                assert ledger.last_position() == event.position

        comes_back()

    @given(
        chain=chains,
        cuts=st.randoms(use_true_random=False),
        slot=st.none() | slots,
        household=st.none() | households,
        from_slot=st.none() | slots,
        to_slot=st.none() | slots,
        kinds=st.none() | st.sets(st.sampled_from(list(kinds_of_event))),
    )
    def test_any_chain_is_read_in_its_order_through_any_filter(
        self,
        chain: list[MarketEvent],
        cuts: random.Random,
        slot: int | None,
        household: int | None,
        from_slot: int | None,
        to_slot: int | None,
        kinds: set[type[MarketEvent]] | None,
    ) -> None:
        def passes(event: MarketEvent) -> bool:
            own_slot = getattr(event, "slot", None)
            own_household = getattr(event, "household", None)
            return (
                (kinds is None or type(event) in kinds)
                and (household is None or own_household == household)
                and (slot is None or own_slot == slot)
                and (from_slot is None or (own_slot is not None and own_slot >= from_slot))
                and (to_slot is None or (own_slot is not None and own_slot < to_slot))
            )

        cut = cuts.randint(0, len(chain))
        with LedgerDatabase.open_to_append(None) as ledger:
            ledger.append(chain[cut:])
            ledger.append(chain[:cut])
            read = ledger.events(
                slot=slot, household=household, from_slot=from_slot, to_slot=to_slot, kinds=kinds
            )
            assert list(read) == sorted(filter(passes, chain), key=place)
            assert ledger.last_position() == max(map(place, chain), default=BEFORE_ALL)

    def test_more_events_than_are_held_in_memory(self, tmp_path: Path) -> None:
        chain = a_long_chain(ROWS_AT_ONCE)
        with LedgerDatabase.open_to_append(tmp_path) as ledger:
            ledger.append(event for event in reversed(chain))
        with LedgerDatabase.open(tmp_path) as ledger:
            assert list(ledger.events()) == chain
            assert ledger.slots() == range(ROWS_AT_ONCE)

    def test_slots_reach_from_the_first_to_the_last_that_was_ordered_or_cleared(self) -> None:
        with LedgerDatabase.open_to_append(None) as ledger:
            assert ledger.slots() == range(0)
            ledger.append([Deposited(LogPosition(0, 0), 1, 5)])
            assert ledger.slots() == range(0)
            ledger.append([OrderAccepted(LogPosition(1, 0), 12, 1, Side.ASK, 5, 9_000, 0)])
            assert ledger.slots() == range(12, 13)
            ledger.append([cleared(15)])
            assert ledger.slots() == range(12, 16)


class TestAppending:
    def test_the_same_events_again_change_nothing(self) -> None:
        chain = a_long_chain(5)
        with LedgerDatabase.open_to_append(None) as ledger:
            ledger.append(chain[:7])
            ledger.append(chain + chain)
            assert list(ledger.events()) == chain

    def test_another_event_at_a_position_is_a_disagreement_and_nothing_is_added(self) -> None:
        with LedgerDatabase.open_to_append(None) as ledger:
            ledger.append([cleared(5)])
            with pytest.raises(Disagreement, match=r"price=9000.*price=9100"):
                ledger.append([cleared(4), cleared(5, 9_100), cleared(6)])
            assert list(ledger.events()) == [cleared(5)]

    def test_a_source_that_breaks_adds_nothing(self) -> None:
        def breaks() -> list[MarketEvent]:
            raise KeyError

        with LedgerDatabase.open_to_append(None) as ledger:
            with pytest.raises(KeyError):
                ledger.append(event for part in (lambda: [cleared(1)], breaks) for event in part())
            assert list(ledger.events()) == []

    def test_an_observer_goes_on_where_it_was(self, tmp_path: Path) -> None:
        chain = a_long_chain(4)
        with LedgerDatabase.open_to_append(tmp_path) as ledger:
            ledger.append(chain[:6])
            ledger.set_names({1: "mill"})
        with LedgerDatabase.open_to_append(tmp_path) as ledger:
            upto = ledger.last_position()
            assert upto == chain[5].position
            ledger.append(event for event in chain if event.position > upto)
        with LedgerDatabase.open(tmp_path) as ledger:
            assert list(ledger.events()) == chain
            assert ledger.names() == {1: "mill"}

    def test_a_process_that_dies_while_appending_loses_no_earlier_call(
        self, tmp_path: Path
    ) -> None:
        died = run_in_process(
            """
            import os, sys
            from pathlib import Path
            from node.model import LogPosition, SlotCleared
            from node.store import LedgerDatabase

            def chain():
                for slot in range(100, 10_000):
                    if slot == 9_000:
                        os._exit(17)
                    yield SlotCleared(LogPosition(slot, 0), slot, None, 0, 0, 0)

            ledger = LedgerDatabase.open_to_append(Path(sys.argv[1]))
            for slot in range(100):
                ledger.append([SlotCleared(LogPosition(slot, 0), slot, None, 0, 0, 0)])
            ledger.append(chain())
            """,
            tmp_path,
        )
        assert died.returncode == 17
        with LedgerDatabase.open(tmp_path) as ledger:
            assert ledger.slots() == range(100)


class TestFacts:
    def test_names_and_facts_keep_their_types_and_take_new_values(self, tmp_path: Path) -> None:
        with LedgerDatabase.open_to_append(tmp_path) as ledger:
            assert ledger.names() == {}
            assert ledger.facts() == {}
            ledger.set_names({12: "école", 3: "mill"})
            ledger.set_names({3: "the mill"})
            ledger.set_facts({"slot_s": 900, "title": "900", "engine": "reference"})
            ledger.set_facts({"engine": "embedded"})
        with LedgerDatabase.open(tmp_path) as ledger:
            assert list(ledger.names().items()) == [(3, "the mill"), (12, "école")]
            assert ledger.facts() == {"engine": "embedded", "slot_s": 900, "title": "900"}


class TestOpening:
    def test_a_closed_ledger_is_one_file_that_reading_does_not_touch(self, tmp_path: Path) -> None:
        with LedgerDatabase.open_to_append(tmp_path) as ledger:
            ledger.append(a_long_chain(9))
        assert files_in(tmp_path) == [LEDGER_FILE]
        before = (tmp_path / LEDGER_FILE).read_bytes()
        with LedgerDatabase.open(tmp_path) as ledger:
            assert len(list(ledger.events(slot=3))) == 4
            assert files_in(tmp_path) == [LEDGER_FILE]
        assert (tmp_path / LEDGER_FILE).read_bytes() == before

    def test_a_ledger_opened_for_reading_refuses_to_be_written(self, tmp_path: Path) -> None:
        LedgerDatabase.open_to_append(tmp_path).close()
        with (
            LedgerDatabase.open(tmp_path) as ledger,
            pytest.raises(ConfigurationError, match="readonly"),
        ):
            ledger.append([cleared(1)])

    def test_a_growing_ledger_is_read_without_stopping_its_writer(self, tmp_path: Path) -> None:
        chain = a_long_chain(4)
        with LedgerDatabase.open_to_append(tmp_path) as writer:
            writer.append(chain[:8])
            reader = LedgerDatabase.open(tmp_path)
            reading = reader.events()
            assert next(reading) == chain[0]
            writer.append(chain[8:])
            assert list(reading) == chain[1:8]
        assert list(reader.events()) == chain
        reader.close()
        with LedgerDatabase.open(tmp_path) as ledger:
            assert list(ledger.events()) == chain

    def test_a_path_with_signs_that_addresses_use(self, tmp_path: Path) -> None:
        folder = tmp_path / "run 1?mode=rwc#é%20"
        folder.mkdir()
        with LedgerDatabase.open_to_append(folder) as ledger:
            ledger.append([cleared(1)])
        with LedgerDatabase.open(folder) as ledger:
            assert list(ledger.events()) == [cleared(1)]

    def test_a_folder_without_one(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="no ledger") as caught:
            LedgerDatabase.open(tmp_path)
        assert caught.value.file == tmp_path / LEDGER_FILE
        assert "folder of a finished run" in caught.value.next_step
        assert files_in(tmp_path) == []

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="no ledger"):
            LedgerDatabase.open(tmp_path / "absent")
        with pytest.raises(ConfigurationError, match="no such folder"):
            LedgerDatabase.open_to_append(tmp_path / "absent")
        assert not (tmp_path / "absent").exists()

    @pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"nothing\n" * 999])
    def test_a_damaged_one(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / LEDGER_FILE
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match=str(file)) as caught:
            LedgerDatabase.open(tmp_path)
        assert caught.value.next_step
        assert file.read_bytes() == content

    def test_a_truncated_one(self, tmp_path: Path) -> None:
        with LedgerDatabase.open_to_append(tmp_path) as ledger:
            ledger.append(a_long_chain(500))
        file = tmp_path / LEDGER_FILE
        file.write_bytes(file.read_bytes()[: 5 * 4096 + 7])
        with pytest.raises(ConfigurationError, match="damaged"):
            LedgerDatabase.open(tmp_path)

    def test_damage_inside_is_told_when_it_is_met(self, tmp_path: Path) -> None:
        with LedgerDatabase.open_to_append(tmp_path) as ledger:
            ledger.append(a_long_chain(500))
        file = tmp_path / LEDGER_FILE
        whole = bytearray(file.read_bytes())
        whole[20 * 4096 :] = b"\xa5" * (len(whole) - 20 * 4096)
        file.write_bytes(whole)
        with (
            LedgerDatabase.open(tmp_path) as ledger,
            pytest.raises(ConfigurationError, match="damaged"),
        ):
            list(ledger.events())

    @pytest.mark.parametrize("opened", [LedgerDatabase.open, LedgerDatabase.open_to_append])
    def test_a_later_version_says_what_to_do(self, tmp_path: Path, opened: object) -> None:
        LedgerDatabase.open_to_append(tmp_path).close()
        later = sqlite3.connect(tmp_path / LEDGER_FILE)
        later.execute("PRAGMA user_version = 999")
        later.close()
        assert callable(opened)
        with pytest.raises(ConfigurationError, match="version 999") as caught:
            opened(tmp_path)
        assert "install the daisee that wrote it" in caught.value.next_step

    def test_a_nodes_database_is_no_ledger(self, tmp_path: Path) -> None:
        NodeDatabase.open(tmp_path / "node.sqlite").close()
        shutil.copy(tmp_path / "node.sqlite", tmp_path / LEDGER_FILE)
        with pytest.raises(ConfigurationError, match="not a ledger"):
            LedgerDatabase.open(tmp_path)
