"""Meters behind an MQTT broker.

The protocol is 3.1.1, which the oldest of these devices and their brokers speak. Nothing is ever
published: a node that only listens can disturb nobody. Messages are taken at QoS 0, for every
register is cumulative: the next message says what a lost one said.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from aiomqtt import Client, MqttCodeError, MqttError, ProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from node.clock import Clock
from node.errors import ConfigurationError, MeterError, MeterSilent
from node.meter.arrivals import Arrived, Connect, Transport
from node.meter.decoders import MessageDecoder, secret
from node.meter.recorded import envelope
from node.meter.settings import BrokerSettings
from node.meter.transports.stream import CONNECT_S, Keep, keep_nothing

__all__ = ["TOPICS", "Heard", "connect_mqtt", "listening", "topics_of"]

MAX_WAITING: Final = 512
"""Messages that wait to be read; more are dropped by the client, which says so once."""

KEEPALIVE_S: Final = 30

_REFUSED_FOR_GOOD: Final = frozenset({4, 5, 0x86, 0x87})
"""Bad user name or password, and not authorised, as both versions of the protocol number them."""

_NOT_GRANTED: Final = 0x80

TOPICS: Final = {
    "emon": ("emon/{}/#", "emon/{}", "emonhub/rx/{}/values"),
    "tasmota": ("tele/{}/SENSOR", "tele/{}/LWT", "stat/{}/STATUS8", "stat/{}/STATUS10"),
    "shelly": (
        *("shellies/{}/emeter/+/+", "shellies/{}/relay/+/+", "shellies/{}/info"),
        *("shellies/{}/online", "{}/status/+", "{}/events/rpc", "{}/online"),
    ),
    "json": ("{}",),
}
"""What to subscribe to, for each kind, around the name of the device."""

_READINGS: Final = ("/SENSOR", "/STATUS8", "/STATUS10")

_log = logging.getLogger(__name__)


def topics_of(kind: str, device: str | None) -> tuple[str, ...]:
    """The topics of one device, or of all devices of a kind. A name with a wildcard in it, or one
    that ends as a topic of readings, is the very topic: that broker is laid out in another way."""
    if device is not None and is_topic(device):
        return (device,)
    return tuple(pattern.format("+" if device is None else device) for pattern in TOPICS[kind])


def is_topic(device: str) -> bool:
    """Whether a device's name is a topic, or a pattern of topics."""
    return "+" in device or "#" in device or device.endswith(_READINGS)


class Heard:
    """One connection to a broker, subscribed."""

    def __init__(self, client: Client, address: str) -> None:
        self._client = client
        self._address = address

    async def messages(self) -> AsyncIterator[tuple[str, bytes, bool]]:
        """Topic, payload, and whether the broker had kept it. Raises MeterSilent when the
        connection is lost."""
        try:
            async for message in self._client.messages:
                yield message.topic.value, message.payload, message.retain
        except MqttError as error:
            raise MeterSilent(f"broker {self._address} is lost ({error})") from error


def listening(broker: BrokerSettings, topics: Sequence[str]) -> AbstractAsyncContextManager[Heard]:
    """A connection that is subscribed when it is entered.

    Entering raises MeterSilent when the broker cannot be reached, MeterError when it refuses this
    user, ConfigurationError when password or certificate cannot be read.
    """
    address = f"{broker.host}:{broker.port}"
    client = Client(
        broker.host,
        broker.port,
        username=broker.user,
        password=None if broker.password_file is None else secret(broker.password_file),
        protocol=ProtocolVersion.V311,
        tls_context=_tls(broker),
        timeout=CONNECT_S,
        keepalive=KEEPALIVE_S,
        max_queued_incoming_messages=MAX_WAITING,
        logger=_log,
    )

    @asynccontextmanager
    async def connection() -> AsyncIterator[Heard]:
        try:
            async with client:
                await _subscribe(client, topics, address)
                yield Heard(client, address)
        except MqttError as error:
            raise _failure(address, broker, error) from error

    return connection()


def connect_mqtt(
    broker: BrokerSettings,
    topics: Sequence[str],
    make_decoder: Callable[[], MessageDecoder],
    clock: Clock,
    *,
    keep: Keep = keep_nothing,
) -> Connect:
    """A meter behind a broker: whatever it publishes on some topics."""

    @asynccontextmanager
    async def connection() -> AsyncIterator[Transport]:
        async with listening(broker, topics) as heard:
            yield MqttTransport(heard, make_decoder(), clock, keep)

    def connect() -> AbstractAsyncContextManager[Transport]:
        return connection()

    return connect


class MqttTransport:
    """Decodes what one connection hears."""

    def __init__(
        self, heard: Heard, decode: MessageDecoder, clock: Clock, keep: Keep = keep_nothing
    ) -> None:
        self._heard = heard
        self._decode = decode
        self._clock = clock
        self._keep = keep

    async def arrivals(self) -> AsyncIterator[Arrived]:
        """Everything that the messages say. Raises MeterSilent when the broker is lost."""
        async for topic, payload, is_retained in self._heard.messages():
            self._keep(envelope(topic, payload))
            at_s = self._clock.now_s()
            for item in self._decode(topic, payload):
                yield Arrived(at_s, item, is_retained)


async def _subscribe(client: Client, topics: Sequence[str], address: str) -> None:
    granted: list[int | ReasonCode] = [*await client.subscribe([(topic, 0) for topic in topics])]
    refused = [
        topic
        for topic, answer in zip(topics, granted, strict=False)
        if _number(answer) >= _NOT_GRANTED
    ]
    if refused:
        raise MeterError(
            f"broker {address} does not let this user read {refused[0]}",
            next_step="allow it in the broker's access list",
        )


def _failure(address: str, broker: BrokerSettings, error: MqttError) -> MeterSilent | MeterError:
    """What a failed connection means to whoever waits for the meter."""
    code = error.rc if isinstance(error, MqttCodeError) else None
    if code is not None and _number(code) in _REFUSED_FOR_GOOD:
        who = "a user without a name" if broker.user is None else f"user {broker.user!r}"
        return MeterError(
            f"broker {address} refuses {who}",
            next_step="write user and password_file as the broker knows them",
        )
    return MeterSilent(
        f"broker {address} cannot be reached ({error})",
        next_step="check its name and port, and that it runs",
    )


def _number(code: int | ReasonCode) -> int:
    return int(code.value) if isinstance(code, ReasonCode) else code


def _tls(broker: BrokerSettings) -> ssl.SSLContext | None:
    """Certificates are checked, and so is the name; there is no way to switch that off."""
    if not broker.tls:
        return None
    try:
        return ssl.create_default_context(cafile=broker.ca_file)
    except OSError as error:
        raise ConfigurationError(
            f"cannot be used as a certificate ({error.strerror or error})", file=broker.ca_file
        ) from error
