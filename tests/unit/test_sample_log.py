"""Packed samples come back as they were, take little room, and survive what comes at them."""

from __future__ import annotations

import contextlib
import zlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.meter.sample_log import MAX_BATCHES, MAX_SAMPLES, Sample, SampleLog, pack, unpack

NOON_S = 1_764_590_400

values = st.none() | st.integers(-(2**60), 2**60)
samples = st.builds(
    Sample,
    st.integers(0, 2**40),
    values,
    values,
    values,
    values,
    st.integers(0, 2),
)


def seconds(count: int, begin_s: int = NOON_S) -> list[Sample]:
    return [Sample(begin_s + at, 29_000_000 + at // 3, 500, None, 1_200) for at in range(count)]


@given(st.lists(samples, min_size=1, max_size=50))
def test_samples_come_back_as_they_were(said: list[Sample]) -> None:
    batch = pack("m", said)
    assert unpack(batch.packed) == said
    assert (batch.from_s, batch.count) == (said[0].at_s, len(said))
    assert batch.to_s == max(sample.at_s for sample in said)


def test_a_day_of_a_meter_that_speaks_every_second_is_small() -> None:
    random = Random(5)
    register_wh, packed_bytes = 29_000_000, 0
    for quarter in range(96):
        said = []
        for second in range(900):
            power_va = random.randrange(80, 9_000)
            register_wh += power_va > random.randrange(3_600)
            said.append(
                Sample(NOON_S + 900 * quarter + second, register_wh, 32_781, None, power_va)
            )
        packed_bytes += len(pack("m", said).packed)
    assert packed_bytes < 400_000


@given(st.binary(max_size=200))
def test_other_bytes_are_no_batch(packed: bytes) -> None:
    with pytest.raises(ValueError, match="batch"):
        unpack(packed)


@given(st.binary(min_size=1, max_size=60))
def test_other_bytes_that_are_compressed_are_refused_or_read(plain: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert len(unpack(zlib.compress(b"\x01" + plain))) <= MAX_SAMPLES


def test_a_batch_that_expands_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="batch"):
        unpack(zlib.compress(b"\x01" + bytes(10_000_000)))


def test_what_is_not_durable_is_handed_over_again() -> None:
    log = SampleLog()
    for sample in seconds(10):
        log.add("m", sample)
    first = log.batches()
    assert log.batches() == first
    log.add("m", Sample(NOON_S + 10))
    both = log.batches()
    assert both[0] == first[0]
    log.drop(first)
    assert log.batches() == both[1:]
    assert [unpack(batch.packed) for batch in both] == [seconds(10), [Sample(NOON_S + 10)]]


def test_another_meter_begins_another_batch() -> None:
    log = SampleLog()
    for meter_id in ("old", "old", "new"):
        log.add(meter_id, Sample(NOON_S))
    assert [(batch.meter_id, batch.count) for batch in log.batches()] == [("old", 2), ("new", 1)]


def test_a_clock_that_was_set_back_gives_no_two_batches_one_name() -> None:
    log = SampleLog()
    for _ in range(3):
        log.add("m", Sample(NOON_S, 7))
        log.batches()
    assert [batch.from_s for batch in log.batches()] == [NOON_S, NOON_S + 1, NOON_S + 2]
    assert [unpack(batch.packed)[0].at_s for batch in log.batches()] == [NOON_S] * 3


def test_what_nobody_fetches_is_bounded() -> None:
    log = SampleLog()
    for sample in seconds(MAX_SAMPLES + 1):
        log.add("m", sample)
    assert [batch.count for batch in log.batches()] == [MAX_SAMPLES, 1]
    for at in range(MAX_BATCHES + 5):
        log.add("m", Sample(NOON_S + 10_000 + at))
        log.batches()
    assert len(log.batches()) == MAX_BATCHES
