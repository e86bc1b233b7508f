"""What was wrong with the first DAISEE contracts must not come back: one test per defect.

They are the defects of ``daisee.sol`` and ``DaiseeCoin`` of 2017: a market that took its token from
the caller, let a house's own consumption wrap around to 2^256, added watts up as if they were Wh,
believed whatever production a house declared, wrote everything in clear, and had an owner who alone
could freeze, mint and set prices.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any, Final

import pytest

from node.chain.bootstrap import ROLE_FUNCTIONS, Role, rules_argument
from node.chain.client import order_argument
from node.chain.contracts import Contract
from node.chain.keys import MarketSigner
from node.model import MarketRules, Order, OrderRefused, OrderSettled, Refusal, Side, SignedOrder
from node.slots import slot_at
from tests.support.doubles import double
from tests.support.evm import CHAIN_ID, Reverted
from tests.support.market_chain import (
    ADMINISTRATOR,
    FEE_RECIPIENT,
    GENESIS_S,
    HOLDERS,
    OUTSIDER,
    Community,
    Moment,
    refused,
)

OURS: Final = ("HouseholdRegistry", "SettlementCredit", "EnergyMarket", "RecordBook")
RULES: Final = MarketRules(network_fee=200, fee_recipient=FEE_RECIPIENT)
SLOT: Final = slot_at(GENESIS_S, RULES.slot_s) + 10
CREDIT_UNITS: Final = 10**9
IMPORT_LIMIT_WH: Final = 2_250  # 9 kVA over a quarter of an hour
EXPORT_LIMIT_WH: Final = 750  # 3 kW

ROOF, FLAT = 1, 2


@cache
def opened() -> tuple[Community, Moment]:
    """A house with a roof and one without; the gate of SLOT is open."""
    community = Community(RULES)
    community.admit(IMPORT_LIMIT_WH, EXPORT_LIMIT_WH, units=CREDIT_UNITS)
    community.admit(IMPORT_LIMIT_WH, 0, units=CREDIT_UNITS)
    community.evm.now_s = RULES.gate_opens_s(SLOT)
    return community, community.save()


@pytest.fixture
def community() -> Community:
    found, moment = opened()
    found.restore(moment)
    return found


def ask(energy_wh: int, household: int = ROOF, slot: int = SLOT) -> Order:
    return Order(household, slot, Side.ASK, energy_wh, RULES.grid.floor_price)


def bid(energy_wh: int, household: int = FLAT, slot: int = SLOT) -> Order:
    return Order(household, slot, Side.BID, energy_wh, RULES.grid.cap_price)


def why_refused(community: Community, order: SignedOrder) -> Refusal:
    with pytest.raises(Reverted) as caught:
        community.submit(order)
    return Refusal(refused(caught.value))


# 1. The token came from the caller: one that always says yes gave energy for nothing.


def test_a_caller_cannot_bring_its_own_token(community: Community) -> None:
    own = double("ReentrantCredit")
    token = community.evm.create(own, OUTSIDER, sender=OUTSIDER)
    market = community.addresses["EnergyMarket"]
    community.evm.send(token, own, "issue", OUTSIDER, 10**9, sender=OUTSIDER)
    community.evm.send(token, own, "approve", market, 10**9, sender=OUTSIDER)
    with pytest.raises(Reverted, match="ERC20Insufficient"):
        community.send("EnergyMarket", "deposit", FLAT, 10**9, sender=OUTSIDER)
    assert community.balance_units(FLAT) == CREDIT_UNITS
    assert community.view("CREDIT") == community.addresses["SettlementCredit"]


def test_no_function_takes_a_token() -> None:
    for entry in abi("EnergyMarket"):
        if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure"):
            addresses = {p["name"] for p in flat(entry["inputs"]) if p["type"] == "address"}
            # setAuthority's: whom only the access manager can name
            assert addresses <= {"to", "feeRecipient", "newAuthority"}, entry["name"]


# 2. Consuming one's own energy took it from an allowance of 0: an underflow to 2^256.


def test_own_consumption_cannot_underflow(community: Community) -> None:
    """A house that sells to itself has what it had, less the network's charge."""
    own = [ask(500), replace(bid(500), household=ROOF)]
    community.submit_batch([community.signed(order) for order in own])
    community.evm.now_s = RULES.gate_closes_s(SLOT)
    community.settle(SLOT, [ROOF])
    assert community.balance_units(ROOF) == CREDIT_UNITS - 500 * RULES.network_fee
    assert community.view("feesOf", FEE_RECIPIENT) == 500 * RULES.network_fee


