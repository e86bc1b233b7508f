"""What a bad line can make of telegrams. Rates are measured and printed (``pytest -rP``)."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Final

import pytest

from node.meter.codec import MeterFrame
from node.meter.p1 import P1Codec
from tests.support.messages import frames_of
from tests.support.mutations import (
    Line,
    every_byte_changed,
    every_byte_doubled,
    every_byte_lost,
    mutate,
)
from tests.support.p1_telegrams import DUTCH, OLD, telegram

MODERN: Final = telegram(DUTCH)
SHORT: Final = telegram(["1-3:0.2.8(50)", "1-0:1.8.0(000025.653*kWh)"], header="/LGF5E360")
WITHOUT_CHECKSUM: Final = telegram(OLD, has_crc=False)
DRAWS: Final = 3_000

Registers = tuple[int | None, int | None]


def read(stream: bytes) -> list[MeterFrame]:
    codec = P1Codec()
    return frames_of([*codec.feed(stream), *codec.finish()])


def registers_of(frame: MeterFrame) -> Registers:
    return frame.import_wh, frame.export_wh


def wrong_registers(streams: Iterable[bytes], sent: bytes) -> int:
    """How many streams give a register that was not sent. One that says less is not wrong."""
    (good,) = read(sent)
    true = registers_of(good)
    return sum(
        any(
            said is not None and said != meant
            for frame in read(stream)
            for said, meant in zip(registers_of(frame), true, strict=True)
        )
        for stream in streams
    )


@pytest.mark.parametrize("sent", [MODERN, SHORT])
def test_one_byte_lost_or_doubled_gives_the_same_frame_or_none(sent: bytes) -> None:
    (good,) = read(sent)
    for stream in (*every_byte_lost(sent), *every_byte_doubled(sent)):
        assert read(stream) in ([], [good])


def test_one_byte_changed_gives_the_same_frame_or_none() -> None:
    (good,) = read(SHORT)
    for stream in every_byte_changed(SHORT, Line.PLAIN_8N1):
        assert read(stream) in ([], [good])


def test_without_a_checksum_one_byte_changes_no_register_where_parity_is_checked() -> None:
    lost_or_doubled = (*every_byte_lost(WITHOUT_CHECKSUM), *every_byte_doubled(WITHOUT_CHECKSUM))
    assert wrong_registers(lost_or_doubled, WITHOUT_CHECKSUM) == 0
    one_bit = (
        WITHOUT_CHECKSUM[:at] + b"\x00" + WITHOUT_CHECKSUM[at + 1 :]
        for at in range(len(WITHOUT_CHECKSUM))
    )
    assert wrong_registers(one_bit, WITHOUT_CHECKSUM) == 0


@pytest.mark.parametrize(
    ("sent", "line", "most_wrong"),
    [
        (MODERN, Line.PLAIN_8N1, 0),
        (WITHOUT_CHECKSUM, Line.CHECKED_7E1, DRAWS // 20),
        (WITHOUT_CHECKSUM, Line.UNCHECKED_7E1, DRAWS // 10),
    ],
)
def test_the_residual_rate_is_measured(sent: bytes, line: Line, most_wrong: int) -> None:
    random = Random(14)
    wrong: Counter[str] = Counter()
    for _ in range(DRAWS):
        mutant = mutate(sent, random, line)
        wrong[mutant.mutation] += wrong_registers([mutant.arrived], sent)
    sys.stdout.write(f"{line.value}: {wrong.total()} wrong registers of {DRAWS}: {dict(+wrong)}\n")
    assert wrong.total() <= most_wrong
