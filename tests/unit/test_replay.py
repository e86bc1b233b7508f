from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.clock import ManualClock
from node.meter.replay import ReplayMeter
from node.model import EvidenceClass, RegisterReading
from node.ports import MeterSource

START_S = 1_464_739_200


def meter(clock: ManualClock) -> MeterSource:
    return ReplayMeter(
        "home-01",
        clock,
        start_s=START_S,
        step_s=900,
        load_wh=[100, 200, 50, 0],
        pv_wh=[0, 250, 50, 30],
        initial_import_wh=7_000,
        initial_export_wh=300,
    )


def registers_at(source: MeterSource, clock: ManualClock, unix_s: int) -> tuple[int, int]:
    clock.advance_to(unix_s)
    reading = asyncio.run(source.read())
    return reading.import_wh, reading.export_wh


def test_registers_count_completed_steps_and_pv_serves_the_load_first() -> None:
    clock = ManualClock()
    source = meter(clock)
    told = [
        registers_at(source, clock, START_S + after_s)
        for after_s in (-START_S, -1, 0, 899, 900, 1799, 1800, 2700, 3599, 3600, 10**9)
    ]
    assert told == [
        (7_000, 300),
        (7_000, 300),
        (7_000, 300),
        (7_000, 300),
        (7_100, 300),
        (7_100, 300),
        (7_100, 350),
        (7_100, 350),
        (7_100, 350),
        (7_100, 380),
        (7_100, 380),
    ]


def test_a_reading_names_its_meter_its_time_and_that_it_proves_nothing() -> None:
    source = meter(ManualClock(START_S + 1_000))
    assert asyncio.run(source.read()) == RegisterReading(
        "home-01", START_S + 1_000, 7_100, 300, EvidenceClass.C
    )


def test_load_and_pv_must_be_equally_long_and_steps_must_last() -> None:
    clock = ManualClock()
    with pytest.raises(ValueError, match="shorter"):
        ReplayMeter("home-01", clock, start_s=0, step_s=900, load_wh=[1, 2], pv_wh=[1])
    with pytest.raises(ValueError, match="steps of 0 s"):
        ReplayMeter("home-01", clock, start_s=0, step_s=0, load_wh=[1], pv_wh=[1])


@given(
    energies=st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), max_size=50),
    step_s=st.integers(1, 86_400),
    instants=st.lists(st.integers(START_S - 10**6, START_S + 10**7), max_size=20),
)
def test_registers_never_fall_and_end_at_the_sums(
    energies: list[tuple[int, int]], step_s: int, instants: list[int]
) -> None:
    clock = ManualClock()
    source = ReplayMeter(
        "home-01",
        clock,
        start_s=START_S,
        step_s=step_s,
        load_wh=[load for load, _ in energies],
        pv_wh=[pv for _, pv in energies],
    )
    told = [(0, 0)] + [registers_at(source, clock, unix_s) for unix_s in sorted(instants)]
    for (import_before, export_before), (import_wh, export_wh) in pairwise(told):
        assert import_wh >= import_before
        assert export_wh >= export_before
    assert registers_at(source, clock, START_S + 10**8) == (
        sum(max(load - pv, 0) for load, pv in energies),
        sum(max(pv - load, 0) for load, pv in energies),
    )
