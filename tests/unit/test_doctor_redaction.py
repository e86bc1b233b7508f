"""What a person typed into the settings never leaves the house, wherever it turns up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config import NodeConfig, load_config
from node.doctor.redaction import (
    NAME_NOBODY,
    redacted_settings,
    redacted_text,
    secrets_of,
    typed_texts,
)

TYPED = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="'\"\\#"),
    min_size=4,
    max_size=30,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings")


def config_with(folder: Path, host: str, topic: str, household: str) -> NodeConfig:
    file = folder / "config.toml"
    file.write_text(
        f"[household]\nname = '{household}'\nnumber = 17\n"
        f"[meter]\nkind = 'tasmota'\nbroker = '{host}'\ntopic = '{topic}'\nperiod_s = 30\n"
        f"[publish]\nbroker = '{host}'\n"
    )
    return load_config(file, {})


@given(TYPED, TYPED, TYPED)
def test_what_was_typed_is_in_no_text(folder: Path, host: str, topic: str, household: str) -> None:
    config = config_with(folder, host, topic, household)
    settings = redacted_settings(config)
    assert settings["meter.period_s"] == 30
    assert settings["meter.kind"] == "tasmota"
    assert settings["meter.broker"] == settings["meter.topic"] == "<redacted>"
    assert settings["household.name"] == settings["household.number"] == "<redacted>"
    fault = f"{topic}: no answer from {host}, said {household}"
    shown = redacted_text(fault, secrets_of(config, []))
    for typed in (host, topic, household):
        if typed not in "<redacted>: no answer from <redacted>, said <redacted>":
            assert typed not in shown


@given(TYPED)
def test_settings_that_cannot_be_read_give_their_values_up_as_well(typed: str) -> None:
    content = f'[meter]\nport = "{typed}"\nbroken = \'{typed}\nbare = {typed}\n'
    shown = redacted_text(f"cannot use {typed} here", typed_texts(content, []))
    assert typed not in shown or typed in NAME_NOBODY or typed in "cannot use <redacted> here"


@pytest.mark.parametrize(
    "private",
    [
        "https://user:word@validator.example:8545/path",
        "0x5FbDB2315678afecb367f032d93F642f64180aa3",
        "b8:27:eb:12:34:56",
        "192.168.1.20",
        "fe80::1ff:fe23:4567:890a",
        "marie@example.org",
        "/dev/serial/by-id/usb-FTDI_A1B2C3",
        "/data/marie/node.db",
        "25203473204149",
        "ELD12345678",
        "0a01454d48000078a1c2",
    ],
)
def test_what_looks_private_is_left_out_unknown_as_it_is(private: str) -> None:
    for text in (private, f"no answer from {private}: try again", f"({private})"):
        shown = redacted_text(text, [])
        assert private not in shown
        assert "<redacted>" in shown


@pytest.mark.parametrize(
    "text",
    [
        "checksum: 12 of 400 could not be used",
        "daisee meter detect; docs/doctor.md says more at 14:30:05",
        "the newest is 2 d old, 77015 MiB free",
        "nonce 1234567, household without a signer",
    ],
)
def test_what_helps_stays(text: str) -> None:
    assert redacted_text(text, ["vm"]) == text


def test_a_short_name_goes_where_it_stands_alone() -> None:
    shown = redacted_text("vm: kvm on vm.local", ["vm"])
    assert shown == "<redacted>: kvm on <redacted>.local"


def test_which_household_it_is_stays_at_home() -> None:
    assert redacted_text("household 17 is suspended", []) == "household <redacted> is suspended"


def test_words_that_name_nobody_are_no_secrets(folder: Path) -> None:
    hidden = secrets_of(config_with(folder, "localhost", "daisee", "home"), ["root"])
    assert redacted_text("daisee on localhost, as root, at home", hidden) == (
        "daisee on localhost, as root, at home"
    )
    assert json.dumps(redacted_settings(config_with(folder, "h", "t", "n")))
