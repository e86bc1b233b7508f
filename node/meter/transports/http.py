"""Meters that are asked over HTTP, again and again.

Where two generations of a device answer in two ways, the ways are tried in turn and the one that
gives a frame is kept. An answer is read up to the bound of a message; redirects are not followed, a
meter does not move house.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlencode

import aiohttp

from node.clock import Clock
from node.errors import MeterError, MeterSilent
from node.meter.arrivals import Arrived, Connect, Transport
from node.meter.codec import Decoded, MeterFrame
from node.meter.decoders import MessageDecoder
from node.meter.messages import MAX_MESSAGE_BYTES, refused
from node.meter.recorded import envelope
from node.meter.transports.stream import Keep, keep_nothing

__all__ = ["Credentials", "Login", "Request", "connect_http", "requests_of"]

ANSWER_S: Final = 10

_SUCCESS: Final = 200
_FORBIDDEN: Final = frozenset({401, 403})


class Login(StrEnum):
    """How a device wants to be told who asks."""

    NONE = "none"
    BASIC = "basic"
    DIGEST = "digest"
    QUERY = "query"
    FORM = "form"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password."""

    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Request:
    """One way to ask: a path behind the address of the device, and how to log in. ``topic`` is what
    the answer is filed under for its decoder."""

    path: str
    login: Login = Login.NONE
    topic: str = ""


def requests_of(kind: str, sensor: int) -> tuple[Request, ...]:
    """The ways in which devices of a kind are asked, the newest first."""
    match kind:
        case "shelly":
            return (
                Request("/rpc/Shelly.GetStatus", Login.DIGEST),
                Request("/status", Login.BASIC),
            )
        case "tasmota":
            return (
                Request("/cm?cmnd=Status%2010", Login.QUERY),
                Request("/cm?cmnd=Status%208", Login.QUERY),
            )
        case "citizenwatt":
            path = f"/api/{sensor}/get/watts/by_id/-1"
            return (Request(path, Login.FORM, topic=path),)
    return (Request("", Login.BASIC),)


def connect_http(
    url: str,
    requests: Sequence[Request],
    make_decoder: Callable[[], MessageDecoder],
    clock: Clock,
    *,
    poll_s: int,
    credentials: Credentials | None = None,
    keep: Keep = keep_nothing,
) -> Connect:
    """A meter that is asked every ``poll_s``. A device that does not answer ends the arrivals with
    MeterSilent, one that refuses the user with MeterError."""

    @asynccontextmanager
    async def connection() -> AsyncIterator[Transport]:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            asker = _Asker(session, url.rstrip("/"), credentials)
            yield HttpTransport(asker, requests, make_decoder(), clock, poll_s, keep)

    def connect() -> AbstractAsyncContextManager[Transport]:
        return connection()

    return connect


class HttpTransport:
    """Asks one device."""

    def __init__(
        self,
        asker: _Asker,
        requests: Sequence[Request],
        decode: MessageDecoder,
        clock: Clock,
        poll_s: int,
        keep: Keep = keep_nothing,
    ) -> None:
        self._asker = asker
        self._requests = tuple(requests)
        self._decode = decode
        self._clock = clock
        self._poll_s = poll_s
        self._keep = keep

    async def arrivals(self) -> AsyncIterator[Arrived]:
        """An answer at once, and one every ``poll_s``."""
        while True:
            asked_s = self._clock.now_s()
            decoded = await self._ask()
            at_s = self._clock.now_s()
            for item in decoded:
                yield Arrived(at_s, item)
            await self._clock.sleep_until(asked_s + self._poll_s)

    async def _ask(self) -> list[Decoded]:
        """What the first way says that gives a frame; that way is kept. Else all refusals. Raises
        MeterError when the device refuses whoever asks."""
        refusals: list[Decoded] = []
        is_forbidden = False
        for request in self._requests:
            status, payload = await self._asker.ask(request)
            is_forbidden = is_forbidden or status in _FORBIDDEN
            if status != _SUCCESS:
                refusals.append(refused(f"{request.path or '/'} answered {status}", payload))
                continue
            decoded = self._decode(request.topic, payload)
            if any(isinstance(item, MeterFrame) for item in decoded):
                self._keep(envelope(request.topic, payload))
                self._requests = (request,)
                return decoded
            refusals += decoded
        if is_forbidden:
            raise MeterError(
                f"{self._asker.url} wants a user and a password, or others",
                next_step="write user and password_file as the device knows them",
            )
        return refusals


class _Asker:
    """Sends requests to one device."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, credentials: Credentials | None
    ) -> None:
        self._session = session
        self.url = url
        self._credentials = credentials
        self._digest: tuple[aiohttp.DigestAuthMiddleware, ...] = ()
        if credentials is not None:
            self._digest = (aiohttp.DigestAuthMiddleware(credentials.user, credentials.password),)

    async def ask(self, request: Request) -> tuple[int, bytes]:
        """Status and payload. Raises MeterSilent without an answer."""
        try:
            async with self._sent(request) as answer:
                payload = await _read(answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or f"no answer within {ANSWER_S} s"
            raise MeterSilent(
                f"{self.url} does not answer ({reason})", next_step="check its address"
            ) from error
        return answer.status, payload

    def _sent(self, request: Request) -> aiohttp.client._RequestContextManager:
        url, known = self.url + request.path, self._credentials
        if known is None:
            return self._session.get(url, allow_redirects=False)
        match request.login:
            case Login.BASIC:
                pair = b64encode(f"{known.user}:{known.password}".encode()).decode("ascii")
                headers = {"Authorization": f"Basic {pair}"}
                return self._session.get(url, allow_redirects=False, headers=headers)
            case Login.DIGEST:
                return self._session.get(url, allow_redirects=False, middlewares=self._digest)
            case Login.FORM:
                form = {"login": known.user, "password": known.password}
                return self._session.post(url, allow_redirects=False, data=form)
            case Login.QUERY:
                query = urlencode({"user": known.user, "password": known.password})
                return self._session.get(f"{url}&{query}", allow_redirects=False)
            case Login.NONE:
                return self._session.get(url, allow_redirects=False)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The payload, and one byte above the bound at most: enough to be refused for its length."""
    payload = bytearray()
    async for chunk in answer.content.iter_chunked(MAX_MESSAGE_BYTES):
        payload += chunk
        if len(payload) > MAX_MESSAGE_BYTES:
            break
    return bytes(payload[: MAX_MESSAGE_BYTES + 1])
