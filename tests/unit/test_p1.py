from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.meter.codec import MAX_BUFFER_BYTES, Codec, Decoded, MeterFrame
from node.meter.p1 import (
    ENCRYPTED,
    LUXEMBOURG_AUTHENTICATION_KEY,
    NO_CHECKSUM,
    NO_END,
    NO_REGISTERS,
    EncryptedP1Codec,
    P1Codec,
    Telegram,
    read_telegram,
)
from node.model import EvidenceClass
from node.slots import parse_iso_utc
from tests.support.messages import frames_of, refusals_of
from tests.support.mutations import Line, chunks, mutate
from tests.support.p1_telegrams import DUTCH, OLD, encrypted, replaced, telegram
from tests.support.shared import SHARED, shared_path

RECORDED: Final = sorted(path.name for path in SHARED.glob("frames/dsmr-p1/*.txt"))
KEY: Final = bytes(range(16))

seeds = st.integers(0, 2**32)


def decode(stream: bytes, codec: Codec | None = None) -> list[Decoded]:
    codec = codec or P1Codec()
    return [*codec.feed(stream), *codec.finish()]


def only_frame(stream: bytes) -> MeterFrame:
    (decoded,) = decode(stream)
    assert isinstance(decoded, MeterFrame), decoded.reason
    return decoded


def only_reason(stream: bytes) -> str:
    decoded = decode(stream)
    (refusal,) = refusals_of(decoded)
    assert len(decoded) == 1
    return refusal.reason


def recorded(name: str) -> bytes:
    return shared_path(f"frames/dsmr-p1/{name}").read_bytes()


def expected_of(name: str) -> dict[str, Any]:
    path = shared_path(f"frames/dsmr-p1/{name.removesuffix('.txt')}.expected.json")
    expected: dict[str, Any] = json.loads(path.read_text())
    return expected


def is_to_be_refused(expected: dict[str, Any]) -> bool:
    crc = expected.get("crc") or expected["_check"]["crc"]
    return "match" in crc


def stated_wh(electricity: dict[str, Any], way: str) -> int:
    totals = [electricity["total"]] if "total" in electricity else electricity["tariffs"].values()
    return sum(total[way] for total in totals)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_telegram_says_what_its_publisher_states(name: str) -> None:
    expected = expected_of(name)
    if is_to_be_refused(expected):
        assert "the checksum is" in only_reason(recorded(name))
        return
    frame = only_frame(recorded(name))
    assert frame.evidence_class is EvidenceClass.B
    assert frame.fields.items() >= expected.get("obis", {}).items()
    if electricity := expected.get("electricity"):
        objects = expected["cosem"]["knownObjects"] + expected["cosem"]["unknownObjects"]
        assert {code + raw for code, raw in frame.fields.items()} >= set(objects)
        assert frame.import_wh == stated_wh(electricity, "received")
        assert frame.export_wh == stated_wh(electricity, "returned")
        net = electricity["powerReceivedTotal"] - electricity["powerReturnedTotal"]
        assert frame.power_w == net


@pytest.mark.parametrize(
    ("name", "meter_id", "import_wh", "export_wh", "power_w", "taken_at"),
    [
        (
            "ndokter-telegram_v5_two_mbus.txt",
            "E0044007382246019",
            2_375_582,
            0,
            111,
            "2020-04-26T20:33:25Z",
        ),
        (
            "dsmr-4.2-kfm-1.txt",
            "E0003000002124813",
            9_570_775,
            11_049_011,
            -1_869,
            "2018-03-06T11:30:56Z",
        ),
        (
            "ndokter-telegram_fluvius_v171.txt",
            "1SAG3101021605",
            15_792,
            11,
            0,
            "2020-05-12T11:54:09Z",
        ),
        (
            "ndokter-telegram_esy5q3db1024_v304.txt",
            "1ESY1313002565",
            52_185_782,
            19_949_322,
            2_124,
            None,
        ),
        (
            "ndokter-telegram_unpadded_crc.txt",
            "ADC3100000158491",
            None,
            None,
            None,
            "2026-02-15T19:05:23Z",
        ),
    ],
)
def test_real_meters_of_several_countries(
    name: str,
    meter_id: str,
    import_wh: int | None,
    export_wh: int | None,
    power_w: int | None,
    taken_at: str | None,
) -> None:
    frame = only_frame(recorded(name))
    assert (frame.meter_id, frame.power_w) == (meter_id, power_w)
    assert (frame.import_wh, frame.export_wh) == (import_wh, export_wh)
    assert frame.taken_at_s == (None if taken_at is None else parse_iso_utc(taken_at))


