"""A real meter: connects, reads, and connects again for as long as the node runs.

One task runs ``LiveMeter.run``; others ask ``read``, ``read_at`` and ``health`` and call ``keep``.
Lost connections are made again after a pause that grows to a minute and is never twice the same, so
that a street's nodes do not all come back at once. Only changes are logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from random import Random, SystemRandom
from typing import Final

from node.clock import Clock
from node.errors import ConfigurationError, MeterError, MeterNotYet, MeterSilent
from node.meter.arrivals import Arrived, Connect
from node.meter.believing import STATE_KEY, MeterBook, MeterSample
from node.meter.codec import MeterFrame
from node.meter.health import MeterHealth, MeterState
from node.meter.settings import MeterSettings
from node.model import RegisterReading
from node.ports import MeterStorage

__all__ = ["STATE_KEY", "Backoff", "LiveMeter", "MeterHealth", "MeterSample", "MeterState"]

log = logging.getLogger("daisee.meter")

WAIT_S: Final = 10
"""How long ``read`` and ``read_at`` wait at most, however seldom the meter speaks: whoever asked
has other things to do, and asks again."""

PERIODS_TO_WAIT: Final = 5
"""How long it is no trouble that nothing settles an instant yet: until the frame after it, one or
two after that to vouch for it, and as long again, as frames do get damaged."""

PERIODS_TO_RECONNECT: Final = 10
LEAST_RECONNECT_S: Final = 60
"""A connection that stands but brings no frame is given up after that: a Linky may have been
switched to its other speed."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between tries to connect: doubled from ``first_s`` to ``most_s``, and of that between
    one half and all, at random."""

    first_s: float = 1.0
    most_s: float = 60.0

    def pause_s(self, failures: int, random: Random) -> float:
        """The pause after so many failures in a row, at least 1."""
        longest_s = min(self.first_s * 2.0 ** min(failures - 1, 32), self.most_s)
        return longest_s * random.uniform(0.5, 1.0)


def _ignore(_sample: MeterSample) -> None:
    """Nobody listens."""


class LiveMeter:
    """A household's meter, as ``node.ports.MeterSource``.

    ``state`` is what ``keep`` stored under ``STATE_KEY``; raises MeterError if it cannot be read.
    ``on_sample`` is called for each believed sample, in the task of ``run``, and must not block.
    ``reconnect_s`` follows from the meter's period unless it is given.
    """

    def __init__(
        self,
        connect: Connect,
        clock: Clock,
        *,
        settings: MeterSettings,
        state: str | None = None,
        on_sample: Callable[[MeterSample], None] = _ignore,
        random: Random | None = None,
        backoff: Backoff = Backoff(),
        wait_s: float = WAIT_S,
        reconnect_s: float | None = None,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._on_sample = on_sample
        self._random = SystemRandom() if random is None else random
        self._backoff = backoff
        self._wait_s = wait_s
        self._excuse_s = max(PERIODS_TO_WAIT * settings.period_s, WAIT_S)
        self._since_s = clock.now_s()
        self._reconnect_s = (
            max(PERIODS_TO_RECONNECT * settings.period_s, LEAST_RECONNECT_S)
            if reconnect_s is None
            else reconnect_s
        )
        self._book = MeterBook(settings, state)
        self._came = asyncio.Event()
        self._is_connected = False
        self._fault: MeterError | None = None
        self._noted: tuple[MeterState, str] | None = None

    async def run(self) -> None:
        """Read the meter until cancelled. What needs a person is shown in ``health`` and raised to
        whoever reads, and tried again like the rest: the person may have helped."""
        failures = 0
        while True:
            frames_before = self._book.frames
            why = await self._listen()
            self._is_connected = False
            # A connection that brought something counts as a success, however it ended.
            failures = 1 if self._book.frames > frames_before else failures + 1
            self._note(why)
            await asyncio.sleep(self._backoff.pause_s(failures, self._random))

    async def read(self) -> RegisterReading:
        """The totals of the newest sample; waits for a first one. Raises MeterSilent when none
        comes (MeterNotYet while it need not), MeterError when a person must look."""
        return await self._waited(self._book.latest, self._since_s)

    async def read_at(self, instant_s: int) -> RegisterReading:
        """The totals at an instant that has passed; waits for the sample after it. Raises
        MeterSilent when none comes (MeterNotYet while it need not), MeterError when a person must
        look, or the instant lies before everything that is known."""
        return await self._waited(lambda: self._book.at(instant_s), max(instant_s, self._since_s))

    def keep(self, storage: MeterStorage) -> None:
        """Hand over what is not durable yet; see ``node.ports``. Once in a transaction."""
        self._book.keep(storage)

    def confirm_swap(self) -> None:
        """The owner says that the meter was replaced. Raises ValueError when no other speaks."""
        self._book.confirm_swap()
        log.info("meter_swapped meter=%s", self.health.meter_id)
        self._wake()

    def confirm_restart(self) -> None:
        """The owner says that the meter was reset. Raises ValueError when nothing is held."""
        self._book.confirm_restart()
        log.info("meter_restarted meter=%s", self.health.meter_id)
        self._wake()

    @property
    def health(self) -> MeterHealth:
        """The meter at a glance."""
        fault = None if self._fault is None else self._fault.message
        return self._book.health(self._clock.now_s(), connected=self._is_connected, fault=fault)

    async def _listen(self) -> str:
        """One connection, from its opening to its end; why it ended."""
        try:
            async with asyncio.timeout(self._reconnect_s) as silence, self._connect() as transport:
                self._is_connected = True
                self._patient(silence)
                async for arrived in transport.arrivals():
                    self._take(arrived, silence)
        except TimeoutError:
            return f"no frame for {self._reconnect_s:g} s"
        except MeterSilent as error:
            return error.message
        except (MeterError, ConfigurationError) as error:
            self._fault = MeterError(error.message, next_step=error.next_step)
            return error.message
        return "the connection ended"

    def _take(self, arrived: Arrived, silence: asyncio.Timeout) -> None:
        sample = self._book.observe(arrived)
        if isinstance(arrived.decoded, MeterFrame):
            self._patient(silence)
            self._fault = None
        if sample is not None:
            self._note("")
            self._on_sample(sample)
            self._wake()

    def _patient(self, silence: asyncio.Timeout) -> None:
        silence.reschedule(asyncio.get_running_loop().time() + self._reconnect_s)

    def _wake(self) -> None:
        """Whoever waits looks again."""
        self._came.set()
        self._came = asyncio.Event()

    async def _waited(
        self, look: Callable[[], RegisterReading | None], due_s: int
    ) -> RegisterReading:
        """What a look finds now or after one of the samples that come in time; it could not have
        found anything before ``due_s``."""
        try:
            async with asyncio.timeout(self._wait_s):
                while True:
                    reading = look()
                    if reading is not None:
                        return reading
                    fault = self._book.fault or self._fault
                    if fault is not None:
                        raise fault.with_traceback(None)
                    await self._came.wait()
        except TimeoutError:
            is_excused = self._clock.now_s() - due_s < self._excuse_s
            raise (MeterNotYet if is_excused else MeterSilent)(
                f"no sample that settles it within {self._wait_s:g} s ({self.health.state})",
                next_step="look at the meter's cable, or run daisee doctor",
            ) from None

    def _note(self, why: str) -> None:
        """Log what changed: the state, or why there is no connection."""
        state = self._book.state_at(self._clock.now_s(), has_fault=self._fault is not None)
        if (state, why) == self._noted:
            return
        self._noted = (state, why)
        health = self.health
        log.log(
            logging.INFO if state is MeterState.SPEAKING and not why else logging.WARNING,
            "meter_state state=%r meter=%s frames=%d rejected=%d fault=%r why=%r",
            *(state.value, health.meter_id, health.frames, health.rejected, health.fault, why),
        )
