"""Logs become events: each kind, signs and absences included; a foreign form is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from node.chain.contracts import contract
from node.chain.events import LogDecoder
from node.errors import ChainMismatch
from node.model import (
    Deposited,
    LogPosition,
    MarketEvent,
    MarketRules,
    OrderAccepted,
    OrderRefused,
    OrderSettled,
    PriceGrid,
    Refusal,
    RulesScheduled,
    Side,
    SlotCleared,
    Withdrawn,
)

AT = LogPosition(12, 3)
ALICE = "0x00000000000000000000000000000000000a11ce"
TOPICS = contract("EnergyMarket").topics


def log(
    name: str, indexed: Sequence[int], types: Sequence[str], values: Sequence[object]
) -> dict[str, Any]:
    """A log as a chain gives it: the event's topic, one word for each indexed value, the data."""
    return {
        "topics": [TOPICS[name], *(word.to_bytes(32) for word in indexed)],
        "data": encode(types, values),
        "blockNumber": AT.block,
        "logIndex": AT.index,
    }


def decoded(*logs: dict[str, Any]) -> list[MarketEvent]:
    return list(LogDecoder(slot_s=900).decode(logs))


def test_an_acceptance() -> None:
    evidence = bytes(range(32))
    found = decoded(
        log(
            "OrderAccepted",
            (77, 5),
            ("uint8", "uint32", "uint32", "uint64", "bytes32"),
            (1, 800, 25_000, 2**41, evidence),
        )
    )
    assert found == [OrderAccepted(AT, 77, 5, Side.BID, 800, 25_000, 2**41, evidence)]


@pytest.mark.parametrize("side", [0, 1, 7])
def test_a_refusal_tells_the_side_as_it_was_sent(side: int) -> None:
    found = decoded(log("OrderRefused", (77, 5), ("uint8", "uint8"), (side, 9)))
    assert found == [OrderRefused(AT, 77, 5, side, Refusal.DUPLICATE)]


@pytest.mark.parametrize("price", [25_000, None])
def test_a_clearing_with_and_without_a_price(price: int | None) -> None:
    types = ("bool", "uint32", "uint64", "uint64", "uint64")
    values = (price is not None, price or 0, 10, 20, 30)
    assert decoded(log("SlotCleared", (77,), types, values)) == [
        SlotCleared(AT, 77, price, 10, 20, 30)
    ]


@pytest.mark.parametrize(
    ("side", "price", "amount"), [(0, 25_000, 2**62), (1, 25_000, -(2**62)), (1, 0, 0)]
)
def test_a_settlement_has_the_households_sign(side: int, price: int, amount: int) -> None:
    types = ("uint8", "uint32", "uint32", "int256")
    found = decoded(log("OrderSettled", (77, 5), types, (side, 40, price, amount)))
    assert found == [OrderSettled(AT, 77, 5, Side(side), 40, price or None, amount)]


def test_money_in_and_out() -> None:
    to = int(ALICE, 16)
    assert decoded(
        log("Deposited", (5, to), ("uint256",), (10**17,)),
        log("Withdrawn", (5, to), ("uint256",), (10**17,)),
    ) == [Deposited(AT, 5, 10**17), Withdrawn(AT, 5, 10**17)]


@pytest.mark.parametrize(
    "recipient", ["", ALICE], ids=["without a fee recipient", "with a fee recipient"]
)
def test_rules_with_a_gate_before_delivery(recipient: str) -> None:
    types = ("uint32", "int32", "uint32", "uint32", "uint32", "uint16", "uint32", "address")
    values = (88, -3_600, 300, 5_000, 200, 50, 70, recipient or "0x" + "00" * 20)
    rules = MarketRules(900, -3_600, 300, PriceGrid(5_000, 200, 50), 70, recipient)
    assert decoded(log("RulesScheduled", (2,), types, values)) == [RulesScheduled(AT, 2, 88, rules)]


def test_events_of_other_kinds_are_passed_over() -> None:
    paused = log("Paused", (), ("address",), (ALICE,))
    foreign = paused | {"topics": [keccak(text="Something(uint256)")]}
    assert decoded(paused, foreign) == []


@pytest.mark.parametrize("cut", [32, 64])
def test_a_log_of_another_form_is_not_of_this_market(cut: int) -> None:
    good = log(
        "SlotCleared", (77,), ("bool", "uint32", "uint64", "uint64", "uint64"), (True, 1, 1, 1, 1)
    )
    for data in (good["data"][:-cut], good["data"] + bytes(cut)):
        with pytest.raises(ChainMismatch, match="log 3 of block 12"):
            decoded(good | {"data": data})


@pytest.mark.parametrize(("side", "reason"), [(2, None), (0, 12)])
def test_numbers_that_mean_nothing_are_refused(side: int, reason: int | None) -> None:
    if reason is None:
        wrong = log(
            "OrderSettled", (1, 1), ("uint8", "uint32", "uint32", "int256"), (side, 1, 1, 1)
        )
    else:
        wrong = log("OrderRefused", (1, 1), ("uint8", "uint8"), (side, reason))
    with pytest.raises(ChainMismatch):
        decoded(wrong)