def test_a_gas_value_on_a_line_of_its_own_is_filed_under_its_code() -> None:
    frame = only_frame(recorded("dsmr-2.2-kfm-1.txt"))
    assert frame.fields["0-1:24.2.1"] == "(00124.477)"
    assert frame.fields["0-1:24.3.0"].endswith("(0-1:24.2.1)(m3)")


def test_a_telegram_without_its_last_line_is_not_complete() -> None:
    frame = only_frame(recorded("iskra-mt-382-no-crc.txt"))
    assert not frame.complete
    assert NO_END in frame.notes


def test_text_after_a_telegram_does_not_matter() -> None:
    stream = recorded("ndokter-telegram_esy5q3db1024_v304.txt")
    assert len(frames_of(decode(stream * 3))) == 3
    assert not refusals_of(decode(stream * 3))


def test_a_telegram_as_the_wire_brings_it() -> None:
    frame = only_frame(telegram())
    assert frame.kind == "dsmr-p1"
    assert (frame.import_wh, frame.export_wh, frame.power_w) == (2_375_582, 15_999, -1_869)
    assert frame.taken_at_s == parse_iso_utc("2026-10-18T00:30:00Z")
    assert list(frame.fields) == [line.split("(")[0] for line in DUTCH]
    assert frame.complete
    assert not frame.notes


def test_a_telegram_is_known_as_soon_as_its_last_line_is() -> None:
    codec = P1Codec()
    assert codec.feed(telegram()[:-1]) == []
    assert len(codec.feed(b"\n")) == 1
    assert codec.buffered_bytes == 0


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("261025023000S", "2026-10-25T00:30:00Z"),
        ("261025023000W", "2026-10-25T01:30:00Z"),
        ("260329015959W", "2026-03-29T00:59:59Z"),
        ("260329030000S", "2026-03-29T01:00:00Z"),
        ("260115120000S", "2026-01-15T10:00:00Z"),
    ],
)
def test_the_season_letter_is_a_fixed_offset(local: str, utc: str) -> None:
    frame = only_frame(telegram(replaced(DUTCH, "0-0:1.0.0", f"({local})")))
    assert frame.taken_at_s == parse_iso_utc(utc)


@pytest.mark.parametrize("value", ["(632525252525S)", "(260231120000S)", "(260115120000)", "()"])
def test_a_time_that_is_none_is_left_out(value: str) -> None:
    frame = only_frame(telegram(replaced(DUTCH, "0-0:1.0.0", value)))
    assert frame.taken_at_s is None
    assert frame.import_wh == 2_375_582


def test_winter_time_of_another_zone_can_be_told() -> None:
    def read_in_lithuania(one: Telegram) -> Decoded:
        return read_telegram(one, winter_offset_s=7200)

    (frame,) = frames_of(decode(telegram(), P1Codec(read_in_lithuania)))
    assert frame.taken_at_s == parse_iso_utc("2026-10-17T23:30:00Z")


