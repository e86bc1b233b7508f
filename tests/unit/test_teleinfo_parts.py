from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.meter.teleinfo import (
    CurveCheck,
    Direction,
    LoadCurve,
    Offsets,
    Relation,
    SumCheck,
    decode_stge,
    load_curve,
    maximum_power_va,
    parse_horodate,
)
from node.meter.teleinfo.groups import checksum
from node.meter.teleinfo.status import Breaker, Euridis, PowerLine, TempoColour
from node.meter.teleinfo.sums import FRAMES_TO_LEARN, FRAMES_TO_MOVE
from node.slots import parse_iso_utc
from tests.support.teleinfo_frames import horodate


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (b"EASD01\t000000000\t", " "),
        (b"ADSC\t031664001115\t", ")"),
        (b"ADCO 812164417227", "D"),
        (b"MOTDETAT 000000", "B"),
    ],
)
def test_checksums_of_recorded_groups(zone: bytes, expected: str) -> None:
    assert chr(checksum(zone)) == expected


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("E170915101601", "2017-09-15T08:16:01Z"),
        ("H241202043910", "2024-12-02T03:39:10Z"),
        ("e170915101601", None),
        ("H000000000000", None),
        ("H240230000000", None),
        (" 170915101601", None),
        (" " * 13, None),
        ("E17091510160", None),
        ("", None),
    ],
)
def test_horodates_are_read_with_their_own_offset(text: str, instant: str | None) -> None:
    expected = None if instant is None else parse_iso_utc(instant)
    assert parse_horodate(text).trusted_s == expected


def test_a_degraded_horodate_still_says_what_the_meter_thinks() -> None:
    stamp = parse_horodate("e170915101601")
    assert (stamp.unix_s, stamp.is_degraded) == (parse_iso_utc("2017-09-15T08:16:01Z"), True)


@given(st.integers(946_684_800 + 7200, 4_102_441_200 - 7200), st.sampled_from("EH"))
def test_a_horodate_is_its_instant(unix_s: int, season: str) -> None:
    assert parse_horodate(horodate(unix_s, season)).trusted_s == unix_s


@given(st.text())
def test_no_text_makes_a_horodate_raise(text: str) -> None:
    parse_horodate(text)


def test_the_worked_status_registers() -> None:
    producer = decode_stge("002A0301")
    assert producer.producer
    assert producer.active_energy_negative
    assert producer.standard_mode
    assert producer.dry_contact_open
    assert producer.euridis is Euridis.ON_WITHOUT_SECURITY
    assert producer.power_line is PowerLine.NEW_LOCKED
    assert "injecting now" in producer.words()
    bench = decode_stge("000A4411")
    assert bench.terminal_cover_open
    assert not bench.producer
    assert (bench.supplier_index, bench.distributor_index) == (2, 2)
    assert bench.power_line is PowerLine.NEW_UNLOCKED
    assert "terminal cover open" in bench.words()


def test_every_field_of_the_status_register() -> None:
    status = decode_stge("B9D764CC")
    assert status.breaker is Breaker.OPEN_OVERHEATED_LOW_CURRENT
    assert status.over_voltage
    assert status.above_reference_power
    assert (status.supplier_index, status.distributor_index) == (10, 2)
    assert status.clock_degraded
    assert status.euridis is Euridis.RESERVED
    assert status.power_line is PowerLine.REGISTERED
    assert status.power_line_synchronised
    assert status.colour_today is TempoColour.BLUE
    assert status.colour_tomorrow is TempoColour.WHITE
    assert (status.peak_notice, status.peak_now) == (3, 2)
    assert "today blue" in status.words()


@given(st.integers(0, 2**32 - 1))
def test_every_status_register_can_be_read(register: int) -> None:
    assert decode_stge(f"{register:08X}").words()


@pytest.mark.parametrize("text", ["", "0000000", "000000000", "0000000g", "0000000a", " 0000000"])
def test_no_other_text_is_a_status_register(text: str) -> None:
    with pytest.raises(ValueError, match="8 hexadecimal"):
        decode_stge(text)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"PREF": "03", "PCOUP": "02"}, 3_000),
        ({"PCOUP": "12"}, 12_000),
        ({"ISOUSC": "30", "IINST": "001"}, 6_900),
        ({"ISOUSC": "20", "IINST1": "001"}, 13_800),
        ({"EAST": "000000001"}, None),
    ],
)
def test_the_maximum_power_of_a_connection(fields: dict[str, str], expected: int | None) -> None:
    assert maximum_power_va(fields) == expected


def registers(east_wh: int, supplier_wh: int, distributor_wh: int) -> dict[str, str]:
    return {
        "EAST": f"{east_wh:09}",
        **{f"EASF{at:02}": "000000000" for at in range(2, 11)},
        **{f"EASD{at:02}": "000000000" for at in range(2, 5)},
        "EASF01": f"{supplier_wh:09}",
        "EASD01": f"{distributor_wh:09}",
    }


