"""Members on real contracts: admitted in one go, stopped, given another key, paid their gas."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from node.chain.admitting import Admission, Terms, admit_household, plan_admission
from node.chain.bootstrap import ACCESS, REGISTRY, Role
from node.chain.client import MarketAddress, MarketClient
from node.chain.community import Community
from node.chain.engines.embedded import EmbeddedChain
from node.chain.invites import make_invite
from node.chain.join_requests import NUMBERS_AHEAD, VALID_S, JoinRequest, make_request
from node.chain.joining import check_invited, number_of, verify_clock
from node.chain.keys import Key, MarketSigner
from node.chain.membership import (
    Standing,
    member,
    members,
    name_signer,
    reinstate,
    require_known,
    require_roles,
    revoke_signer,
    suspend,
    top_up,
)
from node.chain.rpc import Rpc, Sender
from node.clock import ManualClock
from node.errors import ChainMismatch, ChainUnreachable, Refused
from node.model import Order, Side, SignedOrder
from tests.support.invited import draw
from tests.support.joined import RULES, founded

GENESIS_S = 1_800_000_000
OPERATOR = Key(b"f" * 32)
OWNER, SIGNER = Key(b"\x21" * 32), Key(b"\x22" * 32)
TERMS = Terms(2_250, 750, credit_units=10**10)


@dataclass
class Office:
    """An operator at work on an embedded chain, where each transaction is a block."""

    chain: EmbeddedChain
    operator: Sender
    community: Community
    ordered: set[int] = field(default_factory=set)

    @property
    def rpc(self) -> Rpc:
        return self.chain.rpc

    async def now_s(self) -> int:
        block: Any = await self.rpc.w3.eth.get_block("latest")
        return int(block["timestamp"])

    async def request(
        self, owner: Key = OWNER, signer: Key = SIGNER, *, seed: int = 0
    ) -> JoinRequest:
        now_s = await self.now_s()
        invite, _ = make_invite(self.community, OPERATOR, draw(seed), now_s)
        given = len(await members(self.rpc, self.community))
        return make_request(invite, owner, signer.address, given, now_s)[0]

    async def plan(self, request: JoinRequest, terms: Terms = TERMS) -> Admission:
        return await plan_admission(self.rpc, self.community, request, terms, await self.now_s())

    async def admit(self, request: JoinRequest, terms: Terms = TERMS) -> int:
        plan = await self.plan(request, terms)
        found = await admit_household(self.rpc, self.operator, self.community, plan)
        return found.number

    async def bid(self, household: int, signer: Key = SIGNER) -> int:
        """Order in the newest slot in which nobody did; the block in which it was accepted."""
        slot_s = RULES.slot_s
        slot = (await self.now_s()) // slot_s - 1
        while slot in self.ordered:
            slot -= 1
        self.ordered.add(slot)
        order = Order(household, slot, Side.BID, 100, 10_000)
        signature = MarketSigner(signer, self.rpc.chain_id, self.community.market).sign(order)
        client = MarketClient(self.rpc, MarketAddress(self.community.market, slot_s))
        carrier = Sender(self.rpc, signer, gas_price=self.chain.gas_price)
        return (await client.submit(carrier, SignedOrder(order, signature))).block


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    chain = await EmbeddedChain.start(genesis_s=GENESIS_S, funder=OPERATOR)
    try:
        community = await founded(
            chain.rpc, OPERATOR, url="http://127.0.0.1:1", gas_price_wei=chain.gas_price
        )
        operator = Sender(chain.rpc, OPERATOR, gas_price=chain.gas_price)
        yield Office(chain, operator, community)
    finally:
        await chain.close()


def lived(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test in an event loop of its own."""

    @functools.wraps(test)
    def whole(**given: object) -> None:
        asyncio.run(test(**given))

    return whole


def reason_of(refused: pytest.ExceptionInfo[Refused]) -> str:
    assert refused.value.next_step
    return refused.value.reason


