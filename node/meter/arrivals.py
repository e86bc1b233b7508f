"""What a transport hands over: decoded frames and refusals, each with when and how it came.

A transport is an open connection to something that speaks a meter's protocol. It decodes, and
judges nothing: what is believed of what arrives is the live meter's business. A lost connection
ends it; whoever wants to go on connects again, with a new codec, so that half a frame of the old
connection never meets half a frame of the new one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from node.meter.codec import Decoded

__all__ = ["Arrived", "Connect", "Transport"]


@dataclass(frozen=True, slots=True)
class Arrived:
    """One decoded thing, and when it came by the node's clock. ``retained`` marks what a broker had
    kept: it may be days old."""

    at_s: int
    decoded: Decoded
    retained: bool = False


class Transport(Protocol):
    """An open connection to something that speaks a meter's protocol."""

    def arrivals(self) -> AsyncIterator[Arrived]:
        """Everything that comes, in order, until the connection is lost: then it ends or raises
        MeterSilent. Raises MeterError where only a person helps. It does not watch for silence on
        a connection that stands."""
        ...


class Connect(Protocol):
    """Makes a new connection each time, with a new codec.

    Entering raises MeterSilent when there is no connection now, MeterError or ConfigurationError
    when trying again does not help (no permission, wrong password, a library that is missing).
    """

    def __call__(self) -> AbstractAsyncContextManager[Transport]:
        """A connection that opens when it is entered and closes when it is left."""
        ...
