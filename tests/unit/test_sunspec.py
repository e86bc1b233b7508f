from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.meter.codec import MeterFrame
from node.meter.sunspec import PRODUCTION_NOTE, decode_map, decode_model
from node.model import EvidenceClass
from tests.support.messages import assert_plausible, frames_of, refusals_of

SUNS = [0x5375, 0x6E53]
END = [0xFFFF, 0]
NOT_IMPLEMENTED = 0x8000

LENGTHS = {1: 66, 101: 50, 111: 60, 201: 105, 211: 124}


def words(number: int, count: int = 1) -> list[int]:
    raw = (number % 2 ** (16 * count)).to_bytes(2 * count, "big")
    return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]


def real(number: float) -> list[int]:
    return list(struct.unpack(">HH", struct.pack(">f", number)))


def model(number: int, points: Mapping[int, int | Sequence[int]]) -> list[int]:
    """A model whose points are not implemented, but for some, by their offset."""
    family = number // 10 * 10 + 1 if number > 1 else 1
    length = LENGTHS[family]
    nothing = [0x7FC0, 0] if family in {111, 211} else [NOT_IMPLEMENTED]
    registers = [number, length, *(nothing * length)[:length]]
    for at in {101: (24,), 201: range(38, 54, 2)}.get(family, ()):  # counters
        registers[at : at + 2] = [0, 0]
    for at in {101: (2, 16, 38), 111: (48,)}.get(family, ()):  # unsigned
        registers[at] = 0xFFFF
    for at, value in points.items():
        put = words(value) if isinstance(value, int) else value
        registers[at : at + len(put)] = put
    return registers


def meter(number: int = 203, **more: int | Sequence[int]) -> list[int]:
    points: dict[int, int | Sequence[int]] = {
        18: -1250,
        22: 0,
        38: words(7_654, 2),
        46: words(123_456_789, 2),
        54: -1,
        **{int(at[1:]): value for at, value in more.items()},
    }
    return model(number, points)


def common(manufacturer: str = "ACME", serial: str = "4711") -> list[int]:
    text = {2: manufacturer, 50: serial}
    points = {
        at: list(struct.unpack(">16H", said.encode().ljust(32, b"\0"))) for at, said in text.items()
    }
    return model(1, {2: points[2], 50: points[50]})


def frame(registers: list[int], **how: bool) -> MeterFrame:
    (found,) = decode_model(registers, "m", **how)
    assert isinstance(found, MeterFrame)
    return found


@pytest.mark.parametrize("number", [201, 202, 203, 204])
def test_a_meter_with_scale_factors(number: int) -> None:
    found = frame(meter(number))
    assert (found.kind, found.evidence_class) == ("sunspec", EvidenceClass.C)
    assert (found.import_wh, found.export_wh, found.power_w) == (12_345_678, 765, -1250)
    assert found.fields == {
        "model": str(number),
        "W": "-1250",
        "TotWhExp": "765.4",
        "TotWhImp": "12345678.9",
    }


@pytest.mark.parametrize("number", [211, 212, 213, 214])
def test_a_meter_in_floats(number: int) -> None:
    found = frame(model(number, {28: real(-0.5), 60: real(1.75), 68: real(16_777_216)}))
    assert (found.import_wh, found.export_wh, found.power_w) == (16_777_216, 1, -1)


def test_clamps_that_sit_the_other_way_round() -> None:
    found = frame(meter(), is_reversed=True)
    assert (found.import_wh, found.export_wh, found.power_w) == (765, 12_345_678, 1250)


@pytest.mark.parametrize(
    ("number", "points"),
    [
        (101, {14: 321, 15: 1, 24: words(123_456, 2), 26: 1, 38: 4}),
        (103, {14: 3210, 15: 0, 24: words(12_345_600, 2), 26: -1, 38: 4}),
        (111, {22: real(3210), 32: real(1_234_560), 48: 4}),
        (113, {22: real(3210), 32: real(1_234_560.75), 48: 4}),
    ],
)
def test_an_inverter_s_production_feeds_no_register(
    number: int, points: dict[int, int | list[int]]
) -> None:
    found = frame(model(number, points))
    assert (found.import_wh, found.export_wh, found.power_w) == (None, None, None)
    assert found.fields["production_wh"] == "1234560"
    assert float(found.fields["W"]) == 3210
    assert found.fields["St"] == "4"
    assert found.notes == (PRODUCTION_NOTE,)


@pytest.mark.parametrize("number", [101, 111])
def test_a_counter_of_a_sleeping_inverter_is_absent_and_not_reset(number: int) -> None:
    found = frame(model(number, {}))
    assert found.fields == {"model": str(number)}


