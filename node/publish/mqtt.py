"""The node speaks to a broker: discovery, states, availability; and goes on when the broker left.

States overtake each other: only the newest waits to be sent, so nothing piles up while the broker
is away, and nothing old is told as new when it is back.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from typing import Final

import aiomqtt

from node.clock import Clock
from node.publish.broker import BrokerSettings, reach
from node.publish.emon import emon_messages
from node.publish.homeassistant import (
    BIRTH,
    OFFLINE,
    ONLINE,
    STATUS_TOPIC,
    Message,
    Topics,
    discovery,
    states,
)
from node.publish.state import Indices, NodeIdentity, PublishedState, Retained

__all__ = ["Publisher"]

_LOG = logging.getLogger(__name__)

FIRST_WAIT_S: Final = 1
LONGEST_WAIT_S: Final = 60

KEEPALIVE_S: Final = 30
"""The broker tells the house that the node is gone after one and a half of these. After one, the
library also closes a connection that was never confirmed: that bounds how many there are."""

ANSWER_S: Final = 5.0
"""How long the broker may take to confirm a message."""

FAREWELL_S: Final = 1.0

LEAVE_S: Final = 1.5
"""How long a connection may take to end with its farewell when the node stops; then it is cut."""

INBOX: Final = 16
"""Incoming messages that may wait; once running, only Home Assistant's births are heard."""