def test_nothing_is_taken_from_an_empty_account(community: Community) -> None:
    poor = community.admit(IMPORT_LIMIT_WH, 0, units=0).number
    order = community.signed(bid(1, household=poor))
    assert why_refused(community, order) is Refusal.INSUFFICIENT_CREDIT
    with pytest.raises(Reverted, match="EnergyMarketInsufficientBalance"):
        community.withdraw(poor, 1)
    assert community.balance_units(poor) == 0


# 3. Production was declared, unsigned, without a limit; samples of power were added up as energy.


def test_a_house_without_a_producer_cannot_sell(community: Community) -> None:
    order = community.signed(ask(1, household=FLAT))
    assert why_refused(community, order) is Refusal.ENERGY_OUT_OF_LIMIT


def test_nobody_declares_more_than_its_inverter_gives(community: Community) -> None:
    """The first prototype's producer sent the sum of its samples in W: some thousands per slot."""
    watts = [2_800] * 56  # a quarter of an hour, every 16 s
    too_much = community.signed(ask(sum(watts)))
    assert why_refused(community, too_much) is Refusal.ENERGY_OUT_OF_LIMIT
    beyond = community.signed(ask(EXPORT_LIMIT_WH + 1))
    assert why_refused(community, beyond) is Refusal.ENERGY_OUT_OF_LIMIT
    community.submit(community.signed(ask(EXPORT_LIMIT_WH)))


def test_declarations_do_not_add_up(community: Community) -> None:
    """One quantity per household, slot and side: a second is refused, not summed."""
    community.submit(community.signed(ask(400)))
    again = community.signed(ask(300))
    assert why_refused(community, again) is Refusal.DUPLICATE
    assert community.view("allocation", SLOT, ROOF)[3] == 400


def test_nothing_is_sold_that_nobody_produced(community: Community) -> None:
    community.submit_batch([community.signed(ask(100)), community.signed(bid(2_000))])
    community.evm.now_s = RULES.gate_closes_s(SLOT)
    events = community.events(community.settle(SLOT, [ROOF, FLAT]))
    filled = {e.side: e.filled_wh for e in events if isinstance(e, OrderSettled)}
    assert filled == {Side.ASK: 100, Side.BID: 100}


def test_energy_alone_without_a_signature_counts_for_nothing(community: Community) -> None:
    nobody = SignedOrder(ask(100), bytes(64))
    assert why_refused(community, nobody) is Refusal.WRONG_SIGNATURE
    owner = MarketSigner(
        community.members[ROOF].owner, CHAIN_ID, community.addresses["EnergyMarket"]
    )
    by_owner = SignedOrder(ask(100), owner.sign(ask(100)))
    assert why_refused(community, by_owner) is Refusal.WRONG_SIGNATURE


# 4. Negative sums were clipped to 0 and repeated readings dropped, without a word.


def test_what_is_not_taken_is_reported(community: Community) -> None:
    orders = [ask(0), ask(100), ask(100), replace(bid(5), limit_price=RULES.grid.floor_price + 1)]
    events = community.events(community.submit_batch(community.signed(o) for o in orders))
    reasons = [event.reason for event in events if isinstance(event, OrderRefused)]
    assert reasons == [
        Refusal.ENERGY_OUT_OF_LIMIT,
        Refusal.DUPLICATE,
        Refusal.PRICE_OFF_GRID,
    ]


# 5. The relay obeyed whoever connected.

ALTERED: Final = (
    replace(bid(100), household=ROOF),
    replace(bid(100), slot=SLOT + 1),
    replace(bid(100), side=Side.ASK),
    replace(bid(100), energy_wh=101),
    replace(bid(100), limit_price=RULES.grid.floor_price),
    replace(bid(100), evidence=b"e" * 32),
)


@pytest.mark.parametrize(
    "altered", ALTERED, ids=("household", "slot", "side", "energy", "price", "evidence")
)
def test_a_relay_can_alter_nothing(community: Community, altered: Order) -> None:
    community.send(
        "HouseholdRegistry",
        "changeLimits",
        FLAT,
        IMPORT_LIMIT_WH,
        IMPORT_LIMIT_WH,
        sender=HOLDERS[Role.OPERATOR],
    )
    signature = community.signed(bid(100)).signature
    community.evm.now_s = RULES.gate_opens_s(altered.slot)
    carried = SignedOrder(altered, signature)
    assert why_refused(community, carried) is Refusal.WRONG_SIGNATURE


