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


class SteadySigner:
    """A key: the same order, the same bytes."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark

    def sign(self, _order: Order) -> bytes:
        return self._mark * 64


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


# A key that was changed


def test_the_same_bytes_go_out_again_whatever_others_had_refused(storage: NodeDatabase) -> None:
    """With an unchanged key a refusal changes nothing."""
    outbox = Outbox(storage, SteadySigner(b"a"))
    signed = outbox.prepare(BID)
    assert outbox.to_resend(signed) == signed
    outbox.observe(refused(BID, Refusal.WRONG_SIGNATURE))
    assert outbox.to_resend(signed) == signed


def test_a_changed_key_alone_is_no_reason_to_sign_anew(storage: NodeDatabase) -> None:
    """The chain may not know it yet: until it does, the old signature is the good one."""
    signed = Outbox(storage, SteadySigner(b"a")).prepare(BID)
    outbox = Outbox(storage, SteadySigner(b"b"))
    for reason in (Refusal.INSUFFICIENT_CREDIT, Refusal.DUPLICATE):
        outbox.observe(refused(BID, reason))
        assert outbox.to_resend(signed) == signed


def test_a_changed_key_signs_the_same_order_and_keeps_that(storage: NodeDatabase) -> None:
    signed = Outbox(storage, SteadySigner(b"a")).prepare(BID)
    outbox = Outbox(storage, SteadySigner(b"b"))
    outbox.sent(signed)
    outbox.observe(refused(BID, Refusal.WRONG_SIGNATURE))
    anew = outbox.to_resend(signed)
    assert anew.order == BID
    assert anew.signature == b"b" * 64
    assert storage.open_intents() == [(anew, IntentState.PENDING)]
    assert outbox.to_resend(anew) == anew


def test_what_is_over_is_not_signed_anew(storage: NodeDatabase, outbox: Outbox) -> None:
    signed = outbox.prepare(BID)
    outbox.observe(accepted(BID))
    with pytest.raises(ValueError, match="no open bid"):
        storage.replace_signature(replace(signed, signature=bytes(64)))
    assert storage.intent(SLOT, Side.BID) == signed


# A key that somebody else has too


@pytest.mark.parametrize(
    "other",
    [
        replace(BID, energy_wh=499),
        replace(BID, limit_price=9_100),
        replace(BID, evidence=b"e" * 32),
    ],
    ids=["energy", "price", "evidence"],
)
def test_another_order_in_its_place_ends_it_as_a_duplicate(
    storage: NodeDatabase, outbox: Outbox, other: Order
) -> None:
    outbox.prepare(BID)
    event = replace(accepted(other), evidence=other.evidence)
    assert not outbox.observe(event)
    assert states(storage) == [(IntentState.REFUSED, "duplicate")]
    assert storage.open_intents() == []


def test_a_restarted_outbox_knows_its_orders_too(storage: NodeDatabase, outbox: Outbox) -> None:
    outbox.prepare(BID)
    ask = outbox.prepare(replace(BID, side=Side.ASK)).order
    again = Outbox(storage, CountingSigner())
    assert again.observe(accepted(BID))
    assert not again.observe(replace(accepted(ask), energy_wh=1))
    assert [state for state, _ in states(storage)] == [IntentState.REFUSED, IntentState.ACCEPTED]


def test_an_order_whose_transaction_was_undone_is_not_claimed(
    storage: NodeDatabase, outbox: Outbox
) -> None:
    def prepare_on_a_full_disk() -> None:
        with storage.transaction():
            outbox.prepare(BID)
            _full()

    with pytest.raises(OSError, match="full"):
        prepare_on_a_full_disk()
    assert not outbox.observe(accepted(BID))


def test_what_the_disk_would_not_keep_expires_the_next_time_with_its_reason(
    outbox: Outbox, storage: NodeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = outbox.prepare(BID)
    outbox.observe(refused(BID, Refusal.SUSPENDED))
    with monkeypatch.context() as full:
        full.setattr(storage, "set_intent_state", _full)
        with pytest.raises(OSError, match="full"):
            outbox.expire(SLOT)
    assert outbox.expire(SLOT) == [(signed, "suspended")]


def _full(*_arguments: object, **_more: object) -> None:
    raise OSError("full")
