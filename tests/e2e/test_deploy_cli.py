"""``daisee chain deploy`` said wrongly, once, and again: nothing is sent that cannot stand, what
is said later is done or refused."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import Any, Final

import pytest
from click.testing import CliRunner

from node.chain.bootstrap import ACCESS
from node.chain.community import load_community
from node.chain.engines.anvil import find_anvil
from node.chain.http import http_rpc
from node.chain.keys import Key
from node.chain.network.founding import ROLES
from node.chain.network.layout import COMMUNITY_FILE, Plan, init_network
from node.chain.network.record import Network
from node.chain.rpc import Sender
from node.cli.main import cli
from node.errors import ChainUnreachable, ConfigurationError
from tests.support.node_process import free_port, pause

CHAIN_ID: Final = 4_714
SUPPLIER: Final = "0x" + "ab" * 20
SECOND: Final = Key(b"2" * 32)
ETHER: Final = 10**18
NOBODY_THERE: Final = "http://127.0.0.1:1"
RELAY: Final = "https://relay.street.example/"
_UP_TRIES: Final = 200


@dataclass(frozen=True, slots=True)
class Founded:
    """An operator's folder and a chain of its number that gives its account gas."""

    folder: Path
    network: Network
    url: str

    def deploy(self, *words: str, expect: int = 0, rpc: str = "") -> str:
        """What the command says on both streams."""
        result = CliRunner().invoke(
            cli, ["chain", "deploy", str(self.folder), "--rpc", rpc or self.url, *words]
        )
        assert result.exit_code == expect, (result.output, result.exception)
        return result.output

    def document(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            CliRunner()
            .invoke(
                cli,
                ["chain", "deploy", str(self.folder), "--rpc", self.url, *words, "--json"],
            )
            .stdout
        )
        return found

    def has_role(self, role: str, account: str) -> bool:
        async def asked() -> bool:
            access = load_community(self.folder / COMMUNITY_FILE).contracts["AccessManager"]
            async with http_rpc(self.url) as rpc:
                has_it, _ = await rpc.call(access, ACCESS, "hasRole", ROLES[role], account)
                return bool(has_it)

        return asyncio.run(asked())

    @property
    def file(self) -> Path:
        return self.folder / COMMUNITY_FILE


@pytest.fixture(scope="module")
def chain() -> Iterator[str]:
    try:
        program = find_anvil()
    except ConfigurationError as error:
        pytest.skip(error.message)
    port = free_port()
    command = [str(program), "--port", str(port), "--hardfork", "london", "--silent"]
    with subprocess.Popen(
        [*command, "--chain-id", str(CHAIN_ID)], stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture
def founded(chain: str, tmp_path: Path) -> Founded:
    """Not deployed yet."""
    plan = Plan("Rue des Lilas", "geth", CHAIN_ID, validators=1, rpc_nodes=1, light_keys=True)
    network, _ = init_network(tmp_path / "street", plan, token_bytes)

    async def fund() -> None:
        async with http_rpc(chain) as rpc:
            for account in (network.operator, SECOND.address):
                await rpc.ask("anvil_setBalance", account, hex(1_000 * ETHER))

    for _ in range(_UP_TRIES):
        try:
            asyncio.run(fund())
            break
        except ChainUnreachable:
            pause(0.05)
    return Founded(tmp_path / "street", network, chain)


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("--grant", "supplier=0x" + "ZZ" * 20), 2, "is no address"),
        (("--grant", "supplier=0x" + "aB" * 20), 2, "is no address"),  # no such checksum
        (("--grant", "supplier"), 2, "is no address"),
        (("--grant", f"mayor={SUPPLIER}"), 2, "administrator, operator, treasurer"),
        (("--network-fee", "1", "--fee-recipient", "0x" + "aB" * 20), 2, "is no address"),
        (("--public-rpc", "rpc.example"), 3, "rpc_urls"),
        (("--public-rpc", "https://7:TOKEN@rpc.example/"), 3, "rpc_urls"),
        (("--relay", "ftp://relay.example/"), 3, "relay_urls"),
    ],
)
def test_what_cannot_stand_is_refused_before_anything_is_sent(
    founded: Founded, words: tuple[str, ...], code: int, complaint: str
) -> None:
    for dry in ((), ("--dry-run",)):
        # Nobody is there to send anything to.
        said = founded.deploy(*words, "--yes", *dry, expect=code, rpc=NOBODY_THERE)
        assert complaint in " ".join(said.split())
        assert "TOKEN" not in said
    assert not founded.file.exists()