def test_a_relay_cannot_carry_an_order_elsewhere_or_twice(community: Community) -> None:
    order, member = bid(100), community.members[FLAT]
    other_chain = MarketSigner(member.signer, CHAIN_ID + 1, community.addresses["EnergyMarket"])
    other_market = MarketSigner(member.signer, CHAIN_ID, OUTSIDER)
    for pen in (other_chain, other_market):
        carried = SignedOrder(order, pen.sign(order))
        assert why_refused(community, carried) is Refusal.WRONG_SIGNATURE
    community.submit(community.signed(order))
    assert why_refused(community, community.signed(order)) is Refusal.DUPLICATE


def test_a_word_with_more_than_its_fields_is_no_order(community: Community) -> None:
    """Bits beyond an order's fields are not signed, so nobody may add any."""
    word, *rest = order_argument(community.signed(bid(100)))
    assert isinstance(word, int)
    for bit in (129, 136, 160, 255):
        done = community.send(
            "EnergyMarket", "submitBatch", [(word | 1 << bit, *rest)], sender=OUTSIDER
        )
        (event,) = done.logs
        assert int.from_bytes(event.data[32:]) == Refusal.MALFORMED_SIDE


# 6. Measures stood on chain in clear, bound to an account.


def test_no_free_text_reaches_the_chain() -> None:
    """No function stores, and no event emits, text or bytes of any length: there is nowhere to
    write a name, an address or a delivery point. A word of 32 bytes is a digest or a commitment."""
    for name in OURS:
        for entry in abi(name):
            if entry["type"] == "function" and entry["stateMutability"] in ("view", "pure"):
                continue
            if entry["type"] not in ("function", "event"):
                continue
            if entry["name"] == "EIP712DomainChanged":
                assert entry["inputs"] == []
                continue
            for parameter in flat(entry["inputs"]):
                kind, word = parameter["type"].removesuffix("[]"), parameter["name"]
                if (entry["name"], word) == ("nameSignerFor", "signature"):
                    continue  # checked and forgotten
                assert kind not in ("string", "bytes"), (name, entry["name"], word)
                if kind == "bytes32":
                    assert word in ("evidence", "digest", "r", "s", "vs"), (entry["name"], word)


# 7. The owner alone could freeze, mint and set prices.


def test_the_administrator_alone_can_do_nothing_to_the_market(community: Community) -> None:
    """It gives out roles and holds none: every restricted function refuses it."""
    arguments: dict[str, tuple[object, ...]] = {
        "admit": (OUTSIDER, 1, 1, 1),
        "suspend": (FLAT,),
        "reinstate": (FLAT,),
        "revokeSigner": (FLAT,),
        "changeLimits": (FLAT, 0, 0),
        "changeSupplier": (FLAT, 2),
        "startRecovery": (FLAT, OUTSIDER),
        "issue": (ADMINISTRATOR, 1),
        "redeem": (community.addresses["EnergyMarket"], 1),
        "pause": (),
        "unpause": (),
        "scheduleRules": (rules_argument(SLOT + 10, RULES),),
        "recordRuling": (SLOT, b"d" * 32),
        "recordReport": (1, SLOT, SLOT, b"d" * 32),
    }
    for name, roles in ROLE_FUNCTIONS.items():
        for function in (function for functions in roles.values() for function in functions):
            with pytest.raises(Reverted, match="AccessManagedUnauthorized"):
                community.send(name, function, *arguments[function], sender=ADMINISTRATOR)


def test_all_roles_together_cannot_keep_a_household_from_its_money(community: Community) -> None:
    """Suspended, revoked, limited to nothing, paused, closed by the administrator: what it ordered
    settles, and what it has can be withdrawn."""
    community.submit_batch([community.signed(ask(100)), community.signed(bid(100))])
    operator, guardian = HOLDERS[Role.OPERATOR], HOLDERS[Role.GUARDIAN]
    for household in (ROOF, FLAT):
        community.send("HouseholdRegistry", "suspend", household, sender=operator)
        community.send("HouseholdRegistry", "revokeSigner", household, sender=operator)
        community.send("HouseholdRegistry", "changeLimits", household, 0, 0, sender=operator)
    community.send("EnergyMarket", "pause", sender=guardian)
    for name in OURS:
        closed = (community.addresses[name], True)
        community.send("AccessManager", "setTargetClosed", *closed, sender=ADMINISTRATOR)
    community.evm.now_s = RULES.gate_closes_s(SLOT)
    community.settle(SLOT, [ROOF, FLAT])
    earned = 100 * (RULES.grid.floor_price + RULES.grid.cap_price) // 2
    community.withdraw(ROOF, CREDIT_UNITS + earned)
    community.withdraw(FLAT, CREDIT_UNITS - earned - 100 * RULES.network_fee)
    assert community.balance_units(ROOF) == community.balance_units(FLAT) == 0
    fees = 100 * RULES.network_fee
    community.send("EnergyMarket", "withdrawFees", fees, FEE_RECIPIENT, sender=FEE_RECIPIENT)
    assert community.credit_units(community.addresses["EnergyMarket"]) == 0


