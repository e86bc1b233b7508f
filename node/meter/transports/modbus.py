"""SunSpec devices behind Modbus TCP, by pymodbus. That is an extra: ``sources`` loads this module
only when a meter needs it.

The map of models is walked once for each connection. After that every model that says something of
energy is read in one request of its own, because a value and its scale factor must come from one
read, and laid side by side for the decoder.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from pymodbus import ModbusException
from pymodbus.client import AsyncModbusTcpClient

from node.clock import Clock
from node.errors import MeterError, MeterSilent
from node.meter.arrivals import Arrived, Connect, Transport
from node.meter.sunspec import (
    COMMON_MODEL,
    END_OF_MAP,
    MARKER,
    MAX_MODELS,
    PROBE_ADDRESSES,
    decode_map,
)

__all__ = ["connect_modbus"]

ANSWER_S: Final = 3
TRIES: Final = 2

MAX_READ: Final = 125
"""Registers in one answer, by the protocol."""

_OF_ENERGY: Final = frozenset(
    {COMMON_MODEL, 101, 102, 103, 111, 112, 113, 201, 202, 203, 204, 211, 212, 213, 214}
)


@dataclass(frozen=True, slots=True)
class _Model:
    """Where the values of a model begin, behind its id and length."""

    number: int
    at: int
    length: int


def connect_modbus(
    host: str, port: int, unit: int, clock: Clock, *, poll_s: int, is_reversed: bool = False
) -> Connect:
    """A SunSpec device that is read every ``poll_s``. Entering raises MeterSilent without
    a device, MeterError when its map is not SunSpec's."""

    @asynccontextmanager
    async def connection() -> AsyncIterator[Transport]:
        # The delay of 0 keeps the client from reconnecting by itself: whoever reads decides when.
        client = AsyncModbusTcpClient(
            host, port=port, timeout=ANSWER_S, retries=TRIES - 1, reconnect_delay=0
        )
        try:
            device = _Device(client, f"{host}:{port}", unit)
            await device.open()
            yield ModbusTransport(
                device, await device.walk(), clock, poll_s=poll_s, is_reversed=is_reversed
            )
        finally:
            client.close()

    def connect() -> AbstractAsyncContextManager[Transport]:
        return connection()

    return connect


class ModbusTransport:
    """Reads the models of one device."""

    def __init__(
        self,
        device: _Device,
        models: tuple[_Model, ...],
        clock: Clock,
        *,
        poll_s: int,
        is_reversed: bool,
    ) -> None:
        self._device = device
        self._models = models
        self._clock = clock
        self._poll_s = poll_s
        self._is_reversed = is_reversed

    async def arrivals(self) -> AsyncIterator[Arrived]:
        """The registers now, and every ``poll_s``. Raises MeterSilent without an answer."""
        while True:
            asked_s = self._clock.now_s()
            registers = list(MARKER)
            for model in self._models:
                values = await self._device.read(model.at, model.length)
                registers += [model.number, model.length, *values]
            at_s = self._clock.now_s()
            for item in decode_map([*registers, END_OF_MAP, 0], is_reversed=self._is_reversed):
                yield Arrived(at_s, item)
            await self._clock.sleep_until(asked_s + self._poll_s)


class _Device:
    """One unit behind a Modbus address."""

    def __init__(self, client: AsyncModbusTcpClient, address: str, unit: int) -> None:
        self._client = client
        self._address = address
        self._unit = unit

    async def open(self) -> None:
        if not await self._client.connect():
            raise MeterSilent(
                f"{self._address} does not answer", next_step="check its address; Modbus must be on"
            )

    async def read(self, at: int, count: int) -> list[int]:
        """Registers of one read."""
        registers = await self._read_if_there(at, count)
        if registers is None:
            raise self._silent("an error instead of registers")
        return registers

    async def walk(self) -> tuple[_Model, ...]:
        """The models that say something of energy, and the common ones before them."""
        start = await self._start()
        found: list[_Model] = []
        at = start + len(MARKER)
        for _ in range(MAX_MODELS):
            number, length = await self.read(at, 2)
            if number == END_OF_MAP:
                return tuple(found)
            if number in _OF_ENERGY and 0 < length <= MAX_READ:
                found.append(_Model(number, at + 2, length))
            at += 2 + length
            if at > 0xFFFE:
                break
        raise MeterError(f"{self._address}: the map of models has no end")

    async def _start(self) -> int:
        answers = 0
        for address in PROBE_ADDRESSES:
            registers = await self._read_if_there(address, 2)
            answers += registers is not None
            if registers is not None and tuple(registers) == MARKER:
                return address
        if not answers:
            raise self._silent("errors only")
        raise MeterError(
            f"{self._address} speaks Modbus, but not SunSpec",
            next_step=f"switch SunSpec on in the device, or try another unit than {self._unit}",
        )

    async def _read_if_there(self, at: int, count: int) -> list[int] | None:
        """Registers; None where the device answers with an error. Raises MeterSilent without an
        answer."""
        try:
            answer = await self._client.read_holding_registers(
                at, count=count, device_id=self._unit
            )
        except ModbusException as error:
            raise self._silent(str(error)) from error
        if answer.isError() or len(answer.registers) != count:
            return None
        return list(answer.registers)

    def _silent(self, reason: str) -> MeterSilent:
        return MeterSilent(f"{self._address} unit {self._unit} does not answer ({reason})")