@lived
async def test_an_admitted_household_trades_in_the_very_next_block() -> None:
    async with office() as at:
        request = await at.request()
        number = await at.admit(request)
        admitted_in = await at.rpc.head()
        assert await at.bid(number) == admitted_in + 1
        found = await member(at.rpc, at.community, number)
        assert (found.owner, found.signer) == (OWNER.address, SIGNER.address)
        assert found.standing is Standing.GOOD
        assert (found.import_limit_wh, found.export_limit_wh) == (2_250, 750)
        assert found.balance_units == 10**10 - 100 * 10_000
        assert await at.rpc.balance_wei(OWNER.address) == TERMS.gas_wei


@lived
async def test_requests_made_at_one_evening_are_approved_in_any_order() -> None:
    """Every one was made when nobody had a number yet."""
    async with office() as at:
        keys = [(Key(bytes([n]) * 32), Key(bytes([n + 100]) * 32)) for n in range(1, 7)]
        requests = [
            await at.request(owner, signer, seed=n) for n, (owner, signer) in enumerate(keys)
        ]
        random.Random(7).shuffle(requests)
        numbers = [await at.admit(request) for request in requests]
        assert numbers == [1, 2, 3, 4, 5, 6]
        for request, number in zip(requests, numbers, strict=True):
            found = await member(at.rpc, at.community, number)
            assert (found.owner, found.signer) == (request.owner, request.signer)
            assert found.standing is Standing.GOOD