@pytest.mark.parametrize(
    ("value", "import_wh"),
    [
        ("(000025.653*kWh)", 25_653),
        ("(25653*Wh)", 25_653),
        ("(25653.9*Wh)", 25_653),
        ("*255(00052185.7825309*kWh)", 52_185_782),
        (".255(1*kWh)", 1_000),
        ("(9999999999*kWh)", 9_999_999_999_000),
        ("(000025.653*kvarh)", None),
        ("(000025.653)", None),
        ("(-00025.653*kWh)", None),
        ("(000025,653*kWh)", None),
        ("(000025.653*kW)", None),
        ("()", None),
    ],
)
def test_a_total_counts_with_the_unit_that_it_says(value: str, import_wh: int | None) -> None:
    frame = only_frame(telegram([f"1-0:1.8.0{value}", "1-0:1.8.1(000001.000*kWh)"]))
    assert frame.import_wh == import_wh


def test_one_unreadable_tariff_makes_the_sum_unknown() -> None:
    frame = only_frame(telegram(replaced(DUTCH, "1-0:1.8.2", "(?)")))
    assert frame.import_wh is None
    assert frame.export_wh == 15_999
    assert frame.fields["1-0:1.8.2"] == "(?)"


@pytest.mark.parametrize(
    ("received", "returned", "power_w"),
    [
        ("(00.421*kW)", "(00.000*kW)", 421),
        ("(00.000*kW)", "(01.869*kW)", -1_869),
        ("(002124.86*W)", None, 2_124),
        ("(-00012.50*W)", None, -12),
        ("(00.000*kW)", None, None),
        (None, "(00.250*kW)", -250),
        (None, None, None),
        ("(00.421*kVA)", "(00.000*kW)", None),
    ],
)
def test_power_is_import_less_export(
    received: str | None, returned: str | None, power_w: int | None
) -> None:
    lines = replaced(replaced(DUTCH, "1-0:1.7.0", received), "1-0:2.7.0", returned)
    assert only_frame(telegram(lines)).power_w == power_w


@pytest.mark.parametrize(
    ("lines", "meter_id"),
    [
        (["0-0:96.1.1(4530303434303037)"], "E0044007"),
        (["0-0:96.1.1(serienummer)"], "serienummer"),
        (["0-0:96.1.1(00112233445566778899aabbccddeeff)"], "00112233445566778899aabbccddeeff"),
        (["0-0:96.1.1()", "0-0:42.0.0(53414731)"], "SAG1"),
        (["0-0:96.1.4(50217)"], None),
    ],
)
def test_the_serial_number_comes_out_of_its_hexadecimal(
    lines: list[str], meter_id: str | None
) -> None:
    frame = only_frame(telegram(lines))
    assert frame.meter_id == meter_id
    assert NO_REGISTERS in frame.notes


def test_a_wrong_checksum_costs_the_whole_telegram() -> None:
    damaged = telegram().replace(b"002130.115", b"002130.116")
    assert "the checksum is" in only_reason(damaged)
    (refusal,) = refusals_of(decode(damaged))
    assert refusal.raw.startswith(b"/ISK5")


def test_a_checksum_is_a_number() -> None:
    sent = next(
        one
        for one in (telegram([*DUTCH, f"0-0:96.13.1({n})"]) for n in range(1_000))
        if one.endswith(b"\r\n") and one[-6:-5] == b"0" and one[-5:-4] != b"0"
    )
    whole = only_frame(sent)
    assert only_frame(sent[:-6] + sent[-5:]) == whole
    assert only_frame(sent[:-6] + sent[-6:].lower()) == whole


def test_a_file_with_unix_line_ends_counts_as_its_telegram() -> None:
    assert only_frame(telegram().replace(b"\r\n", b"\n")) == only_frame(telegram())
    assert only_frame(telegram()[:-2]) == only_frame(telegram())


@pytest.mark.parametrize("crc", [b"!\r\n", b"!", b"!12345\r\n", b"!?\r\n"])
def test_a_modern_telegram_needs_its_checksum(crc: bytes) -> None:
    assert "checksum" in only_reason(telegram()[:-7] + crc)


def test_an_old_telegram_has_no_checksum_and_says_so() -> None:
    frame = only_frame(telegram(OLD, has_crc=False))
    assert (frame.import_wh, frame.export_wh, frame.power_w) == (12_357_678, 1_500, 1_190)
    assert frame.notes == (NO_CHECKSUM,)


