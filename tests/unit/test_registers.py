"""From registers to slots: differences only, and never a Wh in a slot that is not its own."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import MeterError
from node.meter.registers import energy_between
from node.model import Quality, RegisterReading, SlotEnergy

SLOT = 1_628_064
START_S = SLOT * 900
END_S = START_S + 900


def reading(taken_at_s: int, import_wh: int, export_wh: int, meter: str = "m1") -> RegisterReading:
    return RegisterReading(meter, taken_at_s, import_wh, export_wh)


def test_a_slot_is_what_the_registers_grew_by() -> None:
    energy = energy_between(SLOT, 900, reading(START_S, 1_000, 50), reading(END_S, 1_250, 90))
    assert energy == SlotEnergy(SLOT, 250, 40, Quality.METERED)


@given(
    grown=st.lists(st.tuples(st.integers(0, 9_000), st.integers(0, 9_000)), min_size=1, max_size=50)
)
def test_slots_add_up_to_last_minus_first_register(grown: list[tuple[int, int]]) -> None:
    readings = [reading(START_S, 70_000, 30_000)]
    for more_import, more_export in grown:
        last = readings[-1]
        readings.append(
            reading(
                last.taken_at_s + 900, last.import_wh + more_import, last.export_wh + more_export
            )
        )
    energies = [
        energy_between(SLOT + i, 900, before, after)
        for i, (before, after) in enumerate(pairwise(readings))
    ]
    first, last = readings[0], readings[-1]
    assert sum(e.import_wh for e in energies) == last.import_wh - first.import_wh
    assert sum(e.export_wh for e in energies) == last.export_wh - first.export_wh
    assert {e.quality for e in energies} == {Quality.METERED}


@pytest.mark.parametrize(
    ("before_s", "after_s", "quality"),
    [
        (START_S - 90, END_S, Quality.METERED),
        (START_S - 91, END_S, Quality.ESTIMATED),
        (START_S - 86_400, END_S, Quality.ESTIMATED),
        (START_S, END_S + 90, Quality.METERED),
        (START_S, END_S + 91, Quality.ESTIMATED),
        (START_S + 700, END_S, Quality.METERED),
    ],
    ids=["early", "too early", "a day early", "late", "too late", "node began in mid-slot"],
)
def test_energy_of_another_slot_makes_an_estimate(
    before_s: int, after_s: int, quality: Quality
) -> None:
    energy = energy_between(SLOT, 900, reading(before_s, 0, 0), reading(after_s, 10, 0))
    assert (energy.import_wh, energy.quality) == (10, quality)


@pytest.mark.parametrize("fallen", [(99, 50), (100, 49)])
def test_a_register_that_fell_is_not_rebased_on(fallen: tuple[int, int]) -> None:
    with pytest.raises(MeterError, match=r"meter m1: a register fell in slot 1628064"):
        energy_between(SLOT, 900, reading(START_S, 100, 50), reading(END_S, *fallen))


def test_a_swapped_meter_needs_a_person() -> None:
    with pytest.raises(MeterError, match="begins on meter m1 and ends on meter m2") as caught:
        energy_between(SLOT, 900, reading(START_S, 9, 9), reading(END_S, 100, 100, "m2"))
    assert "confirm the meter swap" in caught.value.next_step


def test_a_meter_replaced_with_its_owners_word_goes_on_as_an_estimate() -> None:
    new = RegisterReading("m2", END_S, 130, 60, continues="m1")
    energy = energy_between(SLOT, 900, reading(START_S, 100, 50), new)
    assert energy == SlotEnergy(SLOT, 30, 10, Quality.ESTIMATED)
    with pytest.raises(MeterError, match="begins on meter m0"):
        energy_between(SLOT, 900, reading(START_S, 100, 50, "m0"), new)


def test_between_estimated_readings_everything_is_an_estimate() -> None:
    for estimated in (0, 1):
        readings = [reading(START_S, 0, 0), reading(END_S, 5, 0)]
        readings[estimated] = replace(readings[estimated], quality=Quality.ESTIMATED)
        assert energy_between(SLOT, 900, *readings).quality is Quality.ESTIMATED


def test_where_time_went_backwards_energy_is_an_estimate() -> None:
    energy = energy_between(SLOT, 900, reading(END_S + 60, 0, 0), reading(END_S, 5, 0))
    assert (energy.import_wh, energy.quality) == (5, Quality.ESTIMATED)
