"""Gas money for members' signers, from a relay's account, on a chain that lives in real time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession

from node.chain.bootstrap import REGISTRY
from node.chain.keys import Key, name_signer_hash, registry_domain
from node.chain.rpc import Sender
from node.chain.top_ups import GasMoney, TopUps
from node.service.relaying import RelayService
from tests.support.relay_campaign import RELAYER as DAEMON
from tests.support.relay_campaign import relay_process
from tests.support.relay_street import (
    GAS_PRICE,
    NO_DEADLINE_S,
    RelayStreet,
    relaying,
    street_on_anvil,
)

RELAYER: Final = Key(b"t" * 32)
NEXT: Final = Key(b"n" * 32)
COIN: Final = 10**18
TERMS: Final = TopUps(below_wei=COIN // 5, amount_wei=COIN, daily_wei=3 * COIN, reserve_wei=COIN)


class Till:
    """A relay that gives gas, and a clock for its days."""

    def __init__(self, street: RelayStreet, service: RelayService, terms: TopUps) -> None:
        self.street = street
        self.service = service
        self.seconds = 0.0
        self.gas = GasMoney(
            street.rpc,
            street.registry,
            service.members,
            service.carrier,
            terms,
            lambda: self.seconds,
        )

    async def operator(self, function: str, *arguments: object) -> None:
        sender = Sender(self.street.rpc, self.street.operator, gas_price=GAS_PRICE)
        await sender.send(self.street.registry, REGISTRY, function, *arguments)

    async def has(self, wei: int) -> None:
        await self.street.rpc.ask("anvil_setBalance", RELAYER.address, hex(wei))

    async def wei_of(self, *keys: Key) -> list[int]:
        """Once nothing is on its way."""
        async with asyncio.timeout(30):
            while self.service.carrier.paying:  # noqa: ASYNC110 - the carrier works by itself
                await asyncio.sleep(0.1)
        return [await self.street.rpc.balance_wei(key.address) for key in keys]

    async def look(self) -> list[int]:
        """Which households' first keys got some."""
        given = await self.gas.look()
        numbers = {key.address.lower(): at for at, key in enumerate(self.street.keys, 1)}
        return [numbers[account] for account in given]


def at_a_till(test: Callable[[Till], Awaitable[None]], homes: int, terms: TopUps = TERMS) -> None:
    async def run() -> None:
        async with (
            street_on_anvil(homes) as street,
            relaying(street, RELAYER) as (service, _),
        ):
            await test(Till(street, service, terms))

    asyncio.run(run())


def test_current_signers_that_run_low_get_gas_and_nobody_else() -> None:
    """Not the suspended, not the revoked, not who has enough, not a key that was replaced, and no
    owner that is no signer."""

    async def given(till: Till) -> None:
        street = till.street
        await till.operator("suspend", 2)
        await till.operator("revokeSigner", 3)
        await street.give_gas(street.keys[3].address)
        domain = registry_domain(street.rpc.chain_id, street.registry)
        named = name_signer_hash(5, NEXT.address, 1, NO_DEADLINE_S)
        signature = street.keys[4].sign_recoverable(domain.digest(named))
        await till.operator("nameSignerFor", 5, NEXT.address, NO_DEADLINE_S, signature)
        await till.service.members.follow()
        paid = await till.gas.look()
        assert paid == [street.keys[0].address.lower(), NEXT.address.lower()]
        before = 10**20  # what home 4 has
        assert await till.wei_of(*street.keys, NEXT) == [COIN, 0, 0, before, 0, COIN]
        assert (till.gas.payments, till.gas.given_wei, till.gas.trouble) == (2, 2 * COIN, "")
        assert await till.gas.look() == []

    at_a_till(given, 5)