@pytest.mark.parametrize(
    "lines",
    [
        replaced(OLD, "1-0:1.8.2", None),
        replaced(OLD, "1-0:2.8.1", None),
        replaced(OLD, "1-0:1.8.1", "(1234.678*kWh)"),
        replaced(OLD, "1-0:1.8.1", "(12345.678*Wh)"),
        replaced(OLD, "1-0:1.8.1", "(12345.6x8*kWh)"),
        [*OLD, "0-1:24.4.0(2)"],
        [*OLD, "1,0:2.7.0(00.000*kW)"],
        ["0-0:96.1.1(4B384547)"],
        [],
    ],
)
def test_without_a_checksum_every_sign_of_damage_counts(lines: list[str]) -> None:
    assert "no checksum" in only_reason(telegram(lines, has_crc=False))


def test_a_meter_that_sent_checksums_does_not_stop_to() -> None:
    decoded = decode(telegram() + telegram(OLD, has_crc=False))
    assert len(frames_of(decoded)) == 1
    assert "lost its checksum" in refusals_of(decoded)[0].reason


def test_a_register_that_is_said_twice_is_believed_neither_time() -> None:
    lines = [*DUTCH, "1-0:1.8.1(000001.000*kWh)"]
    assert "twice" in only_reason(telegram(lines))
    assert "twice" in only_reason(telegram([*OLD, "1-0:1.8.1(12345.679*kWh)"], has_crc=False))
    assert only_frame(telegram([*DUTCH, DUTCH[3]])).import_wh == 2_375_582


def test_a_line_that_nobody_understands_is_noted() -> None:
    frame = only_frame(telegram([*DUTCH, "1-0:72:32.0(00000)"]))
    assert frame.notes == ("not understood: 1-0:72:32.0(00000)",)
    assert frame.import_wh == 2_375_582


def test_a_stream_may_begin_and_end_in_the_middle() -> None:
    decoded = decode(telegram()[200:] + telegram() + telegram()[:100])
    first, whole, last = decoded
    assert whole == only_frame(telegram())
    assert [refusal.reason for refusal in refusals_of([first, last])] == [
        "the beginning of this telegram was not heard",
        "the stream ended inside a telegram",
    ]


@pytest.mark.parametrize(
    "join",
    [
        lambda one: one[:-2] + one,  # the line end after the checksum was lost
        lambda one: one + b"\x00\xff(" + one,
        lambda one: one[:150] + one,
        lambda one: one[:-4] + one,
        lambda one: b"\r\n".join(one.split(b"\r\n")[2:]) + one,
    ],
)
def test_after_damage_the_next_telegram_is_understood(join: Callable[[bytes], bytes]) -> None:
    assert frames_of(decode(join(telegram())))[-1] == only_frame(telegram())


def test_something_else_than_p1_is_told_once() -> None:
    assert "no telegram" in only_reason(b"ADSC\t012345678901\t.\r\n" * 1_000)
    assert decode(b"") == []


def test_an_endless_telegram_is_given_up() -> None:
    codec = P1Codec()
    refusals = 0
    for _ in range(20_000):
        refusals += len(codec.feed(b"1-0:1.8.0(000001.000*kWh)\r\n"))
        assert codec.buffered_bytes <= MAX_BUFFER_BYTES
    assert refusals > 10
    assert frames_of([*codec.feed(b"\r\n" + telegram()), *codec.finish()])


@given(st.lists(st.sampled_from([telegram(), telegram(OLD, has_crc=False)]), max_size=4), seeds)
def test_how_the_stream_is_cut_into_chunks_changes_nothing(parts: list[bytes], seed: int) -> None:
    random = Random(seed)
    stream = mutate(b"".join(parts), random, Line.PLAIN_8N1).arrived
    codec = P1Codec()
    decoded = [one for chunk in chunks(stream, random) for one in codec.feed(chunk)]
    assert [*decoded, *codec.finish()] == decode(stream)
    assert codec.buffered_bytes == 0