def test_a_direction_that_was_never_counted_is_absent() -> None:
    found = frame(meter(_38=[0, 0]))
    assert (found.import_wh, found.export_wh) == (12_345_678, None)


@pytest.mark.parametrize("scale", [NOT_IMPLEMENTED, 11, -11, 0x7FFF])
def test_a_counter_without_its_scale_is_refused(scale: int) -> None:
    decoded = decode_model(meter(_54=scale))
    (found,) = frames_of(decoded)
    assert (found.import_wh, found.export_wh, found.power_w) == (None, None, -1250)
    assert not found.complete
    assert [refusal.reason for refusal in refusals_of(decoded)] == [
        "TotWhExp: has no scale factor",
        "TotWhImp: has no scale factor",
    ]


@pytest.mark.parametrize("energy", [-1.0, 1e13, float("inf"), float("-inf")])
def test_a_float_that_no_counter_says_is_refused(energy: float) -> None:
    decoded = decode_model(model(213, {28: real(5), 68: real(energy)}))
    (found,) = frames_of(decoded)
    assert (found.import_wh, found.power_w, found.complete) == (None, 5, False)
    assert refusals_of(decoded)[0].reason.startswith("TotWhImp")


@pytest.mark.parametrize(
    "registers",
    [
        [],
        [203],
        [203, 105],
        meter()[:-1],
        [203, 104, *meter()[2:]],
        [160, 2, 0, 0],
        [203, 105, *[-1] * 105],
        [203, 105, *[0x10000] * 105],
        [True] * 107,
    ],
)
def test_what_is_no_model_is_refused(registers: list[int]) -> None:
    decoded = decode_model(registers)
    assert len(decoded) == len(refusals_of(decoded)) == 1


def test_a_map_names_its_meters_after_the_device_before_them() -> None:
    inverter = model(103, {14: 100, 15: 0})
    registers = [
        *(*SUNS, *common("SunnyCo", "77"), *inverter, 120, 2, 0, 0),
        *(*meter(), *common("MeterCo", "88"), *meter(), *END, 1, 2, 3),
    ]
    found = frames_of(decode_map(registers))
    assert [each.meter_id for each in found] == ["SunnyCo/77", "SunnyCo/77/2", "MeterCo/88"]
    assert [each.import_wh for each in found] == [None, 12_345_678, 12_345_678]
    turned = frames_of(decode_map(registers, is_reversed=True))
    assert [each.import_wh for each in turned] == [None, 765, 765]


def test_a_meter_without_a_serial_number_has_no_name() -> None:
    (found,) = frames_of(decode_map([*SUNS, *common(serial=""), *meter(), *END]))
    assert found.meter_id is None


def test_a_map_that_breaks_off_says_so() -> None:
    whole = [*SUNS, *common(), *meter(), *END]
    assert refusals_of(decode_map(whole)) == []
    decoded = decode_map(whole[:-2])
    assert len(frames_of(decoded)) == 1
    assert "breaks off" in refusals_of(decoded)[0].reason
    for registers in ([], [0, 0], SUNS, [*SUNS, *END], [*SUNS, *[0] * 1000], [*SUNS, -1]):
        assert len(refusals_of(decode_map(registers))) == 1


@given(st.integers(1, 2**32 - 1), st.integers(-10, 2), st.integers(-(2**15) + 1, 2**15 - 1))
def test_scaling_is_exact(counted: int, scale: int, power: int) -> None:
    found = frame(meter(_46=words(counted, 2), _54=scale, _18=power, _22=-1))
    assert found.import_wh == counted * 10 ** (scale + 10) // 10**10
    size = (abs(power) + 5) // 10
    assert found.power_w == (size if power >= 0 else -size)


@given(
    st.sampled_from(sorted({101, 103, 111, 113, 201, 204, 211, 214, 1, 2})),
    st.lists(st.integers(0, 0xFFFF), min_size=130, max_size=130),
    st.integers(0, 132),
)
def test_no_registers_raise(number: int, content: list[int], length: int) -> None:
    registers = [number, min(length, 130), *content]
    assert_plausible(decode_model(registers))
    assert_plausible(decode_map([*SUNS, *common(), *registers[: length + 2], *END]))


@given(st.lists(st.integers(-1, 0x10000), max_size=300))
def test_no_numbers_raise(registers: list[int]) -> None:
    assert_plausible(decode_model(registers))
    assert_plausible(decode_map([*SUNS, *registers]))
