"""What of a meter's totals a process passes on: never less than an earlier one did."""

from __future__ import annotations

from node.meter.believing import MeterBook
from node.service.believed import Believed
from tests.support.meter_samples import MESSAGES, NOON_S, MemoryStorage, came, frame

Totals = tuple[int | None, int | None]


class Life:
    """One process with its meter."""

    def __init__(self, storage: MemoryStorage) -> None:
        self.storage = storage
        self.believed = Believed()
        self.book = MeterBook(MESSAGES, storage.meter_state("meter"))
        self.at_s = 0

    def hears(
        self, at_s: int, import_wh: int | None, export_wh: int | None = None, meter_id: str = "m1"
    ) -> Totals:
        """The totals as they are published after a sample."""
        self.at_s = at_s
        arrived = came(NOON_S + at_s, frame(import_wh, export_wh, meter_id=meter_id))
        sample = self.book.observe(arrived)
        if sample is not None:
            self.believed.take(sample)
        return self.totals

    @property
    def totals(self) -> Totals:
        health = self.book.health(NOON_S + self.at_s, connected=True)
        return self.believed.totals_wh(health)

    def keeps(self) -> None:
        self.book.keep(self.storage)
        self.storage.commit()


def test_after_a_power_cut_nothing_is_told_before_a_sample_is_believed() -> None:
    storage = MemoryStorage()
    life = Life(storage)
    life.hears(0, 1_000_000, 500_000)
    assert life.hears(10, 1_000_010, 500_002) == (1_000_010, 500_002)
    life.keeps()
    assert life.hears(60, 1_000_112, 500_028) == (1_000_112, 500_028)
    after = Life(storage)  # what came since the last slot is lost
    assert after.totals == (None, None)
    # A glitch is held: the total would be the one from before.
    assert after.hears(70, 5, 500_030) == (None, None)
    assert after.totals == (None, None)
    heard = [after.hears(at_s, 1_000_113, 500_030) for at_s in (80, 90, 100)]
    assert heard[-1] == (1_000_113, 500_030)


def test_a_meter_that_tells_no_export_has_none() -> None:
    life = Life(MemoryStorage())
    life.hears(0, 100)
    assert life.hears(10, 101) == (101, None)
    assert life.book.at(NOON_S + 5) is not None  # a slot was closed: export counts from 0 from here
    # Its owner has the meter told to tell it: a first sample begins nothing yet.
    assert life.hears(20, 102, 5_000_000) == (102, None)
    assert life.hears(30, 103, 5_000_000) == (103, None)
    assert life.hears(40, 104, 5_000_004) == (104, 4)


def test_a_new_producer_s_register_begins_at_nothing() -> None:
    life = Life(MemoryStorage())
    life.hears(0, 100, 0)
    assert life.hears(10, 101, 0) == (101, 0)


def test_another_meter_is_told_once_it_was_heard_as_the_household_s() -> None:
    life = Life(MemoryStorage())
    life.hears(0, 100, 50)
    assert life.hears(10, 101, 51) == (101, 51)
    for at_s in (20, 30, 40):
        assert life.hears(at_s, 7_000 + at_s, 9_000, meter_id="m2") == (101, 51)
    life.book.confirm_swap()
    assert life.totals == (None, None)
    assert life.hears(50, 7_050, 9_000, meter_id="m2") == (131, 51)
