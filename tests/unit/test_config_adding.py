"""Settings that a program changes: the values it means, and nothing else of the file."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config.adding import Scalar, replace_file, with_settings
from node.errors import ConfigurationError

OWN = """\
# mine
[meter]
kind = "linky"  # the green one

[household]   # us
name = "home"
number = 0    # from the operator

# [chain]
# rpc = "http://validator.example:8545"
"""


def test_a_new_section_goes_to_the_end() -> None:
    changed = with_settings(OWN, "chain", {"rpc": "http://x", "trade": False, "chain_id": 7})
    assert changed.startswith(OWN)
    assert changed.removeprefix(OWN) == '\n[chain]\nrpc = "http://x"\ntrade = false\nchain_id = 7\n'


def test_a_value_is_replaced_where_it_stands_with_its_comment() -> None:
    changed = with_settings(OWN, "household", {"number": 12})
    assert changed == OWN.replace("number = 0    #", "number = 12    #")


def test_a_new_value_goes_below_its_heading() -> None:
    changed = with_settings(OWN, "household", {"slot_s": 600})
    assert "[household]   # us\nslot_s = 600\nname" in changed
    assert tomllib.loads(changed)["household"] == {"slot_s": 600, "name": "home", "number": 0}


def test_an_empty_file_gets_the_section_alone() -> None:
    assert with_settings("", "key", {"keystore": "/k"}) == '[key]\nkeystore = "/k"\n'


def test_the_same_again_changes_nothing() -> None:
    values: dict[str, Scalar] = {"rpc": "http://x", "chain_id": 7, "trade": True}
    once = with_settings(OWN, "chain", values)
    assert with_settings(once, "chain", values) == once


@pytest.mark.parametrize("written", ['"a \\" # b"', "'a # b'", "true", "1_000"])
def test_every_kind_of_value_on_one_line_is_replaced_whole(written: str) -> None:
    text = f"[key]\ncredential = {written} # note\n"
    changed = with_settings(text, "key", {"credential": "new"})
    assert changed == '[key]\ncredential = "new" # note\n'


@given(
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30),
)
def test_text_comes_back_as_it_went_in(first: str, second: str) -> None:
    text = with_settings(OWN, "key", {"keystore": first, "credential": second})
    assert tomllib.loads(text)["key"] == {"keystore": first, "credential": second}
    again = with_settings(text, "key", {"keystore": second})
    assert tomllib.loads(again)["key"] == {"keystore": second, "credential": second}


def test_a_file_is_replaced_with_its_mode_kept(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "config.toml"
    replace_file(path, "a = 1\n")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    replace_file(path, "a = 2\n")
    assert path.read_text() == "a = 2\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in path.parent.iterdir()] == ["config.toml"]


def test_a_place_that_cannot_be_written_is_an_expected_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        replace_file(tmp_path / "file" / "config.toml", "")
