"""Orders exactly once: signed once, kept before they are sent, ended by the chain or the gate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from node.chain.outbox import Outbox
from node.model import LogPosition, Order, OrderAccepted, OrderRefused, Refusal, Side
from node.ports import IntentState
from node.store import NodeDatabase

SLOT = 1_628_064
BID = Order(7, SLOT, Side.BID, 500, 9_000)
AT = LogPosition(1, 0)


class CountingSigner:
    """Signs with the number of its signatures: no two are alike."""

    def __init__(self) -> None:
        self.signatures = 0

    def sign(self, _order: Order) -> bytes:
        self.signatures += 1
        return self.signatures.to_bytes(64)


@pytest.fixture
def storage() -> Iterator[NodeDatabase]:
    with NodeDatabase.open(None) as database:
        yield database


@pytest.fixture
def outbox(storage: NodeDatabase) -> Outbox:
    return Outbox(storage, CountingSigner())


def accepted(order: Order) -> OrderAccepted:
    return OrderAccepted(
        AT, order.slot, order.household, order.side, order.energy_wh, order.limit_price, 0
    )


def refused(order: Order, reason: Refusal) -> OrderRefused:
    return OrderRefused(AT, order.slot, order.household, order.side, reason)


def states(storage: NodeDatabase) -> list[tuple[IntentState, str]]:
    return [(trade.state, trade.reason) for trade in storage.own_trades()]


def test_an_order_is_signed_once_whatever_is_asked_for_later(storage: NodeDatabase) -> None:
    signer = CountingSigner()
    first = Outbox(storage, signer).prepare(BID)
    again = Outbox(storage, signer).prepare(replace(BID, energy_wh=9, limit_price=4_000))
    assert again == first
    assert signer.signatures == 1


def test_an_order_is_kept_before_it_is_sent(storage: NodeDatabase, outbox: Outbox) -> None:
    signed = outbox.prepare(BID)
    assert storage.open_intents() == [(signed, IntentState.PENDING)]
    outbox.sent(signed)
    assert storage.open_intents() == [(signed, IntentState.SENT)]


def test_what_is_not_durable_was_not_signed_for_good(storage: NodeDatabase, outbox: Outbox) -> None:
    def prepare_on_a_full_disk() -> None:
        with storage.transaction():
            outbox.prepare(BID)
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk"):
        prepare_on_a_full_disk()
    assert storage.intent(SLOT, Side.BID) is None


def test_sides_and_slots_have_orders_of_their_own(storage: NodeDatabase, outbox: Outbox) -> None:
    ask = replace(BID, side=Side.ASK)
    later = replace(BID, slot=SLOT + 1)
    kept = [outbox.prepare(order) for order in (BID, ask, later)]
    assert [signed.order for signed in kept] == [BID, ask, later]
    assert len(storage.open_intents()) == 3


def test_acceptance_ends_an_order(storage: NodeDatabase, outbox: Outbox) -> None:
    outbox.sent(outbox.prepare(BID))
    assert outbox.observe(accepted(BID))
    assert storage.open_intents() == []
    assert outbox.expire(SLOT) == []
    assert states(storage) == [(IntentState.ACCEPTED, "")]


@pytest.mark.parametrize("reason", [reason for reason in Refusal if reason])
def test_no_refusal_ends_an_order_before_its_gate(
    storage: NodeDatabase, outbox: Outbox, reason: Refusal
) -> None:
    """Anybody may have had a forgery of it refused."""
    signed = outbox.prepare(BID)
    assert outbox.observe(refused(BID, reason))
    assert [kept for kept, _ in storage.open_intents()] == [signed]
    assert outbox.observe(accepted(BID))
    assert states(storage) == [(IntentState.ACCEPTED, "")]


def test_after_its_gate_an_order_expires_with_the_last_reason_heard(
    storage: NodeDatabase, outbox: Outbox
) -> None:
    signed = outbox.prepare(BID)
    outbox.observe(refused(BID, Refusal.WRONG_SIGNATURE))
    outbox.observe(refused(BID, Refusal.INSUFFICIENT_CREDIT))
    outbox.observe(refused(BID, Refusal.DUPLICATE))  # of a copy: no reason for this one
    assert outbox.expire(SLOT - 1) == []
    assert outbox.expire(SLOT) == [(signed, "insufficient_credit")]
    assert states(storage) == [(IntentState.EXPIRED, "insufficient_credit")]
    assert outbox.expire(SLOT) == []


def test_an_order_that_nobody_heard_of_expires_too(storage: NodeDatabase, outbox: Outbox) -> None:
    signed = outbox.prepare(BID)
    outbox.sent(signed)
    assert outbox.expire(SLOT + 5) == [(signed, "not_heard_of")]
    assert storage.open_intents() == []


def test_the_chain_has_the_last_word(storage: NodeDatabase, outbox: Outbox) -> None:
    """A block that came late may hold what was given up."""
    outbox.prepare(BID)
    outbox.expire(SLOT)
    assert outbox.observe(accepted(BID))
    assert states(storage) == [(IntentState.ACCEPTED, "")]


def test_orders_of_others_are_none_of_its_business(storage: NodeDatabase, outbox: Outbox) -> None:
    assert not outbox.observe(accepted(BID))
    assert not outbox.observe(refused(replace(BID, slot=3), Refusal.PAUSED))
    assert not outbox.observe(OrderRefused(AT, SLOT, 7, 9, Refusal.MALFORMED_SIDE))
    assert states(storage) == []