def test_sums_that_agree_are_believed_at_once() -> None:
    check = SumCheck()
    assert check.observe(registers(1000, 1000, 1000)) is Relation.HOLDS
    assert check.observe(registers(1002, 1001, 1001)) is Relation.MOVED
    assert check.observe(registers(1002, 1002, 1002)) is Relation.HOLDS
    assert check.alarms == 0


def test_a_constant_difference_is_learned() -> None:
    check = SumCheck()
    seen = [check.observe(registers(1000 + at, 900 + at, 990 + at)) for at in range(5)]
    assert seen == [Relation.LEARNING] * (FRAMES_TO_LEARN - 1) + [Relation.HOLDS] * 3
    assert check.offsets == Offsets(100, 10)
    assert SumCheck(check.offsets).observe(registers(2000, 1900, 1990)) is Relation.HOLDS


def test_noise_is_not_learned_as_a_difference() -> None:
    check = SumCheck()
    for at in range(20):
        check.observe(registers(1000 + at, 900 - at, 990))
    assert check.offsets is None


def test_a_difference_that_moves_alarms_once_and_is_learned_again() -> None:
    check = SumCheck(Offsets(0, 0))
    seen = [check.observe(registers(1000 + at, 500 + at, 1000 + at)) for at in range(70)]
    assert seen.index(Relation.HOLDS) == FRAMES_TO_MOVE - 1
    assert set(seen[: FRAMES_TO_MOVE - 1]) == {Relation.MOVED}
    assert check.alarms == 1
    assert check.offsets == Offsets(500, 0)


def test_a_register_that_starts_again_at_nine_digits_moves_nothing() -> None:
    check = SumCheck(Offsets(0, 0))
    wrapped = {**registers(5, 500_000_000, 5), "EASF02": "500000005"}
    assert check.observe(wrapped) is Relation.HOLDS


def test_a_missing_register_says_nothing() -> None:
    fields = registers(1000, 1000, 1000)
    del fields["EASF07"]
    assert SumCheck().observe(fields) is Relation.INCOMPLETE


END_S = parse_iso_utc("2026-06-01T10:00:00Z")


def curve_fields(power_w: int, end: str, before: str) -> dict[str, str]:
    return {
        "CCASN": f"{power_w:05}",
        "CCASN.horodate": end,
        "CCASN-1": "00000",
        "CCASN-1.horodate": before,
    }


@pytest.mark.parametrize("period_s", [1800, 3600])
def test_the_period_of_a_curve_lies_between_its_stamps(period_s: int) -> None:
    fields = curve_fields(1200, horodate(END_S, "E"), horodate(END_S - period_s, "E"))
    curve = load_curve(fields, Direction.IMPORT)
    assert curve == LoadCurve(1200, period_s, END_S)
    assert curve.energy_wh == 1200 * period_s // 3600
    assert load_curve(fields, Direction.EXPORT) is None


def test_a_period_across_the_change_of_season_is_no_longer() -> None:
    end_s = parse_iso_utc("2026-10-25T01:00:00Z")
    fields = curve_fields(500, horodate(end_s, "H"), horodate(end_s - 1800, "E"))
    curve = load_curve(fields, Direction.IMPORT)
    assert curve is not None
    assert curve.period_s == 1800


@pytest.mark.parametrize(
    ("end", "before"),
    [
        (horodate(END_S, "e"), horodate(END_S - 1800, "e")),
        (horodate(END_S, "E"), horodate(END_S - 5400, "E")),
        (horodate(END_S, "E"), horodate(END_S, "E")),
        (horodate(END_S + 7, "E"), horodate(END_S - 1793, "E")),
        (" " * 13, horodate(END_S, "E")),
    ],
)
def test_a_curve_whose_period_is_not_known_is_none(end: str, before: str) -> None:
    assert load_curve(curve_fields(500, end, before), Direction.IMPORT) is None


def test_a_curve_agrees_within_one_wh_and_the_rounding_of_watts() -> None:
    curve = LoadCurve(1200, 1800, END_S)
    agreeing = [own_wh for own_wh in range(590, 610) if curve.agrees_with(own_wh, own_wh)]
    assert agreeing == [599, 600, 601]
    assert curve.agrees_with(595, 603)


def followed(power_w: int, own_w: int) -> bool | None:
    """Two half hours, a reading every 10 s, the curve's point appearing 5 s after each end."""
    check = CurveCheck()
    said: bool | None = None
    for second in range(0, 5400, 10):
        at_s = END_S - 3600 + second
        ended_s = (at_s - 5) // 1800 * 1800
        said = check.observe(at_s, second * own_w // 3600, LoadCurve(power_w, 1800, ended_s))
    return said


def test_our_own_index_is_compared_with_the_curve() -> None:
    assert followed(1200, 1200) is True
    assert followed(1200, 1400) is False
    assert followed(1400, 1200) is False


def test_without_readings_around_both_ends_nothing_is_compared() -> None:
    check = CurveCheck()
    for second in range(0, 7200, 90):
        curve = LoadCurve(99_000, 1800, (END_S + second) // 1800 * 1800)
        assert check.observe(END_S + second, second, curve) is None