def test_nobody_takes_credit_that_its_holder_did_not_allow(community: Community) -> None:
    treasurer = HOLDERS[Role.TREASURER]
    community.withdraw(FLAT, 100)
    for holder in (community.members[FLAT].owner.address, community.addresses["EnergyMarket"]):
        with pytest.raises(Reverted, match="ERC20InsufficientAllowance"):
            community.send("SettlementCredit", "redeem", holder, 1, sender=treasurer)


def test_prices_of_a_slot_that_has_begun_are_settled(community: Community) -> None:
    cheaper = replace(RULES, network_fee=0)
    for slot in (SLOT, slot_at(community.evm.now_s, RULES.slot_s)):
        with pytest.raises(Reverted, match="EnergyMarketNotFuture"):
            community.schedule(slot, cheaper)


# A token that calls the market again while it is paid out


@cache
def striking() -> tuple[Community, Moment, Contract]:
    """A community whose credit is itself the owner of household 3, and strikes back."""
    credit = double("ReentrantCredit")
    community = Community(RULES, credit)
    for _ in range(2):
        community.admit(IMPORT_LIMIT_WH, EXPORT_LIMIT_WH, units=CREDIT_UNITS)
    token = community.addresses["SettlementCredit"]
    operator = HOLDERS[Role.OPERATOR]
    community.send("HouseholdRegistry", "admit", token, 100, 100, 1, sender=operator)
    community.deposit(3, CREDIT_UNITS)
    community.evm.now_s = RULES.gate_opens_s(SLOT)
    return community, community.save(), credit


STRIKES: Final[Mapping[str, tuple[object, ...]]] = {
    "withdraw": (3, CREDIT_UNITS, OUTSIDER),
    "withdrawFees": (0, OUTSIDER),
    "deposit": (3, 1),
    "depositWithPermit": (3, 1, 0, 27, bytes(32), bytes(32)),
}


@pytest.mark.parametrize("function", STRIKES)
@pytest.mark.parametrize("moved_by", ["withdraw", "deposit"])
def test_a_reentrant_token_gets_nowhere(function: str, moved_by: str) -> None:
    community, moment, credit = striking()
    community.restore(moment)
    token, market = community.addresses["SettlementCredit"], community.addresses["EnergyMarket"]
    strike = market_call(community, function, *STRIKES[function])
    if moved_by == "withdraw":
        call = market_call(community, "withdraw", 3, CREDIT_UNITS, OUTSIDER)
    else:
        community.evm.send(token, credit, "issue", token, 1, sender=OUTSIDER)
        approval = credit.call("approve", market, 2)
        community.evm.send(token, credit, "act", token, approval, sender=OUTSIDER)
        call = market_call(community, "deposit", 3, 1)
    community.evm.send(token, credit, "arm", market, strike, sender=OUTSIDER)
    community.evm.send(token, credit, "act", market, call, sender=OUTSIDER)

    assert community.evm.call(token, credit, "outcome") == (True, False)
    in_accounts = sum(community.balance_units(number) for number in (1, 2, 3))
    assert in_accounts == community.credit_units(market)


def market_call(community: Community, function: str, *arguments: object) -> bytes:
    return community.known("EnergyMarket").call(function, *arguments)


# The ABIs


def abi(name: str) -> list[dict[str, Any]]:
    text = resources.files("node.chain").joinpath("artifacts", f"{name}.json").read_text()
    entries: list[dict[str, Any]] = json.loads(text)["abi"]
    return entries


def flat(parameters: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All parameters, a struct's components in its place."""
    for parameter in parameters:
        yield from flat(parameter["components"]) if "components" in parameter else (parameter,)
