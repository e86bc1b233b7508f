"""The commands that look into a market, on a live chain: a local node that speaks JSON-RPC."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from node.chain.bootstrap import Role, admit, deploy, grant, issue_and_deposit, market_client
from node.chain.http import http_rpc
from node.chain.keys import Key, MarketSigner
from node.chain.rpc import Rpc, Sender
from node.cli.main import cli
from node.cli.sources import ledger_from
from node.model import (
    EventPage,
    LogPosition,
    MarketEvent,
    MarketRules,
    Order,
    Side,
    SignedOrder,
)
from node.slots import iso_utc
from tests.support.homes import some_homes, write_homes
from tests.support.honest_market import FEE_RULES, SCARCE, HonestMarket
from tests.support.shared import CHECKOUT

ADMINISTRATOR: Final = Key(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
"""The first account that every development chain of this kind funds."""

RULES: Final = MarketRules(
    slot_s=10,
    gate_s=10,
    network_fee=100,
    fee_recipient="0x00000000000000000000000000000000000000fE",
)
NOBODY: Final = "0x00000000000000000000000000000000000000fe"
START_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class LiveMarket:
    """Where a market of three households trades, and the slot in which they did."""

    url: str
    address: str
    slot: int

    def inspect(self, *arguments: str) -> Result:
        where = ("--rpc", self.url, "--market", self.address)
        return CliRunner().invoke(cli, [*arguments, *where])


@pytest.fixture(scope="module")
def live() -> Iterator[LiveMarket]:
    local = CHECKOUT / "node_modules" / ".bin" / "anvil"
    program = str(local) if local.exists() else shutil.which("anvil")
    if program is None:
        pytest.skip("anvil is not installed (npm ci)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--hardfork", "london", "--silent"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as chain:
        try:
            wait_for(port)
            url = f"http://127.0.0.1:{port}"
            yield asyncio.run(trade_once(url))
        finally:
            chain.terminate()


def wait_for(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    pytest.fail(f"anvil did not listen within {START_S} s")


async def trade_once(url: str) -> LiveMarket:
    """Three households trade in one slot; only the seller's order is settled."""
    async with http_rpc(url) as rpc:
        sender = Sender(rpc, ADMINISTRATOR, gas_price=2 * 10**9)
        deployment = await deploy(rpc, sender, RULES)
        for role in Role:
            await grant(sender, deployment, role, ADMINISTRATOR.address)
        keys = {}
        for secret in (b"a", b"b", b"c"):
            key = Key(secret * 32)
            number = await admit(
                *(rpc, sender, deployment, key, key.address),
                import_limit_wh=9_000,
                export_limit_wh=9_000,
            )
            keys[number] = key
        await issue_and_deposit(sender, deployment, dict.fromkeys(keys, 10**10))
        market = market_client(rpc, deployment)
        latest: Any = await rpc.w3.eth.get_block("latest")
        slot = int(latest["timestamp"]) // RULES.slot_s
        await stamp(rpc, RULES.gate_opens_s(slot) + 1)
        seller, first, second = keys
        orders = (
            Order(seller, slot, Side.ASK, 500, 4_000),
            Order(first, slot, Side.BID, 300, 25_000),
            Order(second, slot, Side.BID, 500, 12_000),
        )
        await market.submit_batch(
            sender,
            [
                SignedOrder(
                    order,
                    MarketSigner(keys[order.household], rpc.chain_id, deployment.market).sign(
                        order
                    ),
                )
                for order in orders
            ],
        )
        await stamp(rpc, RULES.gate_closes_s(slot) + 1)
        await market.settle(sender, slot, [seller])
        return LiveMarket(url, deployment.market, slot)


async def stamp(rpc: Rpc, unix_s: int) -> None:
    """Give the next block this time."""
    method: Any = "evm_setNextBlockTimestamp"
    await rpc.w3.provider.make_request(method, [unix_s])


def test_the_audit_of_a_chain_agrees(live: LiveMarket) -> None:
    result = live.inspect("audit")
    assert result.exit_code == 0, result.output
    assert "3 orders, 1 clearings, 1 settlements, 0.500 kWh traded." in result.stdout


def test_a_slot_of_a_chain_is_explained(live: LiveMarket) -> None:
    assert "12.00 ct/kWh" in live.inspect("slot", str(live.slot)).stdout
    line = json.loads(live.inspect("slot", str(live.slot), "--json").stdout)
    assert (line["price"], line["matched_wh"]) == (12_000, 500)
    assert [order["filled_wh"] for order in line["orders"]] == [500, 300, 200]


