"""A relay over real sockets, and a household behind it, on a chain that lives in real time."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import aiohttp
import pytest

from node.chain import relay_http as relay_module
from node.chain.household_market import ChainMarket
from node.chain.keys import Key
from node.chain.relay_desk import Limits
from node.chain.relay_http import LEFT_ALONE_S, RelayClient, serve_relay
from node.chain.relay_orders import (
    BINARY,
    JSON,
    MAX_BODY_BYTES,
    answers_of,
    order_document,
    packed,
)
from node.chain.rpc import Sender
from node.errors import ChainUnreachable, ConfigurationError, Refused
from node.model import Order, Side, SignedOrder
from node.service.relaying import RelayService
from tests.support.relay_street import (
    GAS_PRICE,
    OPEN_SLOTS,
    RelayStreet,
    relaying,
    street_on_anvil,
)

RELAYER: Final = Key(b"r" * 32)
EVERYWHERE: Final = socket.inet_ntoa(bytes(4))
GENEROUS: Final = Limits(address_burst=10_000)


@asynccontextmanager
async def relayed(
    homes: int = 3, *, limits: Limits = GENEROUS, behind_front: bool = False
) -> AsyncIterator[tuple[RelayStreet, RelayService, str]]:
    async with (
        street_on_anvil(homes) as street,
        relaying(street, RELAYER, limits=limits, behind_front=behind_front) as (service, url),
    ):
        yield street, service, url


async def post(url: str, body: bytes, kind: str = BINARY, **headers: str) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + "/orders", data=body, headers={"Content-Type": kind} | headers) as said,
    ):
        return said.status, await said.read()


def on_street(
    test: Callable[[RelayStreet, RelayService, str], Awaitable[None]],
    **options: Any,  # noqa: ANN401 - of relayed
) -> None:
    async def run() -> None:
        async with relayed(**options) as (street, service, url):
            await test(street, service, url)

    asyncio.run(run())


def household_market(street: RelayStreet, number: int, relay: RelayClient | None) -> ChainMarket:
    sender = Sender(street.rpc, street.keys[number - 1], gas_price=GAS_PRICE)
    return ChainMarket(street.client, sender, street.clock, relay)


def test_orders_that_are_handed_over_are_mined_in_either_form() -> None:
    async def handed(street: RelayStreet, service: RelayService, url: str) -> None:
        status, said = await post(url, packed([street.order(1), street.order(1, Side.ASK)]))
        assert status == 200
        assert [answer.reason for answer in answers_of(said, 2)] == ["", ""]
        body = json.dumps({"orders": [order_document(street.order(2))]}).encode()
        status, said = await post(url, body, JSON)
        assert (status, answers_of(said, 1)[0].taken) == (200, True)
        found = await street.until_accepted(3)
        assert {(event.household, event.side) for event in found} == {
            (1, Side.BID),
            (1, Side.ASK),
            (2, Side.BID),
        }
        async with aiohttp.ClientSession() as session, session.get(url + "/status") as page:
            document = await page.json()
        assert document["schema"] == "daisee.relay.status/1"
        assert (document["orders_taken"], document["members"]) == (3, 3)
        assert service.status()["trouble"] == ""

    on_street(handed)


def test_each_order_has_its_own_answer() -> None:
    async def answered(street: RelayStreet, _: RelayService, url: str) -> None:
        good = street.order(1)
        orders = [
            good,
            good,
            street.sign(replace(good.order, energy_wh=9_001)),
            replace(good, order=replace(good.order, energy_wh=1)),
            SignedOrder(replace(good.order, household=99), good.signature),
            street.order(2, slot=5),
        ]
        said = (await post(url, packed(orders)))[1]
        assert [answer.reason for answer in answers_of(said, len(orders))] == [
            "",
            "",
            "energy_out_of_limit",
            "wrong_signature",
            "unknown_household",
            "gate_not_open",
        ]

    on_street(answered)


def test_a_new_member_is_known_within_seconds_and_a_suspended_one_too() -> None:
    async def followed(street: RelayStreet, service: RelayService, _: str) -> None:
        from node.chain.bootstrap import REGISTRY  # noqa: PLC0415

        operator = Sender(street.rpc, street.operator, gas_price=GAS_PRICE)
        await operator.send(street.registry, REGISTRY, "suspend", 1)
        await operator.send(street.registry, REGISTRY, "admit", street.operator.address, 1, 1, 1)
        async with asyncio.timeout(20):
            while service.members.get(4) is None:  # noqa: ASYNC110 - the relay looks by itself
                await asyncio.sleep(0.1)
        member = service.members.get(1)
        assert member is not None
        assert not member.active

    on_street(followed)


def test_a_household_orders_through_the_relay_once_and_then_by_itself() -> None:
    async def ordered(street: RelayStreet, service: RelayService, url: str) -> None:
        await street.give_gas(street.keys[0].address)
        async with RelayClient.open(url) as relay:
            market = household_market(street, 1, relay)
            bid, ask = street.order(1), street.order(1, Side.ASK)
            await market.submit(bid)
            await street.until_accepted(1)
            assert service.desk.taken == 1
            await market.submit(bid)  # again: directly, which the market refuses, and says so
            late = street.sign(replace(ask.order, slot=street.slots(OPEN_SLOTS - 1)[-1]))
            await market.submit(late)  # less than a quarter of its gate is left
            assert service.desk.taken == 1
        accepted = [(event.slot, event.side) for event in await street.accepted()]
        assert sorted(accepted) == sorted([(bid.order.slot, 1), (late.order.slot, 0)])

    on_street(ordered)


@pytest.mark.parametrize("fault", ["refuses", "away", "garbage", "silent", "endless"])
def test_a_relay_that_fails_is_passed_over(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "ANSWER_WITHIN_S", 0.5)

    async def passed() -> None:
        async with street_on_anvil(1) as street, bad_relay(fault) as url:
            await street.give_gas(street.keys[0].address)
            async with RelayClient.open(url) as relay:
                market = household_market(street, 1, relay)
                await market.submit(street.order(1))
                await market.submit(street.order(1, Side.ASK))
            assert len(await street.accepted()) == 2

    asyncio.run(passed())


@asynccontextmanager
async def bad_relay(fault: str) -> AsyncIterator[str]:
    said = {
        "refuses": b'{"orders": [{"reason": "relay_full", "taken": false}]}',
        "garbage": b"<html>" * 9,
    }
    held: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.add(writer)
        await reader.read(2_000)
        if fault in said:
            body = said[fault]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        elif fault == "endless":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 100_000)
        elif fault == "away":
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in held:
            writer.transport.abort()
        await server.wait_closed()


def test_a_relay_that_does_not_answer_is_left_alone_for_a_while() -> None:
    async def left() -> None:
        now_s = 0.0
        async with bad_relay("away") as url, aiohttp.ClientSession() as session:
            client = RelayClient(url, session, lambda: now_s)
            order = SignedOrder(Order(1, 1, Side.BID, 1, 4_000), bytes(64))
            with pytest.raises(ChainUnreachable, match="does not answer"):
                await client.hand_over(order)
            with pytest.raises(ChainUnreachable, match="a moment ago"):
                await client.hand_over(order)
            now_s = LEFT_ALONE_S
            with pytest.raises(ChainUnreachable, match="does not answer"):
                await client.hand_over(order)

    asyncio.run(left())


def test_what_is_no_order_is_told_so_and_counted() -> None:
    async def told(street: RelayStreet, service: RelayService, url: str) -> None:
        good = packed([street.order(1)])
        assert (await post(url, good, "text/plain"))[0] == 415
        assert (await post(url, good[:-1]))[0] == 400
        assert (await post(url, b""))[0] == 400
        assert (await post(url, b"{}", JSON))[0] == 400
        assert (await post(url, b"[" * 60_000, JSON))[0] == 400
        assert (await post(url, b" " * (MAX_BODY_BYTES + 1)))[0] == 413
        async with aiohttp.ClientSession() as session:
            async with session.get(url + "/orders") as said:
                assert said.status == 405
            async with session.get(url + "/") as said:
                assert said.status == 404
        assert service.desk.refused == {"malformed": 6}
        assert service.desk.taken == 0

    on_street(told)


def test_an_address_that_sends_too_much_is_told_to_go_elsewhere() -> None:
    async def flooded(street: RelayStreet, service: RelayService, url: str) -> None:
        for _ in range(2):
            assert (await post(url, b"nonsense"))[0] == 400
        assert (await post(url, b"nonsense"))[0] == 429
        assert (await post(url, packed([street.order(1)] * 6)))[0] == 429
        assert service.desk.taken == 0
        async with RelayClient.open(url) as relay:
            await relay.hand_over(street.order(2))  # one is still allowed

    on_street(flooded, limits=Limits(address_burst=45, address_per_s=0.0))


def test_behind_a_front_the_front_tells_whose_address_it_is() -> None:
    async def fronted(street: RelayStreet, _: RelayService, url: str) -> None:
        good = packed([street.order(1)])
        for address in ("192.0.2.1", "::ffff:192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"):
            assert (await post(url, good, **{"X-Forwarded-For": address}))[0] == 200
        for address in ("6.6.6.6, 192.0.2.1", "2001:db8::2", "2001:db8:0:1:ffff::"):
            assert (await post(url, good, **{"X-Forwarded-For": address}))[0] == 429

    on_street(fronted, limits=Limits(address_burst=1, address_per_s=0.0), behind_front=True)


def test_slow_clients_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "REQUEST_WITHIN_S", 0.3)

    async def slow(street: RelayStreet, _: RelayService, url: str) -> None:
        port = int(url.rpartition(":")[2])
        begun = b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
        for start in (b"", b"POST", begun, begun + b"Content-Length: 113\r\n\r\nabc"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(start)
            async with asyncio.timeout(15):
                said = await reader.read()
            assert said == b"" or b" 408 " in said
            writer.close()
        async with RelayClient.open(url) as relay:
            await relay.hand_over(street.order(1))

    on_street(slow)


def test_one_address_has_so_many_connections_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_module, "MAX_OF_ADDRESS", 4)

    async def crowded(street: RelayStreet, _: RelayService, url: str) -> None:
        port = int(url.rpartition(":")[2])
        writers = []
        for _number in range(4):
            writer = (await asyncio.open_connection("127.0.0.1", port))[1]
            writers.append(writer)
        await asyncio.sleep(0.2)
        async with RelayClient.open(url) as relay:
            with pytest.raises(ChainUnreachable):
                await relay.hand_over(street.order(1))
        for writer in writers:
            writer.close()
        await asyncio.sleep(0.2)
        async with RelayClient.open(url) as relay:
            await relay.hand_over(street.order(1))

    on_street(crowded)


def test_beyond_loopback_only_when_asked() -> None:
    async def refused(street: RelayStreet, service: RelayService, url: str) -> None:
        assert street.url
        with pytest.raises(ConfigurationError, match="open to the network"):
            async with serve_relay(service.desk, dict, host=EVERYWHERE):
                pass
        with pytest.raises(ConfigurationError, match="cannot listen"):
            async with serve_relay(service.desk, dict, port=int(url.rpartition(":")[2])):
                pass
        async with serve_relay(service.desk, dict, host=EVERYWHERE, beyond_loopback=True) as port:
            assert port

    on_street(refused)


def test_a_relay_without_gas_says_so_and_loses_nothing() -> None:
    async def poor(street: RelayStreet, service: RelayService, url: str) -> None:
        await street.rpc.ask("anvil_setBalance", RELAYER.address, "0x0")
        async with RelayClient.open(url) as relay:
            await relay.hand_over(street.order(1))
        async with asyncio.timeout(20):
            while not service.status()["trouble"]:  # noqa: ASYNC110 - the relay looks by itself
                await asyncio.sleep(0.1)
        assert "insufficient funds" in str(service.status()["trouble"]).lower()
        await street.give_gas(RELAYER.address)
        await street.until_accepted(1)

    on_street(poor)


def test_a_refusal_is_named() -> None:
    async def named(street: RelayStreet, _: RelayService, url: str) -> None:
        async with RelayClient.open(url) as relay:
            with pytest.raises(Refused) as refused:
                await relay.hand_over(SignedOrder(street.order(1).order, bytes(64)))
        assert refused.value.reason == "wrong_signature"

    on_street(named)
