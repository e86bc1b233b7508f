"""Orders exactly once: an order is signed and persisted before it is sent, and always resent as the
very bytes that were persisted.

The market itself refuses a second order for the same household, slot and side; the outbox sees to
it that this node never makes one. There is one reason to sign an order again: the household's key
was changed. Then the same order goes out with another signature, never another order.
"""

from __future__ import annotations

from node.model import Order, OrderAccepted, OrderRefused, Refusal, SignedOrder
from node.ports import IntentState, IntentStorage, OrderSigner


class Outbox:
    """A household's signed orders on their way to the chain."""

    def __init__(self, storage: IntentStorage, signer: OrderSigner) -> None:
        self._storage = storage
        self._signer = signer
        # Of open orders only, by slot and side:
        self._orders: dict[tuple[int, int], Order] = {}
        self._refusals: dict[tuple[int, int], Refusal] = {}

    def prepare(self, order: Order) -> SignedOrder:
        """The signed order to send for this slot and side; durable when the transaction around is.

        If the slot and side already have one, that one is returned, whatever is asked for now.
        """
        kept = self._storage.intent(order.slot, order.side)
        if kept is not None:
            return kept
        signed = SignedOrder(order, self._signer.sign(order))
        self._storage.add_intent(signed)
        self._orders[order.slot, order.side] = order
        return signed

    def to_resend(self, signed: SignedOrder) -> SignedOrder:
        """The bytes that were persisted, or the same order signed anew, and durable: if the chain
        called their signature wrong and this household's key now makes another one.

        Neither alone is a reason. Anybody can have a forgery refused, and until the chain knows a
        new key it is the old signature that counts.
        """
        order = signed.order
        if self._refusals.get((order.slot, order.side)) is not Refusal.WRONG_SIGNATURE:
            return signed
        anew = SignedOrder(order, self._signer.sign(order))
        if anew != signed:
            self._storage.replace_signature(anew)
        return anew

    def sent(self, signed: SignedOrder) -> None:
        """The market took the order along."""
        self._storage.set_intent_state(signed.order.slot, signed.order.side, IntentState.SENT)

    def observe(self, event: OrderAccepted | OrderRefused) -> bool:
        """Learn from the chain what became of an order; False if it is none of this outbox.

        A refusal ends nothing: anybody can have a forged order of this household refused, and what
        was refused for want of credit may be accepted when it is sent again. What was not accepted
        by the end of the gate expires, with the last reason heard. If the chain accepted another
        order of this household for the slot and side (a second node has its key), this one is over:
        a duplicate.
        """
        key = (event.slot, event.side)
        if isinstance(event, OrderAccepted):
            return self._accepted(event)
        if self._storage.intent(*key) is None:
            return False
        if event.reason is not Refusal.DUPLICATE:
            self._refusals[key] = event.reason
        return True

    def expire(self, slot: int) -> list[tuple[SignedOrder, str]]:
        """Give up what was not accepted although the gate of its slot has closed: orders of
        ``slot`` and earlier ones. Returns them with the last reason heard, or ``not_heard_of``."""
        given_up: list[tuple[SignedOrder, str]] = []
        with self._storage.transaction():
            for signed, _ in self._storage.open_intents():
                order = signed.order
                if order.slot > slot:
                    continue
                refusal = self._refusals.get((order.slot, order.side))
                reason = "not_heard_of" if refusal is None else refusal.word
                self._storage.set_intent_state(order.slot, order.side, IntentState.EXPIRED, reason)
                given_up.append((signed, reason))
        for signed, _ in given_up:
            self._forget(signed.order.slot, signed.order.side)
        return given_up

    def _accepted(self, event: OrderAccepted) -> bool:
        slot, side = event.slot, event.side
        order = self._orders.get((slot, side)) or self._kept(slot, side)
        if order is None:
            return False
        is_own = _is_of(event, order)
        state = IntentState.ACCEPTED if is_own else IntentState.REFUSED
        reason = "" if is_own else Refusal.DUPLICATE.word
        try:
            self._storage.set_intent_state(slot, side, state, reason, at=event.position)
        except ValueError:
            return False  # its transaction was undone: it was never sent from here
        self._forget(slot, side)
        return is_own

    def _kept(self, slot: int, side: int) -> Order | None:
        signed = self._storage.intent(slot, side)
        return None if signed is None else signed.order

    def _forget(self, slot: int, side: int) -> None:
        self._orders.pop((slot, side), None)
        self._refusals.pop((slot, side), None)


def _is_of(event: OrderAccepted, order: Order) -> bool:
    return (event.energy_wh, event.limit_price, event.evidence) == (
        order.energy_wh,
        order.limit_price,
        order.evidence,
    )
