"""Where a chain is asked: with a token from a file, and with none from anywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config.endpoints import Endpoint, endpoint_of, file_of, misplaced, without_credentials
from node.errors import ConfigurationError


def written(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "rpc-url"
    path.write_text(text)
    path.chmod(mode)
    return f"file:{path}"


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("https://7:abc@rpc.example/\n", Endpoint("https://rpc.example/", "7", "abc")),
        ("http://7:a%2Fb%40c@[::1]:8545", Endpoint("http://[::1]:8545", "7", "a/b@c")),
        ("https://7@rpc.example/x?y", Endpoint("https://rpc.example/x?y", "7", "")),
        ("http://10.77.0.1:8545", Endpoint("http://10.77.0.1:8545")),
    ],
)
def test_a_file_holds_a_url_and_what_opens_it(
    tmp_path: Path, text: str, endpoint: Endpoint
) -> None:
    found = endpoint_of(written(tmp_path, text))
    assert found == endpoint
    assert found.password == endpoint.password
    assert not endpoint.password or endpoint.password not in repr(found)


@pytest.mark.parametrize(
    "text",
    ["", "SEKRET", "ftp://7:SEKRET@x/", "https://7:SEK/RET@x/", "https://7:SEKRET@", "http://a b"],
)
def test_a_file_with_something_else_is_named_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="holds no URL") as refused:
        endpoint_of(written(tmp_path, text))
    assert "SEK" not in str(refused.value)
    assert "rpc-url" in str(refused.value)


def test_a_file_of_others_and_one_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="others may read"):
        endpoint_of(written(tmp_path, "http://7:a@x/", 0o640))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        endpoint_of(f"file:{tmp_path / 'none'}")


@pytest.mark.parametrize("place", ["https://7:SEKRET@x/", "https://7:SEK/RET@x/", "7:SEKRET@x"])
def test_a_token_that_stands_in_no_file_is_refused_and_not_shown(place: str) -> None:
    with pytest.raises(ConfigurationError, match="a user or a token") as refused:
        endpoint_of(place)
    assert "SEK" not in str(refused.value)
    assert "SEK" not in misplaced(place)


def test_a_file_is_written_in_either_way() -> None:
    assert file_of("file:/etc/x") == file_of("file:///etc/x") == Path("/etc/x")
    assert file_of("http://x") is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the relay at http://7:SEKRET@x:1/y is away", "the relay at http://x:1/y is away"),
        ("401, url='https://7:SEKRET@x/'", "401, url='https://x/'"),
        ("mail a@b.example, see http://x/", "mail a@b.example, see http://x/"),
    ],
)
def test_what_is_shown_has_no_token(text: str, shown: str) -> None:
    assert without_credentials(text).startswith(shown)


@given(st.text("abz019:/@?#'\"%", max_size=20), st.sampled_from(["http", "https", "modbus"]))
def test_nothing_before_the_host_is_ever_shown(userinfo: str, scheme: str) -> None:
    shown = without_credentials(f"asked {scheme}://{userinfo}SEKRET@host:8545/x in vain")
    assert shown == f"asked {scheme}://host:8545/x in vain"