@given(st.binary(max_size=400), st.sampled_from([b"", b"/ISK5\r\n"]))
def test_nothing_comes_out_of_random_bytes(noise: bytes, begin: bytes) -> None:
    codec = P1Codec()
    for _ in range(40):
        for decoded in codec.feed(begin + noise):
            assert not isinstance(decoded, MeterFrame)
        assert codec.buffered_bytes <= MAX_BUFFER_BYTES
    assert not frames_of(codec.finish())


@given(seeds)
def test_damage_gives_the_same_values_or_none_and_costs_two_telegrams_at_most(seed: int) -> None:
    damaged = mutate(telegram(), Random(seed), Line.PLAIN_8N1)
    decoded = decode(damaged.arrived + telegram() * 3)
    good = only_frame(telegram())
    assert set(map(repr, frames_of(decoded))) == {repr(good)}, damaged.mutation
    assert decoded[-2:] == [good, good]


class TestEncrypted:
    def codec(self) -> EncryptedP1Codec:
        return EncryptedP1Codec(KEY)

    def sent(self, counter: int = 1) -> bytes:
        return encrypted(telegram(), KEY, LUXEMBOURG_AUTHENTICATION_KEY, counter)

    def test_a_telegram_opens_with_its_key(self) -> None:
        decoded = decode(self.sent(1) + self.sent(2), self.codec())
        assert decoded == [only_frame(telegram())] * 2

    @pytest.mark.parametrize(
        ("key", "authentication_key"),
        [(bytes(16), LUXEMBOURG_AUTHENTICATION_KEY), (KEY, bytes(16))],
    )
    def test_with_another_key_it_says_so(self, key: bytes, authentication_key: bytes) -> None:
        decoded = decode(self.sent(), EncryptedP1Codec(key, authentication_key))
        assert not frames_of(decoded)
        assert "authenticate" in refusals_of(decoded)[0].reason

    @pytest.mark.parametrize("key", [b"", bytes(15), bytes(32)])
    def test_a_key_has_sixteen_bytes(self, key: bytes) -> None:
        with pytest.raises(ValueError, match="16 bytes"):
            EncryptedP1Codec(key)

    def test_without_a_key_the_reason_is_told(self) -> None:
        decoded = decode(b"".join(map(self.sent, range(10))))
        assert not frames_of(decoded)
        assert ENCRYPTED in {refusal.reason for refusal in refusals_of(decoded)}

    def test_what_is_not_a_telegram_inside_is_refused(self) -> None:
        sent = encrypted(b"gibberish\r\n", KEY, LUXEMBOURG_AUTHENTICATION_KEY)
        assert "no telegram" in refusals_of(decode(sent, self.codec()))[0].reason

    @given(seeds)
    def test_damage_costs_two_telegrams_at_most(self, seed: int) -> None:
        damaged = mutate(self.sent(1), Random(seed), Line.PLAIN_8N1)
        stream = damaged.arrived + self.sent(2) + self.sent(3) + self.sent(4)
        decoded = decode(stream, self.codec())
        good = only_frame(telegram())
        assert set(map(repr, frames_of(decoded))) == {repr(good)}, damaged.mutation
        assert decoded[-2:] == [good, good]

    @given(seeds)
    def test_how_the_stream_is_cut_into_chunks_changes_nothing(self, seed: int) -> None:
        random = Random(seed)
        stream = mutate(self.sent(1) + self.sent(2), random, Line.PLAIN_8N1).arrived
        codec = self.codec()
        decoded = [one for chunk in chunks(stream, random) for one in codec.feed(chunk)]
        assert [*decoded, *codec.finish()] == decode(stream, self.codec())

    @given(st.binary(max_size=300))
    def test_nothing_comes_out_of_random_bytes(self, noise: bytes) -> None:
        codec = self.codec()
        for _ in range(100):
            assert not frames_of(codec.feed(self.sent()[:18] + noise))
            assert codec.buffered_bytes <= MAX_BUFFER_BYTES
        assert not frames_of(codec.finish())
