"""From a meter's settings to something that connects to it: the one place that knows all ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from node.clock import Clock
from node.errors import ConfigurationError
from node.meter.arrivals import Arrived, Connect, Transport
from node.meter.codec import MeterFrame
from node.meter.decoders import message_decoder, secret, stream_codec
from node.meter.lines import LINES, listen_s
from node.meter.settings import MODBUS_PORT, MeterSettings, Way, host_and_port
from node.meter.transports.http import Credentials, connect_http, requests_of
from node.meter.transports.mqtt import connect_mqtt, topics_of
from node.meter.transports.recorded import connect_recorded
from node.meter.transports.serial_port import connect_serial
from node.meter.transports.stream import Keep, connect_tcp, keep_nothing

__all__ = ["INSTALL_MODBUS", "connect_for"]

INSTALL_MODBUS: Final = (
    "install daisee anew with scripts/install, or pip install 'daisee-node[modbus]'"
)

_MANY_IN_ONE: Final = frozenset({"shelly", "sunspec"})
"""Devices of these kinds have several meters, each with a name of its own."""


def connect_for(settings: MeterSettings, clock: Clock, keep: Keep = keep_nothing) -> Connect:
    """How to connect to the meter of some settings; ``keep`` is handed everything raw that arrives.

    Where a device has several meters, ``settings.meter_id`` chooses one. Raises ConfigurationError
    for what is missing on this machine: a key file, a library.
    """
    connect = _connect(settings, clock, keep)
    if settings.meter_id is None or settings.kind not in _MANY_IN_ONE:
        return connect
    return _only(settings.meter_id, connect)


class _OneMeter:
    """One of the meters that a device has; refusals are everybody's."""

    def __init__(self, meter_id: str, transport: Transport) -> None:
        self._known = (meter_id, None)
        self._transport = transport

    async def arrivals(self) -> AsyncIterator[Arrived]:
        """What that meter says."""
        async for arrived in self._transport.arrivals():
            decoded = arrived.decoded
            if not isinstance(decoded, MeterFrame) or decoded.meter_id in self._known:
                yield arrived


def _only(meter_id: str, connect: Connect) -> Connect:
    @asynccontextmanager
    async def connection() -> AsyncIterator[Transport]:
        async with connect() as transport:
            yield _OneMeter(meter_id, transport)

    def connect_to_one() -> AbstractAsyncContextManager[Transport]:
        return connection()

    return connect_to_one


def _connect(settings: MeterSettings, clock: Clock, keep: Keep) -> Connect:
    match settings.way:
        case Way.SERIAL:
            assert settings.port is not None
            return connect_serial(
                settings.port,
                LINES[settings.kind] if settings.line is None else (settings.line,),
                stream_codec(settings),
                clock,
                listen_s=listen_s(settings.kind),
                keep=keep,
            )
        case Way.TCP:
            host, port = _address(settings)
            return connect_tcp(host, port, stream_codec(settings), clock, keep)
        case Way.MQTT:
            assert settings.broker is not None
            topics = topics_of(settings.kind, settings.topic)
            return connect_mqtt(
                settings.broker, topics, lambda: message_decoder(settings), clock, keep=keep
            )
        case Way.HTTP:
            assert settings.url is not None
            return connect_http(
                settings.url,
                requests_of(settings.kind, settings.sensor),
                lambda: message_decoder(settings),
                clock,
                poll_s=settings.poll_s,
                credentials=_credentials(settings),
                keep=keep,
            )
        case Way.MODBUS:
            return _connect_modbus(settings, clock)
        case Way.FILE:
            return connect_recorded(settings, clock)


def _connect_modbus(settings: MeterSettings, clock: Clock) -> Connect:
    try:
        # An extra: most nodes have no inverter to ask.
        from node.meter.transports.modbus import connect_modbus  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "a meter of kind sunspec needs pymodbus, which is not installed",
            next_step=INSTALL_MODBUS,
        ) from error
    host, port = _address(settings, MODBUS_PORT)
    return connect_modbus(
        host,
        port,
        settings.unit,
        clock,
        poll_s=settings.poll_s,
        is_reversed=settings.is_reversed,
    )


def _address(settings: MeterSettings, default_port: int = 0) -> tuple[str, int]:
    assert settings.url is not None
    try:
        return host_and_port(urlsplit(settings.url).netloc, default_port)
    except ValueError as error:
        raise ConfigurationError(
            f"meter.url: {error}", next_step="write it with its port, tcp://192.168.1.20:2001"
        ) from error


def _credentials(settings: MeterSettings) -> Credentials | None:
    if settings.user is None:
        return None
    password = "" if settings.password_file is None else secret(settings.password_file)
    return Credentials(settings.user, password)