def test_what_is_said_later_is_done_once(founded: Founded) -> None:
    first = founded.document("--slot", "60", "--yes")
    assert (first["deployed"], first["community"]["relay_urls"]) == (True, [])
    assert first["community"]["finality_depth"] == 8
    market = first["community"]["contracts"]["EnergyMarket"]
    later = (
        *("--relay", RELAY, "--public-rpc", "https://rpc.street.example/"),
        *("--grant", f"supplier={SUPPLIER}", "--grant", f"administrator={SECOND.address}"),
        *("--grant", f"administrator={SUPPLIER}"),
    )
    before = founded.file.read_text()
    said = founded.deploy(*later, "--dry-run")
    assert f"Gives the role supplier to {SUPPLIER}".lower() in said.lower()
    assert f"relay_urls = {RELAY}" in said
    assert "say --yes" in founded.deploy(*later, expect=2)
    assert founded.file.read_text() == before
    assert not founded.has_role("supplier", SUPPLIER)

    done = founded.document(*later, "--yes")
    assert (done["deployed"], done["changed"]) == (False, True)
    agreed = tomllib.loads(founded.file.read_text())
    assert agreed["relay_urls"] == [RELAY]
    assert agreed["rpc_urls"] == ["https://rpc.street.example/"]
    assert agreed["contracts"]["EnergyMarket"] == market
    for role, account in (
        ("supplier", SUPPLIER),
        ("administrator", SECOND.address),
        ("administrator", SUPPLIER),
    ):
        assert founded.has_role(role, account)
    # Again, and said by nothing at all, there is nothing to do and nothing is asked.
    for words in (later, ()):
        assert founded.document(*words)["changed"] is False
    assert tomllib.loads(founded.file.read_text()) == agreed


def test_other_rules_than_the_markets_are_refused(founded: Founded) -> None:
    founded.document("--slot", "60", "--gate", "20", "--yes")
    before, said = founded.file.read_text(), ""
    for words, complaint in (
        (("--slot", "900"), "can never change"),
        (("--gate", "30"), "--gate 20, and not 30"),
        (("--ticks", "100"), "--ticks 224, and not 100"),
        (("--network-fee", "5", "--fee-recipient", SUPPLIER), "--network-fee 0, and not 5"),
    ):
        said = founded.deploy(*words, "--relay", RELAY, "--yes", expect=6)
        assert complaint in " ".join(said.split())
    assert "scheduleRules" in said
    assert founded.file.read_text() == before
    assert "as agreed" in founded.deploy("--slot", "60", "--gate", "20", "--floor", "4000")


def test_the_depth_of_an_older_release_is_brought_up_to_date(founded: Founded) -> None:
    founded.document("--yes")
    older = founded.file.read_text().replace("finality_depth = 8", "finality_depth = 6")
    founded.file.write_text(older)
    said = founded.deploy("--yes")
    assert re.search(r"finality_depth = 8 .* where 6 is", " ".join(said.split()))
    assert "finality_depth = 8" in founded.file.read_text()


def test_a_second_administrator_takes_the_roles_of_a_stolen_key(founded: Founded) -> None:
    founded.document("--yes", "--grant", f"administrator={SECOND.address}")
    operator = founded.network.operator
    assert founded.has_role("treasurer", operator)

    async def take() -> None:
        community = load_community(founded.file)
        async with http_rpc(founded.url) as rpc:
            sender = Sender(rpc, SECOND, gas_price=community.gas_price_wei)
            access = community.contracts["AccessManager"]
            for role in ("treasurer", "administrator"):
                await sender.send(access, ACCESS, "revokeRole", ROLES[role], operator)

    asyncio.run(take())
    assert not founded.has_role("treasurer", operator)
    said = founded.deploy("--grant", f"supplier={SUPPLIER}", "--yes", expect=6)
    assert "refused" in said