def test_balances_of_a_chain_are_those_of_its_market(live: LiveMarket) -> None:
    found = json.loads(live.inspect("balance", "--json").stdout)["households"]
    assert [account["balance_units"] for account in found] == [
        10**10 + 500 * 12_000,
        10**10 - 300 * 25_100,
        10**10 - 500 * 12_100,
    ]
    assert [account["due_units"] for account in found] == [0, 300 * 13_000, 300 * 12_100]


def test_trades_of_a_chain(live: LiveMarket) -> None:
    trades = json.loads(live.inspect("trades", "--json").stdout)["trades"]
    assert [trade["filled_wh"] for trade in trades] == [500, 300, 200]


def test_a_household_that_the_chain_does_not_know(live: LiveMarket) -> None:
    result = live.inspect("balance", "77")
    assert result.exit_code == 2
    assert "has no household '77'" in result.stderr


def test_a_simulation_on_a_chain_can_be_looked_into_from_its_folder_and_from_the_chain(
    live: LiveMarket, tmp_path: Path
) -> None:
    """Beside the market that is already there; a day later, because a chain does not go back."""
    start_s = ((live.slot * RULES.slot_s) // 86_400 + 2) * 86_400
    data = write_homes(tmp_path / "data", some_homes(3, 4), start_s=start_s)
    folder = tmp_path / "run"
    arguments = ["simulate", "--data", str(data), "--chain", live.url, "--out", str(folder)]
    printed = CliRunner().invoke(cli, arguments)
    assert printed.exit_code == 0, printed.output
    facts = json.loads((folder / "results.json").read_text())["chain"]
    assert f"audit --rpc {live.url} --market {facts['market']}" in printed.stdout
    on_chain = LiveMarket(live.url, facts["market"], start_s // 900)
    numbers = {f"home-{number}": str(number) for number in (1, 2, 3)}

    def both(noun: str, *words: str) -> tuple[Any, Any]:
        """What a command tells of the folder, with numbers for names, and what of the chain."""
        of_run = CliRunner().invoke(cli, [noun, *words, "--json", "--run", str(folder)])
        of_chain = on_chain.inspect(noun, *words, "--json")
        assert of_run.exit_code == of_chain.exit_code == 0, of_chain.output
        text = of_run.stdout
        for name, number in numbers.items():
            text = text.replace(f'"{name}"', f'"{number}"')
        return json.loads(text), json.loads(of_chain.stdout)

    for noun, words in (
        ("audit", ()),
        ("trades", ()),
        ("balance", ()),
        ("balance", ("2",)),
        ("slot", (str(on_chain.slot + 1),)),
    ):
        of_run, of_chain = both(noun, *words)
        assert of_run == of_chain
    other = json.loads(live.inspect("trades", "--json").stdout)["trades"]
    assert len(other) == 3  # the first market knows nothing of the second

    report = ("supplier", "report", "--timezone", "UTC", "--month", iso_utc(start_s)[:7])
    for form in ("--json", "--csv"):
        kept = CliRunner().invoke(cli, [*report, form, "--run", str(folder)])
        assert kept.exit_code == 0, kept.output
        assert "home-1" not in kept.stdout
        assert kept.stdout_bytes == on_chain.inspect(*report, form).stdout_bytes


def test_an_address_without_a_market_is_not_the_chain_agreed_on(live: LiveMarket) -> None:
    result = CliRunner().invoke(cli, ["audit", "--rpc", live.url, "--market", NOBODY])
    assert result.exit_code == 5
    assert "no contract" in result.stderr


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("http://127.0.0.1:1", 5, "does not answer"),
        ("nonsense", 3, "the chain's URL is 'nonsense'; http:// or https://"),
    ],
)
def test_a_chain_that_does_not_answer(url: str, code: int, said: str) -> None:
    result = CliRunner().invoke(cli, ["audit", "--rpc", url, "--market", NOBODY])
    assert result.exit_code == code
    assert said in result.stderr


class Pages:
    """A market whose events come a few at a time."""

    def __init__(self, events: list[MarketEvent], at_once: int) -> None:
        self._events = events
        self._at_once = at_once

    async def events_after(self, position: LogPosition) -> EventPage:
        left = [event for event in self._events if event.position > position]
        page = left[: self._at_once]
        return EventPage(page, page[-1].position, more=len(left) > len(page))


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_a_ledger_is_made_of_all_pages(at_once: int) -> None:
    market = HonestMarket()
    market.schedule(FEE_RULES)
    events = market.trade(SCARCE)
    with asyncio.run(ledger_from(Pages(events, at_once))) as ledger:
        assert list(ledger.events()) == events