def test_the_registry_has_the_last_word(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the relay read of blocks that were replaced since is not paid for."""

    async def given(till: Till) -> None:
        stale = dict(enumerate(till.street.keys, 1))
        await till.operator("suspend", 1)
        await till.operator("revokeSigner", 2)
        signers = [(number, key.address.lower()) for number, key in stale.items()]
        monkeypatch.setattr(till.service.members, "signers", lambda: signers)
        assert await till.look() == [3]
        assert await till.wei_of(*till.street.keys) == [0, 0, COIN]

    with caplog.at_level(logging.INFO):
        at_a_till(given, 3)
    (line,) = [line for line in caplog.messages if "gas_given" in line]
    assert "household=3" in line
    assert f"wei={COIN}" in line


def test_the_relay_keeps_its_reserve(caplog: pytest.LogCaptureFixture) -> None:
    async def kept(till: Till) -> None:
        await till.has(3 * COIN + COIN // 2)
        assert await till.look() == [1, 2]
        assert "reserve" in till.gas.trouble
        assert await till.look() == []  # also while both are on their way
        assert await till.wei_of(*till.street.keys) == [COIN, COIN, 0, 0]
        assert await till.street.rpc.balance_wei(RELAYER.address) > TERMS.reserve_wei
        await till.has(9 * COIN)
        assert await till.look() == [3]  # then the day's bound of three
        assert "day's bound" in till.gas.trouble

    with caplog.at_level(logging.WARNING):
        at_a_till(kept, 4)
    assert sum("gas_not_given" in line for line in caplog.messages) == 2


def test_a_household_gets_gas_once_a_day_however_it_drains() -> None:
    async def drained(till: Till) -> None:
        key = till.street.keys[0]
        assert await till.look() == [1]
        await till.wei_of(key)
        await till.street.rpc.ask("anvil_setBalance", key.address, "0x0")
        till.seconds = 86_399.0
        assert await till.look() == []
        till.seconds = 86_400.0
        assert await till.look() == [1]
        assert await till.wei_of(key) == [COIN]

    at_a_till(drained, 1)


def test_payments_and_batches_share_an_account() -> None:
    async def shared(till: Till) -> None:
        street = till.street
        orders = [street.order(number) for number in range(1, 5)]
        await till.service.desk.take(orders[:2])
        assert await till.look() == [1, 2, 3]
        await till.service.desk.take(orders[2:])
        await street.until_accepted(4)
        assert await till.wei_of(*street.keys) == [COIN, COIN, COIN, 0]
        assert till.service.status()["trouble"] == ""

    at_a_till(shared, 4)


def test_the_relays_own_account_is_no_customer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def own(till: Till) -> None:
        relays = [(1, RELAYER.address.lower())]
        monkeypatch.setattr(till.service.members, "signers", lambda: relays)
        await till.has(0)
        assert await till.gas.look() == []
        assert till.gas.trouble == ""

    at_a_till(own, 1)


@pytest.mark.parametrize("none", [False, True])
def test_the_daemon_looks_by_itself_unless_it_is_told_not_to(tmp_path: Path, none: bool) -> None:  # noqa: FBT001 - a parameter
    async def lived() -> None:
        options = ("--top-up-every", "1s", "--top-up-below-wei", "5", "--top-up-wei", "7")
        async with street_on_anvil(2) as street:
            sender = Sender(street.rpc, street.operator, gas_price=GAS_PRICE)
            await sender.send(street.registry, REGISTRY, "suspend", 2)
            more = (*options, "--no-top-up") if none else options
            async with relay_process(street, tmp_path, *more) as url, ClientSession() as session:
                document: dict[str, object] = {}
                for _ in range(20 if none else 200):
                    async with session.get(f"{url}/status") as page:
                        document = await page.json()
                    if await street.rpc.balance_wei(street.keys[0].address):
                        break
                    await asyncio.sleep(0.2)
            wei = [await street.rpc.balance_wei(key.address) for key in street.keys]
            assert wei == ([0, 0] if none else [7, 0])
            assert document["account"] == DAEMON.address
            assert document["gas_trouble"] == ""
            said = (tmp_path / "relay.log").read_text()
            assert said.count("gas_given ") == (0 if none else 1)

    asyncio.run(lived())
