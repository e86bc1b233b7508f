"""Orders exactly once: an order is signed and persisted before it is sent, and always resent as the
very bytes that were persisted.

The market itself refuses a second order for the same household, slot and side; the outbox sees to
it that this node never makes one.
"""

from __future__ import annotations

from node.model import Order, OrderAccepted, OrderRefused, Refusal, SignedOrder
from node.ports import IntentState, IntentStorage, OrderSigner


class Outbox:
    """A household's signed orders on their way to the chain."""

    def __init__(self, storage: IntentStorage, signer: OrderSigner) -> None:
        self._storage = storage
        self._signer = signer
        self._refusals: dict[tuple[int, int], Refusal] = {}  # of open intents only

    def prepare(self, order: Order) -> SignedOrder:
        """The signed order to send for this slot and side; durable when the transaction around is.

        If the slot and side already have one, that one is returned, whatever is asked for now.
        """
        kept = self._storage.intent(order.slot, order.side)
        if kept is not None:
            return kept
        signed = SignedOrder(order, self._signer.sign(order))
        self._storage.add_intent(signed)
        return signed

    def sent(self, signed: SignedOrder) -> None:
        """The market took the order along."""
        self._storage.set_intent_state(signed.order.slot, signed.order.side, IntentState.SENT)

    def observe(self, event: OrderAccepted | OrderRefused) -> bool:
        """Learn from the chain what became of an order; False if it is none of this outbox.

        A refusal ends nothing: anybody can have a forged order of this household refused, and what
        was refused for want of credit may be accepted when it is sent again. What was not accepted
        by the end of the gate expires, with the last reason heard.
        """
        key = (event.slot, event.side)
        if isinstance(event, OrderAccepted):
            try:
                self._storage.set_intent_state(*key, IntentState.ACCEPTED, at=event.position)
            except ValueError:
                return False
            self._refusals.pop(key, None)
            return True
        if self._storage.intent(*key) is None:
            return False
        if event.reason is not Refusal.DUPLICATE:
            self._refusals[key] = event.reason
        return True

    def expire(self, slot: int) -> list[tuple[SignedOrder, str]]:
        """Give up what was not accepted although the gate of its slot has closed: orders of
        ``slot`` and earlier ones. Returns them with the last reason heard, or ``not_heard_of``."""
        given_up: list[tuple[SignedOrder, str]] = []
        for signed, _ in self._storage.open_intents():
            order = signed.order
            if order.slot > slot:
                continue
            refusal = self._refusals.pop((order.slot, order.side), None)
            reason = "not_heard_of" if refusal is None else refusal.word
            self._storage.set_intent_state(order.slot, order.side, IntentState.EXPIRED, reason)
            given_up.append((signed, reason))
        return given_up
