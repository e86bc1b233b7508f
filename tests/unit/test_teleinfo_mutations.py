"""What a bad line can make of Linky frames. Rates are measured and printed (``pytest -rP``)."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

import pytest

from node.meter.codec import MeterFrame
from node.meter.teleinfo import TeleinfoCodec, TeleinfoGuard, TicMode
from tests.support.mutations import (
    Line,
    add_noise,
    every_byte_changed,
    every_byte_doubled,
    every_byte_lost,
    mutate,
)
from tests.support.teleinfo_frames import HistoricMeter, StandardMeter

LINES: Final = (Line.CHECKED_7E1, Line.UNCHECKED_7E1, Line.PLAIN_8N1)
HISTORIC: Final = HistoricMeter("BASE", {"BASE": 2_809_718}, "TH..")
TEMPO: Final = HistoricMeter()
STANDARD: Final = StandardMeter(export_wh=32_781)
START_S: Final = STANDARD.at_s

Values = tuple[str | int | None, ...]


def read(stream: bytes, mode: TicMode) -> list[MeterFrame]:
    codec = TeleinfoCodec(mode)
    decoded = [*codec.feed(stream), *codec.finish()]
    assert codec.buffered_bytes == 0
    return [one for one in decoded if isinstance(one, MeterFrame)]


def says_other(frame: MeterFrame, good: MeterFrame) -> bool:
    """Whether a frame says anything that the good one does not say."""
    return not (
        frame.fields.items() <= good.fields.items()
        and frame.meter_id in {None, good.meter_id}
        and frame.import_wh in {None, good.import_wh}
        and frame.export_wh in {None, good.export_wh}
        and frame.power_va in {None, good.power_va}
        and frame.taken_at_s in {None, good.taken_at_s}
    )


def others(streams: Iterator[bytes], sent: bytes, mode: TicMode) -> tuple[int, int]:
    """How many damaged frames say something else, of how many."""
    (good,) = read(sent, mode)
    wrong = total = 0
    for stream in streams:
        total += 1
        wrong += any(says_other(frame, good) for frame in read(stream, mode))
    return wrong, total


def telling(sent: bytes, line: Line) -> Iterator[bytes]:
    """The changes of one byte that have a chance: control characters, separators, flips of bit 6,
    digits and neighbours, at every position."""
    arrivals = {0x00, 0x02, 0x03, 0x04, 0x09, 0x0A, 0x0D, 0x20}
    for position, byte in enumerate(sent):
        near = {byte ^ 0x40, byte ^ 0x01, byte ^ 0x10, (byte + 1) % 128}
        for arrival in arrivals | near | ({byte | 0x80} if line is Line.PLAIN_8N1 else set()):
            if arrival != byte:
                yield sent[:position] + bytes([arrival]) + sent[position + 1 :]


@pytest.mark.parametrize("line", LINES)
def test_no_change_of_one_byte_makes_a_historic_frame_say_something_else(line: Line) -> None:
    sent = HISTORIC.frame()
    wrong, total = others(every_byte_changed(sent, line), sent, TicMode.HISTORIC)
    sys.stdout.write(f"{line.value}: {wrong} of {total} changes of one byte say something else\n")
    assert wrong == 0


@pytest.mark.parametrize("line", LINES)
def test_no_telling_change_of_one_byte_makes_a_standard_frame_say_something_else(
    line: Line,
) -> None:
    sent = STANDARD.frame()
    wrong, total = others(telling(sent, line), sent, TicMode.STANDARD)
    sys.stdout.write(f"{line.value}: {wrong} of {total} changes of one byte say something else\n")
    assert wrong == 0


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_no_change_of_one_byte_makes_a_standard_frame_say_something_else(line: Line) -> None:
    sent = STANDARD.frame()
    assert others(every_byte_changed(sent, line), sent, TicMode.STANDARD)[0] == 0


@pytest.mark.parametrize("sent", [HISTORIC.frame(), TEMPO.frame(), STANDARD.frame()])
def test_no_byte_lost_or_doubled_makes_a_frame_say_something_else(sent: bytes) -> None:
    mode = TicMode.STANDARD if b"\t" in sent else TicMode.HISTORIC
    assert others(every_byte_lost(sent), sent, mode)[0] == 0
    assert others(every_byte_doubled(sent), sent, mode)[0] == 0


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("clean", [TEMPO.frame(), STANDARD.frame()])
def test_whatever_came_before_the_second_frame_is_read(clean: bytes, line: Line) -> None:
    random = Random(11)
    mode = TicMode.STANDARD if b"\t" in clean else TicMode.HISTORIC
    (good,) = read(clean, mode)
    for _ in range(400):
        damaged = mutate(clean, random, line)
        frames = read(damaged.arrived + clean + clean, mode)
        assert frames[-1] == good, damaged


@dataclass(frozen=True, slots=True)
class Residual:
    """What came through a bad line: how many registers, and of those how many were not what the
    meter had sent; and how many of those could not even lie between their neighbours."""

    read: int
    wrong: int
    implausible: int


def residual(
    damaged: list[bytes], sent: list[Values], mode: TicMode, step_wh: int
) -> tuple[Residual, Residual]:
    """The registers of frame ``n`` are the first's plus ``n * step_wh``. Single frames, then
    guarded."""
    codec, guard = TeleinfoCodec(mode), TeleinfoGuard()
    single: Counter[str] = Counter()
    guarded: Counter[str] = Counter()
    for at, arrived in enumerate(damaged):
        for frame in codec.feed(arrived):
            if not isinstance(frame, MeterFrame):
                continue
            _count(single, frame, sent, at, step_wh)
            vouched = guard.admit(frame, START_S + at)
            if vouched is not None:
                _count(guarded, vouched.frame, sent, vouched.seen_at_s - START_S, step_wh)
    return (
        Residual(single["read"], single["wrong"], single["implausible"]),
        Residual(guarded["read"], guarded["wrong"], guarded["implausible"]),
    )


def _count(
    counts: Counter[str], frame: MeterFrame, sent: list[Values], at: int, step_wh: int
) -> None:
    # A frame that was cut in two may end only with the next one.
    near = sent[max(at - 1, 0) : at + 1]
    for place, register_wh in enumerate((frame.import_wh, frame.export_wh)):
        if register_wh is None:
            continue
        counts["read"] += 1
        true = [values[place] for values in near]
        counts["wrong"] += register_wh not in true
        last_wh = sent[at][place]
        assert isinstance(last_wh, int)
        counts["implausible"] += abs(register_wh - last_wh) > 3 * step_wh


def streams(mode: TicMode, frames: int, step_wh: int) -> tuple[list[bytes], list[Values]]:
    clean: list[bytes] = []
    sent: list[Values] = []
    for at in range(frames):
        if mode is TicMode.STANDARD:
            meter = STANDARD.used(step_wh * at, at, step_wh * at)
            clean.append(meter.frame())
            sent.append((meter.import_wh, meter.export_wh))
        else:
            historic = TEMPO.used(step_wh * at)
            clean.append(historic.frame())
            sent.append((historic.import_wh, None))
    return clean, sent


@pytest.mark.parametrize("mode", [TicMode.HISTORIC, TicMode.STANDARD])
@pytest.mark.parametrize("line", LINES)
def test_no_implausible_register_comes_out_of_mutated_frames(line: Line, mode: TicMode) -> None:
    random = Random(20_261_122)
    clean, sent = streams(mode, 2_000, 2)
    damaged = [
        mutate(frame, random, line).arrived if random.random() < 0.4 else frame for frame in clean
    ]
    single, guarded = residual(damaged, sent, mode, 2)
    sys.stdout.write(f"{mode}, {line.value}: single {single}, guarded {guarded}\n")
    assert guarded.implausible == 0
    assert guarded.read > 200


@pytest.mark.parametrize("mode", [TicMode.HISTORIC, TicMode.STANDARD])
@pytest.mark.parametrize("line", LINES)
def test_no_implausible_register_comes_out_of_noise(line: Line, mode: TicMode) -> None:
    random = Random(7)
    clean, sent = streams(mode, 2_000, 2)
    damaged = [add_noise(frame, random, line, 1e-3) for frame in clean]
    single, guarded = residual(damaged, sent, mode, 2)
    sys.stdout.write(f"{mode}, {line.value}, 1 bit in 1000: single {single}, guarded {guarded}\n")
    assert guarded.implausible == 0
