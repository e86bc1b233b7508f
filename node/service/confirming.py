"""What only its owner can say of a meter, told to the running node: that it was replaced or reset.

Two files beside the database: the request, which ``daisee node confirm`` writes and the node takes
away, and then the node's answer. Whoever may write there owns the node.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from node.errors import ConfigurationError

__all__ = ["Answer", "Confirmable", "Confirmation", "ask", "heed"]

log = logging.getLogger("daisee.service")

LOOK_S: Final = 2.0
"""How often the node looks for a request."""

LOOK_FOR_ANSWER_S: Final = 0.2
MAX_REQUEST_BYTES: Final = 64


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


async def ask(database: Path, what: Confirmation, within_s: float) -> Answer | None:
    """Hand a request to the node of a database, and wait for its answer; None when there is none
    in time. Then the request is taken back: it must not bind a node of tomorrow.

    Raises ConfigurationError when this user may not speak for the node.
    """
    try:
        _answer_file(database).unlink(missing_ok=True)
        _write(_request_file(database), what)
    except OSError as error:
        raise ConfigurationError(
            f"cannot hand the confirmation to the node ({error.strerror})",
            file=_request_file(database),
            next_step="run this as the node's own user, or with sudo",
        ) from error
    try:
        async with asyncio.timeout(within_s):
            # Another process answers, through a file: there is no event to wait for.
            while (answer := _answer_of(database)) is None:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_FOR_ANSWER_S)
    except TimeoutError:
        return None
    finally:
        _request_file(database).unlink(missing_ok=True)
    return answer


async def heed(database: Path, meter: Confirmable) -> None:
    """Take requests as they come, until cancelled. One for which nothing is waiting is answered and
    forgotten: a word said too early must not bind a meter of tomorrow."""
    while True:
        await asyncio.sleep(LOOK_S)
        request = _request_file(database)
        try:
            word = request.read_bytes()[:MAX_REQUEST_BYTES].decode("ascii", "replace").strip()
        except OSError:
            continue
        request.unlink(missing_ok=True)  # first: whatever fails below, it is not taken twice
        answer = _take(word, meter)
        part = _answer_file(database).with_suffix(".part")
        part.write_text(json.dumps({"done": answer.done, "why": answer.why}), encoding="utf-8")
        part.replace(_answer_file(database))


def _take(word: str, meter: Confirmable) -> Answer:
    try:
        if Confirmation(word) is Confirmation.SWAP:
            meter.confirm_swap()
        else:
            meter.confirm_restart()
    except ValueError as error:
        log.warning("confirmation_refused word=%r why=%s", word, error)
        return Answer(done=False, why=str(error))
    log.info("confirmed word=%s", word)
    return Answer(done=True)


def _write(path: Path, what: Confirmation) -> None:
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="ascii") as request:
        request.write(what.value)


def _answer_of(database: Path) -> Answer | None:
    """What the node said to the last request; None as long as it has not."""
    try:
        found = json.loads(_answer_file(database).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Answer(bool(found["done"]), str(found["why"]))


def _request_file(database: Path) -> Path:
    return database.with_name(database.name + ".confirm")


def _answer_file(database: Path) -> Path:
    return database.with_name(database.name + ".confirm.answer")