class Publisher:
    """Publishes the newest state to one broker, for as long as ``run`` runs.

    ``memory`` is what an earlier run left behind (see ``Publisher.memory``), and ``emon_node`` the
    name under which emonCMS finds the readings; empty for not at all. At most one state is sent
    every ``every_s`` seconds.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        identity: NodeIdentity,
        clock: Clock,
        *,
        memory: str | None = None,
        emon_node: str = "daisee",
        every_s: int = 10,
        randomness: random.Random | None = None,
    ) -> None:
        self._broker = broker
        self._identity = identity
        self._topics = Topics(identity.device_id)
        self._clock = clock
        self._indices = Indices.from_text(memory)
        self._retained: Retained | None = None
        self._emon_node = emon_node
        self._every_s = every_s
        self._randomness = randomness or random.SystemRandom()
        self._state: PublishedState | None = None
        self._news = asyncio.Event()
        self._announce = False
        self._connected = False
        self._trouble = ""
        self._sent = 0
        self._lost_connections = 0

    @property
    def connected(self) -> bool:
        """Whether the broker has the node as a client right now."""
        return self._connected

    @property
    def trouble(self) -> str:
        """Why there is no connection, in words for a person; empty while there is one."""
        return self._trouble

    @property
    def messages_sent(self) -> int:
        """Messages that the broker took, since the start."""
        return self._sent

    @property
    def lost_connections(self) -> int:
        """Connections that ended without being asked to, since the start."""
        return self._lost_connections

    @property
    def memory(self) -> str:
        """The highest indices published. Keep it with each closed slot and hand it to the next
        ``Publisher``: that is what keeps an index from falling across restarts."""
        return self._indices.to_text()

    @property
    def series(self) -> int:
        """How many meters were published so far, one after the other."""
        return self._indices.series

    def update(self, state: PublishedState) -> None:
        """Take the newest state; it replaces one that still waits. Never blocks."""
        self._state = state
        self._news.set()

    async def run(self) -> None:
        """Connect, publish, connect again: until cancelled, which says ``offline`` first.

        Raises ConfigurationError when the password or the certificates cannot be read.
        """
        wait_s = FIRST_WAIT_S
        while True:
            try:
                await self._attempt()
            except* (aiomqtt.MqttError, OSError, TimeoutError) as lost:
                if self._connected:
                    self._lost_connections += 1
                    wait_s = FIRST_WAIT_S
                self._connected = False
                self._note_trouble(_first_words(lost))
            # Half of it by chance: a street's nodes do not all come back in the same second.
            pause_s = wait_s + self._randomness.randint(0, wait_s) // 2
            await self._clock.sleep_until(self._clock.now_s() + pause_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _attempt(self) -> None:
        """One connection, in a task of its own.

        A library that fails in the very moment in which its task is cancelled raises its failure
        instead: the cancellation would be lost, and the node would not stop.
        """
        session = asyncio.create_task(self._session(), name="broker session")
        try:
            await asyncio.wait([session])
        finally:
            for _ in ("with a farewell", "at once"):
                session.cancel()
                await asyncio.wait([session], timeout=LEAVE_S)
        await session  # it is over: this only raises what ended it

    async def _session(self) -> None:
        """From hello to loss."""
        await reach(self._broker)
        client = aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.user,
            password=self._broker.password(),
            identifier=self._identity.device_id,
            tls_context=self._broker.tls_context(),
            will=aiomqtt.Will(self._topics.availability, OFFLINE, qos=1, retain=True),
            keepalive=KEEPALIVE_S,
            timeout=ANSWER_S,
            max_queued_incoming_messages=INBOX,
            max_queued_outgoing_messages=INBOX,
        )
        async with client:
            if self._retained is None:
                self._retained = await self._hear_retained(client)
            await client.subscribe(STATUS_TOPIC, qos=1)
            self._note_connected()
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._listen(client), name="mqtt births")
                    tasks.create_task(self._speak(client), name="mqtt states")
            except asyncio.CancelledError:
                await self._say_goodbye(client)
                raise

    async def _hear_retained(self, client: aiomqtt.Client) -> Retained:
        """What the node's own index topic says from before this process: power may have failed
        before that could be kept at home."""
        topic = self._topics.registers
        await client.subscribe(topic)
        # Answers come in the order of what was asked: what is retained is here before this one.
        await client.unsubscribe(topic)
        found = Retained()
        for _ in range(len(client.messages)):
            message = await anext(client.messages)
            payload = message.payload
            if message.retain and message.topic.value == topic and isinstance(payload, bytes):
                found = Retained.from_payload(payload)
        return found

    async def _listen(self, client: aiomqtt.Client) -> None:
        """Introduce the node again to a Home Assistant that has just come up."""
        async for message in client.messages:
            # A retained birth is as old as the broker likes; the introduction is retained as well.
            if message.payload == BIRTH.encode() and not message.retain:
                self._announce = True
                self._news.set()

    async def _speak(self, client: aiomqtt.Client) -> None:
        """Send what is new, the introduction before anything that it describes."""
        self._announce = True
        self._news.set()
        while True:
            await self._news.wait()
            self._news.clear()
            state = self._state
            indices = self._indices if state is None else self._advanced(state)
            if self._announce or indices.series != self._indices.series:
                self._announce = False
                online = Message(self._topics.availability, ONLINE, retain=True)
                await self._send(client, (discovery(self._identity, indices), online))
            if state is not None:
                # Before they are sent: an index that the broker may have is a floor already.
                self._indices = indices
                await self._send(client, states(self._identity, indices, state))
                if self._emon_node:
                    await self._send(client, emon_messages(self._emon_node, indices, state))
                await self._clock.sleep_until(self._clock.now_s() + self._every_s)

    def _advanced(self, state: PublishedState) -> Indices:
        """The indices with a state, and not below what the broker had kept of the same meter."""
        indices = self._indices.advanced(state)
        if self._retained is not None:
            if indices.series != self._indices.series:
                self._retained = Retained()
            indices, self._retained = self._retained.under(indices, state)
        return indices

    async def _send(self, client: aiomqtt.Client, messages: Iterable[Message]) -> None:
        for message in messages:
            await client.publish(message.topic, message.payload, message.qos, message.retain)
            self._sent += 1

    async def _say_goodbye(self, client: aiomqtt.Client) -> None:
        """A last will is for those who fall: who leaves says so."""
        try:
            async with asyncio.timeout(FAREWELL_S):
                await client.publish(self._topics.availability, OFFLINE, qos=1, retain=True)
        except (aiomqtt.MqttError, TimeoutError):
            _LOG.debug("broker gone before the node left")
        self._connected = False

    def _note_connected(self) -> None:
        self._connected = True
        self._trouble = ""
        _LOG.info("broker connected host=%s port=%d", self._broker.host, self._broker.port)

    def _note_trouble(self, trouble: str) -> None:
        """Log the first failure and each other one, not every try."""
        if trouble != self._trouble:
            _LOG.warning(
                "broker lost host=%s port=%d why=%r", self._broker.host, self._broker.port, trouble
            )
        self._trouble = trouble


def _first_words(lost: BaseExceptionGroup[BaseException]) -> str:
    """What the first failure of a group says."""
    first: BaseException = lost
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first) or type(first).__name__
