"""What a relay takes from whom: reasons one by one, allowances, members as the registry tells."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from web3 import AsyncWeb3
from web3.providers.async_base import AsyncBaseProvider

from node.chain.bootstrap import REGISTRY
from node.chain.carrier import Carrier
from node.chain.client import MarketAddress, MarketClient
from node.chain.keys import Key, MarketSigner, OrderReader
from node.chain.relay_desk import EARLY_S, MAX_BUCKETS, Buckets, Desk, Limits, Members
from node.chain.rpc import Rpc
from node.clock import ManualClock
from node.errors import ChainUnreachable
from node.model import MarketRules, Order, Side, SignedOrder

CHAIN_ID: Final = 5
MARKET: Final = "0x" + "11" * 20
RULES: Final = MarketRules()
SLOT: Final = 1_000
OPENS_S: Final = RULES.gate_opens_s(SLOT)
KEYS: Final = {number: Key(bytes([number]) * 32) for number in (1, 2, 3)}
STRANGER: Final = Key(b"x" * 32)


def word(number: int) -> str:
    return f"0x{number:064x}"


def event(block: int, name: str, indexed: Sequence[int], *data: int) -> Mapping[str, Any]:
    return {
        "topics": ["0x" + REGISTRY.topics[name].hex(), *map(word, indexed)],
        "data": "0x" + "".join(f"{value:064x}" for value in data),
        "blockNumber": hex(block),
        "logIndex": "0x0",
    }


def admitted(block: int, number: int, key: Key) -> list[Mapping[str, Any]]:
    owner = int(key.address, 16)
    return [
        event(block, "HouseholdAdmitted", [number, owner], 9_000, 3_000, 1),
        event(block, "SignerNamed", [number, owner]),
    ]


class Registry(Rpc):
    """A registry's logs by block; counts what is asked."""

    def __init__(self) -> None:
        super().__init__(AsyncWeb3(AsyncBaseProvider()), CHAIN_ID)
        self.blocks: list[list[Mapping[str, Any]]] = [[]]
        self.asked = 0
        self.away = False

    async def head(self) -> int:
        if self.away:
            raise ChainUnreachable("away")
        return len(self.blocks) - 1

    async def logs(
        self, address: str, from_block: int, to_block: int, topics: Sequence[Any] = ()
    ) -> list[Mapping[str, Any]]:
        assert not topics
        assert address == "0xregistry"
        self.asked += 1
        return [log for block in self.blocks[from_block : to_block + 1] for log in block]


class Street:
    """A desk with three members, and a carrier that never sends."""

    def __init__(self, limits: Limits | None = None, *, opened_since_s: int = 0) -> None:
        self.rpc = Registry()
        self.clock = ManualClock(OPENS_S + opened_since_s)
        self.seconds = 0.0
        self.members = Members(self.rpc, "0xregistry")
        client = MarketClient(self.rpc, MarketAddress(MARKET, RULES.slot_s))
        self.carrier = Carrier(client, Key(b"c" * 32), self.clock)
        self.rules_asked: list[int] = []
        self.desk = Desk(
            members=self.members,
            carrier=self.carrier,
            rules_at=self.rules_at,
            reader=OrderReader(CHAIN_ID, MARKET),
            clock=self.clock,
            limits=limits or Limits(),
            seconds=lambda: self.seconds,
        )
        for number, key in KEYS.items():
            self.rpc.blocks.append(admitted(number, number, key))
        asyncio.run(self.members.follow())

    async def rules_at(self, slot: int) -> MarketRules:
        self.rules_asked.append(slot)
        if self.rpc.away:
            raise ChainUnreachable("away")
        return RULES

    def change(self, name: str, indexed: Sequence[int], *data: int) -> None:
        self.rpc.blocks.append([event(len(self.rpc.blocks), name, indexed, *data)])
        asyncio.run(self.members.follow())

    def reason(self, signed: SignedOrder) -> str:
        (answer,) = asyncio.run(self.desk.take([signed]))
        return answer.reason


def signed(order: Order, key: Key | None = None, *, chain_id: int = CHAIN_ID) -> SignedOrder:
    key = KEYS.get(order.household, STRANGER) if key is None else key
    return SignedOrder(order, MarketSigner(key, chain_id, MARKET).sign(order))


BID: Final = Order(1, SLOT, Side.BID, 5_000, 4_000)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (signed(replace(BID, household=9)), "unknown_household"),
        (signed(replace(BID, energy_wh=0)), "energy_out_of_limit"),
        (signed(replace(BID, energy_wh=9_001)), "energy_out_of_limit"),
        (signed(replace(BID, side=Side.ASK)), "energy_out_of_limit"),  # 5,000 Wh; it exports 3,000
        (signed(BID, STRANGER), "wrong_signature"),
        (signed(BID, KEYS[2]), "wrong_signature"),
        (signed(BID, chain_id=6), "wrong_signature"),
        (SignedOrder(BID, bytes(64)), "wrong_signature"),
        (SignedOrder(BID, b"\xff" * 64), "wrong_signature"),
        (replace(signed(BID), order=replace(BID, energy_wh=4_999)), "wrong_signature"),
        (signed(replace(BID, slot=SLOT - 1)), "gate_not_open"),
        (signed(replace(BID, slot=0)), "gate_not_open"),
        (signed(replace(BID, slot=SLOT + 1)), "gate_not_open"),
        (signed(replace(BID, limit_price=4_050)), "price_off_grid"),
        (signed(replace(BID, limit_price=0)), "price_off_grid"),
    ],
)
def test_what_the_market_would_refuse_is_not_taken(bad: SignedOrder, reason: str) -> None:
    street = Street()
    assert street.reason(bad) == reason
    assert street.carrier.held == 0
    assert street.desk.refused == {reason: 1}


