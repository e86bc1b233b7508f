"""The library dsmr-parser as a second reader. A stand-in is there where it is not installed."""

from __future__ import annotations

import sys
from random import Random
from types import ModuleType
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import ConfigurationError
from node.meter.codec import Decoded
from node.meter.p1 import P1Codec, Reader, cross_checking_reader
from tests.support.messages import frames_of, refusals_of
from tests.support.mutations import Line, mutate
from tests.support.p1_telegrams import DUTCH, OLD, replaced, telegram
from tests.support.shared import SHARED, shared_path

RECORDED: Final = sorted(path.name for path in SHARED.glob("frames/dsmr-p1/*.txt"))


def decode(stream: bytes, read: Reader | None = None) -> list[Decoded]:
    codec = P1Codec() if read is None else P1Codec(read)
    return [*codec.feed(stream), *codec.finish()]


def test_without_the_library_a_person_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dsmr_parser", None)
    monkeypatch.delitem(sys.modules, "dsmr_parser.parsers", raising=False)
    with pytest.raises(ConfigurationError, match="dsmr"):
        cross_checking_reader()


class StandIn:
    """The shape of the library; what it reads and raises is set by the test."""

    values: Any = None

    def __init__(self, *_: object) -> None:
        self.apply_checksum_validation = True

    def validate_checksum(self, text: str) -> None:
        assert text.startswith("/")

    def parse(self, text: str) -> object:
        assert text.endswith("!")
        if isinstance(self.values, Exception):
            raise self.values
        return type("Read", (), {name: type("Value", (), said) for name, said in self.values})


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    class Names(ModuleType):
        def __getattr__(self, name: str) -> str:
            return name

    parsers: Any = ModuleType("dsmr_parser.parsers")
    parsers.TelegramParser = parsers.CosemParser = parsers.ValueParser = StandIn
    exceptions: Any = ModuleType("dsmr_parser.exceptions")
    exceptions.ParseError = type("ParseError", (Exception,), {})
    modules = {
        "dsmr_parser": ModuleType("dsmr_parser"),
        "dsmr_parser.parsers": parsers,
        "dsmr_parser.obis_references": Names("dsmr_parser.obis_references"),
        "dsmr_parser.exceptions": exceptions,
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return StandIn


AGREEING: Final = (
    ("ELECTRICITY_USED_TARIFF_1", {"value": "2130.115", "unit": "kWh"}),
    ("ELECTRICITY_USED_TARIFF_2", {"value": "245467", "unit": "Wh"}),
    ("ELECTRICITY_DELIVERED_TARIFF_1", {"value": "12", "unit": "kWh"}),
    ("ELECTRICITY_DELIVERED_TARIFF_2", {"value": "3.999", "unit": "kWh"}),
    ("CURRENT_ELECTRICITY_USAGE", {"value": "0", "unit": "kW"}),
    ("CURRENT_ELECTRICITY_DELIVERY", {"value": "1.869", "unit": "kW"}),
)


def test_what_both_read_alike_is_believed(stand_in: type[StandIn]) -> None:
    stand_in.values = AGREEING
    assert decode(telegram(), cross_checking_reader()) == decode(telegram())


def test_what_our_own_reader_refuses_is_not_asked_again(stand_in: type[StandIn]) -> None:
    stand_in.values = AssertionError("asked")
    lines = [*DUTCH, "1-0:1.8.1(000001.000*kWh)"]
    assert decode(telegram(lines), cross_checking_reader()) == decode(telegram(lines))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((*AGREEING[:5], (AGREEING[5][0], {"value": "1.8", "unit": "kW"})), "power is -1869"),
        ((*AGREEING[1:], (AGREEING[0][0], {"value": "9", "unit": "kWh"})), "import is 2375582"),
        (AGREEING[1:], "does not see 1-0:1.8.1"),
        ((*AGREEING[1:], (AGREEING[0][0], {"value": "9", "unit": "m3"})), "KeyError"),
        ((*AGREEING[1:], (AGREEING[0][0], {"value": "x", "unit": "kWh"})), "InvalidOperation"),
        (IndexError("list index out of range"), "IndexError"),
    ],
)
def test_what_the_library_reads_otherwise_or_not_is_refused(
    stand_in: type[StandIn], values: object, reason: str
) -> None:
    stand_in.values = values
    (refusal,) = refusals_of(decode(telegram(), cross_checking_reader()))
    assert refusal.reason.startswith("cross-check: ")
    assert reason in refusal.reason


@pytest.fixture(scope="module")
def second_reader() -> Reader:
    pytest.importorskip("dsmr_parser", reason="the extra dsmr-parser is not installed")
    return cross_checking_reader()


@pytest.mark.parametrize("name", RECORDED)
def test_the_library_agrees_on_recorded_telegrams(name: str, second_reader: Reader) -> None:
    stream = shared_path(f"frames/dsmr-p1/{name}").read_bytes()
    assert decode(stream, second_reader) == decode(stream)


@given(st.integers(0, 2**32))
def test_the_library_agrees_on_what_damage_leaves(second_reader: Reader, seed: int) -> None:
    random = Random(seed)
    sent = telegram(OLD, has_crc=False) if random.random() < 0.5 else telegram()
    stream = mutate(sent, random, Line.CHECKED_7E1).arrived + telegram()
    ours, both = decode(stream), decode(stream, second_reader)
    for frame in frames_of(both):
        assert frame in ours
    for refusal in refusals_of(both):
        assert refusal in ours or refusal.reason.startswith("cross-check: ")


@pytest.mark.parametrize(
    "lines",
    [
        replaced(DUTCH, "1-0:1.8.1", "(2130115*Wh)"),
        [*DUTCH, "1-0:1.8.0(009999.999*kWh)", "1-0:2.8.0(000000.001*kWh)"],
        [*DUTCH, "1-0:1.8.3(000001.999*kWh)"],
        ["1-0:1.8.0*255(00052185.7825309*kWh)", "1-0:1.7.0*255(002124.86*W)"],
    ],
)
def test_the_library_agrees_on_units_and_sums(lines: list[str], second_reader: Reader) -> None:
    assert decode(telegram(lines), second_reader) == decode(telegram(lines))
    assert frames_of(decode(telegram(lines)))
