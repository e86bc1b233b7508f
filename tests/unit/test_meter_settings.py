"""The [meter] table: what is read from it, and what is told when it cannot be."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import ConfigurationError
from node.meter.json_path import PathRule, Register
from node.meter.lines import Line, LineMode
from node.meter.settings import KINDS, MeterSettings, Way, host_and_port
from node.meter.tasmota import ListMeaning

FILE = Path("/etc/daisee/node.toml")
IN_WH = 'paths = [{register = "import_wh", path = "x", unit = "Wh"}]'


def read(text: str) -> MeterSettings:
    return MeterSettings.from_table(tomllib.loads(text), FILE)


def test_a_linky_needs_two_lines() -> None:
    settings = read('kind = "linky"\nport = "/dev/ttyUSB0"')
    assert (settings.way, settings.line, settings.port) == (Way.SERIAL, None, "/dev/ttyUSB0")
    assert (settings.max_power_w, settings.producer_expected) == (36_000, False)


def test_speed_and_characters_complete_each_other() -> None:
    port = 'port = "/dev/ttyUSB0"\n'
    fast = read(f'kind = "dsmr-p1"\n{port}baud = 115200')
    assert fast.line == Line(115200, LineMode.EIGHT_NONE)
    old = read(f'kind = "dsmr-p1"\n{port}baud = 9600')
    assert old.line == Line(9600, LineMode.SEVEN_EVEN)
    odd = read(f'kind = "sml"\n{port}mode = "7E1"')
    assert odd.line == Line(9600, LineMode.SEVEN_EVEN)


def test_a_broker_with_tls_has_its_own_port() -> None:
    plain = read('kind = "tasmota"\nbroker = "homeassistant.local"').broker
    secured = read('kind = "tasmota"\nbroker = "mqtt.example.org"\ntls = true').broker
    named = read('kind = "tasmota"\nbroker = "[::1]:1884"\nca_file = "ca.pem"').broker
    assert plain is not None
    assert secured is not None
    assert named is not None
    assert (plain.host, plain.port, plain.tls) == ("homeassistant.local", 1883, False)
    assert (secured.port, secured.tls) == (8883, True)
    assert (named.host, named.port, named.tls) == ("::1", 1884, True)
    assert named.ca_file == Path("/etc/daisee/ca.pem")


def test_paths_start_from_the_folder_of_the_settings() -> None:
    settings = read('kind = "replay"\nfile = "home.csv"\npace = 60')
    assert settings.file == Path("/etc/daisee/home.csv")
    assert settings.max_power_w == 60 * 36_000


def test_the_owners_mapping() -> None:
    settings = read(
        """
        kind = "json"
        broker = "h"
        topic = "t"
        meter_id = "grid"
        time_path = "at"
        paths = [
          { register = "import_wh", path = "a.b", unit = "kWh" },
          { register = "power_w", path = "", unit = "W", sign = -1 },
        ]
        """
    )
    assert settings.mapping.rules == (
        PathRule("a.b", Register.IMPORT_WH, "kWh"),
        PathRule("", Register.POWER_W, "W", -1),
    )
    assert (settings.mapping.meter_id, settings.meter_id) == ("grid", "grid")
    assert settings.mapping.time_path == "at"


def test_radio_layouts_and_list_meaning() -> None:
    emon = read(
        """
        kind = "emon"
        port = "/dev/ttyAMA0"
        layouts = [{ node = 5, name = "tx", names = ["P", "E"], datacodes = "hl", scales = [0.1] }]
        """
    )
    assert emon.layouts[5].scales == (Decimal("0.1"),)
    assert read('kind = "tasmota"\nbroker = "h"\nlists = "total_first"').lists is (
        ListMeaning.TOTAL_FIRST
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("meter.kind", "is missing")),
        ('kind = "linki"\nport = "/x"', ("did you mean 'linky'",)),
        ('kind = "linky"\nprot = "/x"', ("meter.prot", "did you mean port")),
        ('kind = "linky"', ("neither port, broker, url nor file",)),
        ('kind = "linky"\nport = "/x"\nbroker = "h"', ("port and broker given",)),
        ('kind = "tasmota"\nport = "/x"', ("tasmota is not reached by port",)),
        ('kind = "shelly"\nurl = "tcp://h:1"', ("is not reached by url of tcp",)),
        ('kind = "linky"\nport = 5', ("meter.port", "5 is no text")),
        ('kind = "linky"\nport = ""', ("meter.port",)),
        ('kind = "linky"\nport = "/x"\nbaud = 9601', ("meter.baud", "9601")),
        ('kind = "linky"\nport = "/x"\nbaud = "9600"', ("meter.baud", "whole number")),
        ('kind = "linky"\nport = "/x"\nmode = "8E1"', ("meter.mode",)),
        ('kind = "shelly"\nurl = "h.local"', ("meter.url", "begin with")),
        ('kind = "shelly"\nurl = "ftp://h"', ("meter.url",)),
        (
            'kind = "shelly"\nurl = "http://me:word@h"',
            ("meter.url", "holds a user", "password_file"),
        ),
        ('kind = "shelly"\nurl = "http://h"\npoll_s = 0', ("meter.poll_s",)),
        ('kind = "shelly"\nurl = "http://h"\nbaud = 9600', ("no serial line",)),
        ('kind = "shelly"\nbroker = "h:0"', ("meter.broker", "no port from 1 to 65535")),
        ('kind = "json"\nbroker = "h"\ntopic = "t"', ("meter.paths", "is missing")),
        (
            f'kind = "json"\nbroker = "h"\n{IN_WH}',
            ("meter.topic", "is missing"),
        ),
        (
            'kind = "json"\nurl = "http://h"\npaths = [{register = "import_wh", path = "x"}]',
            ("meter.paths[0].unit",),
        ),
        (
            f'kind = "json"\nurl = "http://h"\n{IN_WH.replace("Wh", "W")}',
            ("meter.paths[0].unit", "known: Wh"),
        ),
        (
            f'kind = "json"\nurl = "http://h"\n{IN_WH.replace("path =", "pth =")}',
            ("meter.paths[0].pth", "did you mean path"),
        ),
        ('kind = "json"\nurl = "http://h"\npaths = 3', ("meter.paths", "no list")),
        ('kind = "json"\nurl = "http://h"\npaths = [3]', ("3 is no table",)),
        (
            'kind = "emon"\nport = "/x"\nlayouts = [{node = 1, names = ["a"], datacodes = "zz"}]',
            ("meter.layouts[0].datacodes",),
        ),
        ('kind = "sunspec"\nurl = "modbus://h"\nreversed = 1', ("meter.reversed", "true nor")),
    ],
)
def test_a_slip_is_told_with_its_key(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    assert str(FILE) in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("address", ["", ":1", "h:", "h:x", "h:65536", "h/x", "[::1", "a b", "h:0"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match=r"no host and port|no port from"):
        host_and_port(address, 1883)


VALUES = st.one_of(
    st.text(max_size=12), st.integers(), st.booleans(), st.floats(), st.lists(st.integers())
)


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=3), st.sampled_from(sorted(KINDS)))
def test_no_table_at_all_is_more_than_refused(table: dict[str, object], kind: str) -> None:
    with pytest.raises(ConfigurationError):
        MeterSettings.from_table({"port": 1, **table, "kind": kind}, FILE)