def test_a_good_order_is_taken_once_however_often_it_comes() -> None:
    street = Street()
    assert [street.reason(signed(BID)) for _ in range(3)] == [""] * 3
    assert street.carrier.held == 1
    assert street.reason(signed(replace(BID, energy_wh=4_000))) == "duplicate"
    assert street.reason(signed(replace(BID, side=Side.ASK, energy_wh=3_000))) == ""
    assert street.carrier.held == 2


def test_members_come_and_go_as_the_registry_tells() -> None:
    street = Street()
    order = signed(BID)
    street.change("HouseholdSuspended", [1])
    assert street.reason(order) == "suspended"
    street.change("HouseholdReinstated", [1])
    street.change("SignerRevoked", [1, int(KEYS[1].address, 16)])
    assert street.reason(order) == "no_signer"
    street.change("SignerNamed", [1, int(STRANGER.address, 16)])
    assert street.reason(order) == "wrong_signature"
    assert street.reason(signed(BID, STRANGER)) == ""
    street.change("LimitsChanged", [2], 10, 10)
    assert street.reason(signed(replace(BID, household=2))) == "energy_out_of_limit"
    street.rpc.blocks.append(admitted(99, 4, STRANGER))
    asyncio.run(street.members.follow())
    assert street.reason(signed(replace(BID, household=4))) == ""
    street.change("OwnershipOffered", [2, 1, 2])  # of no interest
    assert len(street.members) == 4


def test_a_block_that_was_replaced_is_read_again() -> None:
    street = Street()
    street.change("HouseholdSuspended", [1])
    street.rpc.blocks[-1] = [event(4, "SignerNamed", [1, int(STRANGER.address, 16)])]
    street.change("HouseholdReinstated", [1])
    assert street.reason(signed(BID, STRANGER)) == ""


def test_a_stranger_makes_the_relay_ask_nothing() -> None:
    street = Street()
    asked = street.rpc.asked
    for number in range(50):
        street.reason(signed(replace(BID, household=number, slot=number), STRANGER))
    assert street.rules_asked == []
    assert street.rpc.asked == asked


def test_a_member_is_allowed_so_much_and_a_forger_does_not_use_it_up() -> None:
    street = Street(Limits(household_burst=3, household_per_s=0.5))
    for _ in range(20):
        street.reason(signed(BID, STRANGER))
    assert [street.reason(signed(BID)) for _ in range(4)] == ["", "", "", "household_too_busy"]
    assert street.reason(signed(replace(BID, household=2))) == ""
    street.seconds = 2.0
    assert [street.reason(signed(BID)) for _ in range(2)] == ["", "household_too_busy"]


def test_an_address_is_allowed_so_much_and_gets_it_back_with_time() -> None:
    street = Street(Limits(address_burst=10, address_per_s=1.0))
    assert street.desk.allows("a", 6)
    assert not street.desk.allows("a", 6)
    assert street.desk.allows("a", 4)
    assert street.desk.allows("b", 10)
    street.seconds = 5.0
    assert street.desk.allows("a", 5)
    assert not street.desk.allows("a", 1)
    assert street.desk.refused == {"address_too_busy": 7}


def test_allowances_are_remembered_of_a_bounded_number() -> None:
    buckets = Buckets(1, 0.0, lambda: 0.0)
    assert all(buckets.take(key) for key in range(MAX_BUCKETS + 1))
    assert not buckets.take(MAX_BUCKETS)
    assert buckets.take(0)  # forgotten, and so begins anew


def test_rules_are_asked_for_once_when_they_are_final() -> None:
    street = Street()
    for household in KEYS:
        assert street.reason(signed(replace(BID, household=household))) == ""
    assert street.rules_asked == [SLOT]


def test_an_order_may_come_a_little_early_and_never_late() -> None:
    street = Street(opened_since_s=-EARLY_S - 1)
    assert street.reason(signed(BID)) == "gate_not_open"
    street.clock.advance_to(OPENS_S - EARLY_S)
    assert street.reason(signed(BID)) == ""
    street.clock.advance_to(RULES.gate_closes_s(SLOT))
    assert street.reason(signed(replace(BID, household=2))) == "gate_not_open"


def test_without_the_chain_it_says_so() -> None:
    street = Street()
    street.rpc.away = True
    assert street.reason(signed(BID)) == "chain_away"
    with pytest.raises(ChainUnreachable):
        asyncio.run(street.members.follow())
    nobody = Desk(
        members=Members(street.rpc, "0xregistry"),
        carrier=street.carrier,
        rules_at=street.rules_at,
        reader=OrderReader(CHAIN_ID, MARKET),
        clock=street.clock,
    )
    with pytest.raises(ChainUnreachable, match="members"):
        asyncio.run(nobody.take([signed(BID)]))
