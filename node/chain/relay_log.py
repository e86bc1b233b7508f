"""What a relay's HTTP server may write to the log: nothing that a stranger decides.

aiohttp logs a traceback for each request that is none: a head that cannot be read, a body whose
encoding is broken. Outsiders could fill a disk with them. Here such a request is counted and no
more; what is our own fault is told, but only so often.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.http import HttpProcessingError

from node.chain.relay_desk import Buckets
from node.clock import wall_seconds

__all__ = ["ServerLog"]

FAULTS_BURST: Final = 5
FAULTS_PER_S: Final = 1 / 60
"""Tracebacks of our own faults: the first ones say what is wrong, more of them nothing new."""

_NO_REQUEST: Final = (HttpProcessingError, UnicodeEncodeError)
"""A head that cannot be read; or that aiohttp repeats in its answer, which it then cannot write."""

_OF_THE_SENDER: Final = (web.RequestPayloadError, web.PayloadAccessError, ConnectionError)
"""A body is counted where it is read."""


class ServerLog(logging.LoggerAdapter[logging.Logger]):
    """The logger of one server. ``on_malformed`` hears the address that sent what is no request;
    empty where it is not known."""

    def __init__(
        self, on_malformed: Callable[[str], None], seconds: Callable[[], float] = wall_seconds
    ) -> None:
        super().__init__(logging.getLogger("daisee.relay.http"))
        self._on_malformed = on_malformed
        self._told = Buckets(FAULTS_BURST, FAULTS_PER_S, seconds)

    def log(self, level: int, msg: object, *args: object, **more: Any) -> None:  # noqa: ANN401 - logging's own
        """Write it, unless somebody else's fault is all that it says."""
        if level < logging.WARNING:
            return
        error = more.get("exc_info")
        if isinstance(error, _NO_REQUEST):
            self._on_malformed(str(args[0] or "") if args else "")
        elif not isinstance(error, _OF_THE_SENDER) and self._told.take("all"):
            super().log(level, msg, *args, **more)
