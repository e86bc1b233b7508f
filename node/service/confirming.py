"""What only its owner can say of a meter, told to the running node: that it was replaced or reset.

A pipe beside the database, on which the node listens, and a file with its answer. Whoever may write
there owns the node. A pipe costs nothing while nobody speaks, and tells at once that no node runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from node.clock import Clock
from node.errors import ConfigurationError, DaiseeError

__all__ = ["Answer", "Confirmable", "Confirmation", "ask", "heed"]

log = logging.getLogger("daisee.service")

LOOK_FOR_ANSWER_S: Final = 0.2
MAX_REQUEST_BYTES: Final = 64

_NOBODY_LISTENS: Final = frozenset({errno.ENXIO, errno.ENOENT})


class Confirmation(StrEnum):
    """What is confirmed: another meter in the old one's place, or a register that was reset."""

    SWAP = "swap"
    RESTART = "restart"


class Confirmable(Protocol):
    """A meter that waits for its owner's word. Both raise ValueError when it does not."""

    def confirm_swap(self) -> None:
        """The meter was replaced."""
        ...

    def confirm_restart(self) -> None:
        """The meter was reset."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether the node did it, and why not."""

    done: bool
    why: str = ""


async def ask(database: Path, what: Confirmation, clock: Clock, within_s: int) -> Answer | None:
    """Hand a request to the node of a database, and wait for its answer; None when no node listens,
    or none answers in time. The request is void then: it must not bind a node of tomorrow.

    Raises ConfigurationError when this user may not speak for the node.
    """
    try:
        _answer_file(database).unlink(missing_ok=True)
        _write(_pipe(database), f"{what} {clock.now_s() + within_s}")
    except OSError as error:
        if error.errno in _NOBODY_LISTENS:
            return None
        raise ConfigurationError(
            f"cannot hand the confirmation to the node ({error.strerror})",
            file=_pipe(database),
            next_step="run this as the node's own user, or with sudo",
        ) from error
    try:
        async with asyncio.timeout(within_s):
            # Another process answers, through a file: there is no event to wait for.
            while (answer := _answer_of(database)) is None:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_FOR_ANSWER_S)
    except TimeoutError:
        return None
    return answer


async def heed(database: Path, meter: Confirmable, clock: Clock, keep: Callable[[], None]) -> None:
    """Take requests as they come, until cancelled. One for which nothing is waiting is answered and
    forgotten: a word said too early must not bind a meter of tomorrow.

    ``keep`` makes durable what the meter was told, before that is answered: its owner turns away
    then, and the power may fail. It raises DaiseeError when it cannot; the same request keeps it.

    Raises ConfigurationError when there can be no pipe.
    """
    path = _pipe(database)
    try:
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        # For both ways: without a writer of its own it would be at its end after each request.
        pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(
            f"the owner's confirmations cannot be heard ({error.strerror})", file=path
        ) from error
    ear = _Ear(meter, keep)
    try:
        while True:
            request = await _heard(pipe)
            answer = ear.take(request, clock.now_s())
            if answer is not None:
                _tell(database, answer)
    finally:
        os.close(pipe)
        with contextlib.suppress(OSError):
            path.unlink()


async def _heard(pipe: int) -> str:
    """The next request: a short write to a pipe arrives whole."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(pipe, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(pipe)
    return os.read(pipe, MAX_REQUEST_BYTES).decode("ascii", "replace").strip()


class _Ear:
    """What becomes of requests; ``_owed`` are those that the meter has and the disk has not."""

    def __init__(self, meter: Confirmable, keep: Callable[[], None]) -> None:
        self._meter = meter
        self._keep = keep
        self._owed: set[str] = set()

    def take(self, request: str, now_s: int) -> Answer | None:
        """Answer a request; None when nobody waits for that any more."""
        word, _, until_s = request.partition(" ")
        if not (until_s.isascii() and until_s.isdigit() and now_s <= int(until_s)):
            log.warning("confirmation_too_late request=%r", request)
            return None
        try:
            if Confirmation(word) is Confirmation.SWAP:
                self._meter.confirm_swap()
            else:
                self._meter.confirm_restart()
        except ValueError as error:
            if word not in self._owed:
                log.warning("confirmation_refused word=%r why=%s", word, error)
                return Answer(done=False, why=str(error))
        try:
            self._keep()
        except DaiseeError as error:
            self._owed.add(word)
            log.warning("confirmation_not_kept word=%s why=%r", word, str(error))
            return Answer(done=False, why=f"it could not be kept ({error.message}); ask again")
        self._owed.clear()
        log.info("confirmed word=%s", word)
        return Answer(done=True)


def _tell(database: Path, answer: Answer) -> None:
    """Write an answer, whole or not at all. On a full disk whoever asked hears nothing in time, and
    asks again."""
    path = _answer_file(database)
    part = path.with_suffix(".part")
    try:
        part.write_text(json.dumps({"done": answer.done, "why": answer.why}), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        log.warning("confirmation_not_answered why=%r", str(error))


def _write(pipe: Path, request: str) -> None:
    fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(fd, request.encode("ascii"))
    finally:
        os.close(fd)


def _answer_of(database: Path) -> Answer | None:
    """What the node said to the last request; None as long as it has not."""
    try:
        found = json.loads(_answer_file(database).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Answer(bool(found["done"]), str(found["why"]))


def _pipe(database: Path) -> Path:
    return database.with_name(database.name + ".confirm")


def _answer_file(database: Path) -> Path:
    return database.with_name(database.name + ".confirm.answer")