@pytest.mark.parametrize("sent", range(7))
@lived
async def test_an_approval_that_was_interrupted_anywhere_goes_on(
    sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office() as at:
        request = await at.request()
        whole = Sender.send_all  # every transaction goes through it
        left = sent

        async def until_the_line_breaks(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            nonlocal left
            if left == 0:
                raise ChainUnreachable("the line is cut")
            left -= 1
            return await whole(*arguments, **named)

        with monkeypatch.context() as cut:
            cut.setattr(Sender, "send_all", until_the_line_breaks)
            with pytest.raises(ChainUnreachable):
                await at.admit(request)
        assert await at.admit(request) == 1
        found = await member(at.rpc, at.community, 1)
        assert len(await members(at.rpc, at.community)) == 1
        assert found.standing is Standing.GOOD
        assert found.balance_units == TERMS.credit_units
        assert found.gas_wei == TERMS.gas_wei
        assert (await at.plan(request)).is_done


@lived
async def test_an_approval_said_twice_gives_nothing_twice() -> None:
    async with office() as at:
        request = await at.request()
        number = await at.admit(request)
        await at.bid(number)
        plan = await at.plan(request, replace(TERMS, credit_units=10**12))
        assert plan.is_done
        assert (plan.credit_units, plan.gas_wei) == (0, 0)


@lived
async def test_a_request_cannot_bring_a_revoked_key_back() -> None:
    async with office() as at:
        request = await at.request()
        number = await at.admit(request)
        await revoke_signer(at.operator, at.community, number)
        with pytest.raises(Refused) as refused:
            await at.plan(request)
        assert reason_of(refused) == "out_of_date"


@lived
async def test_a_request_is_out_of_date_after_its_deadline_and_after_its_numbers() -> None:
    async with office() as at:
        request = await at.request()
        with pytest.raises(Refused) as refused:
            await plan_admission(at.rpc, at.community, request, TERMS, await at.now_s() + VALID_S)
        assert reason_of(refused) == "out_of_date"
        past = replace(request, first_number=2)
        with pytest.raises(Refused) as refused:
            await at.plan(past)
        assert reason_of(refused) == "out_of_date"
        assert len(request.naming) == NUMBERS_AHEAD


@pytest.mark.parametrize("change", [{"chain_id": 1}, {"registry": "0x" + "66" * 20}])
@lived
async def test_a_request_to_another_community_is_refused(change: dict[str, Any]) -> None:
    async with office() as at:
        with pytest.raises(Refused) as refused:
            await at.plan(replace(await at.request(), **change))
        assert reason_of(refused) == "wrong_community"


@lived
async def test_the_operator_stops_a_household_and_takes_it_back() -> None:
    async with office() as at:
        number = await at.admit(await at.request())
        await suspend(at.operator, at.community, number)
        assert (await member(at.rpc, at.community, number)).standing is Standing.SUSPENDED
        with pytest.raises(Refused):
            await at.bid(number)
        await reinstate(at.operator, at.community, number)
        await at.bid(number)


@lived
async def test_a_revoked_key_is_refused_in_the_next_block_and_the_owner_names_another() -> None:
    async with office() as at:
        number = await at.admit(await at.request())
        await at.bid(number)
        await revoke_signer(at.operator, at.community, number)
        found = await member(at.rpc, at.community, number)
        assert (found.standing, found.signer, found.gas_wei) == (Standing.NO_SIGNER, "", 0)
        with pytest.raises(Refused):
            await at.bid(number)
        new = Key(b"\x23" * 32)
        carrier = Sender(at.rpc, OWNER, gas_price=at.chain.gas_price)
        now_s = await at.now_s()
        named: dict[str, Any] = {"household": number, "signer": new.address, "now_s": now_s}
        await name_signer(at.rpc, carrier, at.community, OWNER, **named)
        await top_up(at.rpc, at.operator, [new.address])
        await at.bid(number, new)
        after = await member(at.rpc, at.community, number)
        assert (after.number, after.owner, after.signer) == (number, OWNER.address, new.address)


@lived
async def test_nobody_but_the_owner_names_a_signer() -> None:
    async with office() as at:
        number = await at.admit(await at.request())
        carrier = Sender(at.rpc, SIGNER, gas_price=at.chain.gas_price)
        named: dict[str, Any] = {"household": number, "signer": OPERATOR.address}
        named["now_s"] = await at.now_s()
        with pytest.raises(Refused) as refused:
            await name_signer(at.rpc, carrier, at.community, SIGNER, **named)
        assert reason_of(refused) == "not_owner"


@lived
async def test_an_account_without_the_role_is_told_before_anything_is_sent() -> None:
    async with office() as at:
        with pytest.raises(Refused) as refused:
            await require_roles(at.rpc, at.community, SIGNER.address, (Role.OPERATOR,))
        assert reason_of(refused) == "not_operator"
        await require_roles(at.rpc, at.community, OPERATOR.address, (Role.OPERATOR,))
        access = at.community.contracts["AccessManager"]
        await at.operator.send(
            access, ACCESS, "grantRole", int(Role.OPERATOR), SIGNER.address, 3_600
        )
        with pytest.raises(Refused) as refused:
            await require_roles(at.rpc, at.community, SIGNER.address, (Role.OPERATOR,))
        assert reason_of(refused) == "role_delayed"


@lived
async def test_an_unknown_household_is_named() -> None:
    async with office() as at:
        with pytest.raises(Refused, match="given out no numbers") as refused:
            await require_known(at.rpc, at.community, 1)
        assert reason_of(refused) == "unknown_household"


@lived
async def test_gas_is_topped_up_below_the_threshold_only_and_once() -> None:
    async with office() as at:
        poor, rich = "0x" + "51" * 20, "0x" + "52" * 20
        await at.operator.pay(rich, 1_000)
        await at.operator.pay(poor, 999)
        given = await top_up(at.rpc, at.operator, [poor, rich, poor], 1_000, 5_000)
        assert given == [poor]
        assert await at.rpc.balance_wei(poor) == 5_999
        assert await at.rpc.balance_wei(rich) == 1_000
        assert await top_up(at.rpc, at.operator, [poor, rich], 1_000, 5_000) == []


@lived
async def test_a_relayer_without_money_says_so() -> None:
    async with office() as at:
        beggar = Sender(at.rpc, Key(b"\x41" * 32), gas_price=at.chain.gas_price)
        with pytest.raises(ChainUnreachable):
            await top_up(at.rpc, beggar, ["0x" + "51" * 20])


# What a household checks


@lived
async def test_a_household_finds_its_number_once_it_is_admitted() -> None:
    async with office() as at:
        request = await at.request()
        assert await number_of(at.rpc, at.community, request) == 0
        other = await at.request(Key(b"\x31" * 32), Key(b"\x32" * 32), seed=1)
        await at.admit(other)
        assert await number_of(at.rpc, at.community, request) == 0
        await at.admit(request)
        assert await number_of(at.rpc, at.community, request) == 2


@lived
async def test_an_invite_to_the_right_chain_is_good() -> None:
    async with office() as at:
        clock = ManualClock(await at.now_s())
        assert (await check_invited(at.rpc, at.community, clock)).households == 0
        await at.admit(await at.request())
        clock = ManualClock(await at.now_s())
        assert (await check_invited(at.rpc, at.community, clock)).households == 1


@lived
async def test_an_operator_without_the_role_is_refused() -> None:
    async with office() as at:
        access = at.community.contracts["AccessManager"]
        await at.operator.send(access, ACCESS, "revokeRole", int(Role.OPERATOR), OPERATOR.address)
        with pytest.raises(Refused) as refused:
            await check_invited(at.rpc, at.community, ManualClock(await at.now_s()))
        assert reason_of(refused) == "not_operator"


@lived
async def test_contracts_of_another_release_are_refused() -> None:
    async with office() as at:
        contracts = dict(at.community.contracts)
        contracts["RecordBook"] = await at.operator.create(REGISTRY, contracts["AccessManager"], 1)
        with pytest.raises(ChainMismatch, match="RecordBook"):
            await check_invited(
                at.rpc, replace(at.community, contracts=contracts), ManualClock(await at.now_s())
            )


@pytest.mark.parametrize("off_s", [-3_600, -31])
@lived
async def test_a_clock_behind_the_chains_is_off(off_s: int) -> None:
    async with office() as at:
        with pytest.raises(Refused, match="behind") as refused:
            await verify_clock(at.rpc, ManualClock(await at.now_s() + off_s))
        assert reason_of(refused) == "clock_off"


@pytest.mark.parametrize("off_s", [-30, 0, 30])
@lived
async def test_half_a_minute_does_not_matter(off_s: int) -> None:
    async with office() as at:
        await verify_clock(at.rpc, ManualClock(await at.now_s() + off_s))


@lived
async def test_a_clock_ahead_is_off_if_a_new_block_says_so_too() -> None:
    async with office() as at:
        clock = ManualClock(await at.now_s() + 3_600)

        async def a_block_later() -> None:
            await asyncio.sleep(0.2)
            await at.operator.pay(SIGNER.address, 1)

        with pytest.raises(Refused, match="ahead") as refused:
            await asyncio.gather(verify_clock(at.rpc, clock, within_s=20), a_block_later())
        assert reason_of(refused) == "clock_off"


@lived
async def test_a_chain_that_stood_still_is_no_reason_once_it_goes_on() -> None:
    async with office() as at:
        clock = ManualClock(await at.now_s() + 3_600)

        async def a_block_of_now() -> None:
            await asyncio.sleep(0.2)
            await at.chain.stamp(clock.now_s())
            await at.operator.pay(SIGNER.address, 1)

        await asyncio.gather(verify_clock(at.rpc, clock, within_s=20), a_block_of_now())


@lived
async def test_a_chain_that_stands_still_is_said_to() -> None:
    async with office() as at:
        with pytest.raises(ChainUnreachable, match="no new one"):
            await verify_clock(at.rpc, ManualClock(await at.now_s() + 3_600), within_s=1)
