"""A relay's account: made on its machine, given gas by the operator, no more than was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.chain.keyfiles import open_key
from node.chain.network.keeping import KeyFiles
from tests.support.invited import everything_in
from tests.support.joined import Street

pytestmark = pytest.mark.usefixtures("light_keys")

COIN_WEI = 10**18


def test_an_account_is_made_once_and_is_its_users_alone(lilas: Street, tmp_path: Path) -> None:
    folder = tmp_path / "relay"
    made = lilas.document("relay", "make", str(folder), "--light-keys")
    files = KeyFiles(folder / "relay.json", folder / "password")
    assert made["made"] is True
    assert made["address"] == open_key(files).address.lower()
    assert [path.stat().st_mode & 0o777 for path in (folder, *sorted(folder.iterdir()))] == [
        *(0o700, 0o600, 0o600)
    ]
    before = everything_in(folder)
    again = lilas.document("relay", "make", str(folder), "--light-keys")
    assert (again["made"], again["address"]) == (False, made["address"])
    assert everything_in(folder) == before


def test_the_operator_fills_it_up(lilas: Street, tmp_path: Path) -> None:
    folder = str(tmp_path / "relay")
    address = str(lilas.document("relay", "make", folder, "--light-keys")["address"])
    fund = ("relay", "fund", address, *lilas.network)

    def given_and_held(*words: str) -> tuple[int, int]:
        document = lilas.document(*words)
        return document["given_wei"], document["held_wei"]

    assert lilas.say(*fund).exit_code == 2  # asks, and nobody is there to answer
    assert given_and_held(*fund, "--dry-run") == (0, 0)
    assert given_and_held(*fund, "--yes", "--coins", "3") == (3 * COIN_WEI, 3 * COIN_WEI)
    assert given_and_held(*fund, "--yes", "--coins", "2") == (0, 3 * COIN_WEI)
    by_folder = ("relay", "fund", folder, *lilas.network, "--yes", "--coins", "4")
    assert given_and_held(*by_folder) == (COIN_WEI, 4 * COIN_WEI)


@pytest.mark.parametrize(
    ("account", "code", "why"),
    [
        ("0x12", 2, "neither 0x and 40 hexadecimal digits nor a folder"),
        ("nowhere", 2, "neither 0x and 40 hexadecimal digits nor a folder"),
        (".", 3, "this is no keystore"),
    ],
)
def test_an_account_that_is_none(lilas: Street, account: str, code: int, why: str) -> None:
    result = lilas.say("relay", "fund", account, *lilas.network, "--yes")
    assert (result.exit_code, why in result.stderr) == (code, True), result.output
