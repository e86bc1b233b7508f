"""Which decoder is made of which settings, and where secrets are read from."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.errors import ConfigurationError
from node.meter.codec import MeterFrame
from node.meter.decoders import message_decoder, secret, stream_codec
from node.meter.detect import Port, serial_ports
from node.meter.settings import KINDS, MeterSettings, Way
from tests.support.p1_telegrams import encrypted, telegram
from tests.support.shared import shared_path

KEY = bytes(range(16, 32))
AUTHENTICATION_KEY = bytes.fromhex("00112233445566778899AABBCCDDEEFF")


@pytest.mark.parametrize("kind", [kind for kind, ways in KINDS.items() if Way.SERIAL in ways])
def test_every_kind_with_a_line_has_a_codec(kind: str) -> None:
    codec = stream_codec(MeterSettings(kind, port="/dev/x"))()
    assert codec.feed(b"\xff\x00noise\r\n" * 3) is not None


@pytest.mark.parametrize(
    "kind", [kind for kind, ways in KINDS.items() if {Way.MQTT, Way.HTTP} & set(ways)]
)
def test_every_kind_with_messages_has_a_decoder(kind: str) -> None:
    assert message_decoder(MeterSettings(kind, url="http://h"))("", b"{}")


def test_the_others_have_none() -> None:
    with pytest.raises(ValueError, match="as a stream"):
        stream_codec(MeterSettings("shelly"))
    with pytest.raises(ValueError, match="as messages"):
        message_decoder(MeterSettings("sml"))


def test_an_encrypted_port_with_its_key(tmp_path: Path) -> None:
    file = tmp_path / "meter.key"
    file.write_text(f"{KEY.hex()}\n")
    codec = stream_codec(MeterSettings("dsmr-p1", port="/dev/x", key_file=file))()
    (frame,) = codec.feed(encrypted(telegram(), KEY, AUTHENTICATION_KEY))
    assert isinstance(frame, MeterFrame)
    assert frame.import_wh == 2_375_582


def test_a_sensor_of_citizenwatt_with_the_published_key() -> None:
    packet = shared_path("frames/citizenwatt/generated-payload.bin").read_bytes()
    codec = stream_codec(MeterSettings("citizenwatt", port="/tmp/sensor"))()  # noqa: S108 - a name
    (frame,) = codec.feed(packet)
    assert isinstance(frame, MeterFrame)
    assert frame.power_va == 1234


@pytest.mark.parametrize("content", ["", "abc", "zz" * 16, "00" * 15, "00" * 17])
def test_a_key_that_is_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "meter.key"
    file.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        stream_codec(MeterSettings("dsmr-p1", port="/dev/x", key_file=file))
    assert caught.value.file == file


def test_a_secret_is_the_first_line(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes("pässword \nsecond".encode())
    assert secret(file) == "pässword"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="no text"):
        secret(file)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        secret(tmp_path / "none")


class KnownPort:
    def __init__(self, device: str, description: str) -> None:
        self.device = device
        self.description = description


def test_ports_are_called_by_the_name_that_stays(tmp_path: Path) -> None:
    device = tmp_path / "ttyUSB0"
    device.touch()
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (by_id / "usb-FTDI_TIC").symlink_to(device)
    known = [KnownPort("/dev/ttyAMA0", "ttyAMA0"), KnownPort(str(device), "FT230X")]
    assert serial_ports(by_id, lambda: known) == [
        Port(str(by_id / "usb-FTDI_TIC"), str(device), "FT230X"),
        Port("/dev/ttyAMA0", "/dev/ttyAMA0", "ttyAMA0"),
    ]
    assert serial_ports(tmp_path / "none", list) == []
