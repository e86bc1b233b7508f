"""A relay on a street's network: its server, and the client that a household's market uses.

::

    POST /orders   1 to 100 signed orders, binary or JSON (node.chain.relay_orders); one answer each
    GET  /status   figures only: no household is named
    POST /join-requests   a household's join request, if this relay takes them for the operator

There is nothing to log in to: an order's signature says whose it is. So the server speaks plain
HTTP and binds to loopback unless it is told otherwise; TLS is for a front before it, or the street
has a private network (docs/relay.md). One request per connection, and a slow one is cut.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, NoReturn

from aiohttp import ClientError, ClientSession, ClientTimeout, web
from aiohttp.typedefs import Handler

from node.chain.join_requests import MAX_REQUEST_BYTES
from node.chain.relay_desk import Desk
from node.chain.relay_log import ServerLog
from node.chain.relay_orders import (
    BINARY,
    JSON,
    MAX_ANSWER_BYTES,
    MAX_BODY_BYTES,
    answers_of,
    answers_text,
    orders_of,
    packed,
)
from node.chain.request_desk import REQUESTS_PATH, RequestDesk
from node.clock import wall_seconds
from node.errors import ChainUnreachable, ConfigurationError, DaiseeError, Refused
from node.model import SignedOrder

__all__ = ["RelayClient", "serve_relay"]

log = logging.getLogger("daisee.relay")

REQUEST_WITHIN_S: Final = 5.0
"""For the whole of a request: its head, and after that its body."""

MAX_CONNECTIONS: Final = 512
MAX_OF_ADDRESS: Final = 32
"""Connections at once. Behind a front all come from one address, and only the front can count."""

STOP_WITHIN_S: Final = 2.0

OK: Final = 200
FORBIDDEN: Final = 403
TOO_MANY: Final = 429
AWAY: Final = 503

ANSWER_WITHIN_S: Final = 3.0
LEFT_ALONE_S: Final = 60.0
"""A relay that did not answer is not asked again for so long: orders go to the chain directly."""


@asynccontextmanager
async def serve_relay(
    desk: Desk,
    status: Callable[[], Mapping[str, object]],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    beyond_loopback: bool = False,
    behind_front: bool = False,
    requests: RequestDesk | None = None,
) -> AsyncIterator[int]:
    """Serve until the context ends; gives the port, which the system chooses for 0.

    Join requests are taken where there is a desk for them.
    ``behind_front`` believes the last address of ``X-Forwarded-For``, as a front on this machine
    writes it. Raises ConfigurationError for a host beyond loopback that was not asked for, and when
    the port cannot be had.
    """
    if not beyond_loopback and not _is_loopback(host):
        raise ConfigurationError(
            f"the relay would be open to the network on {host}",
            next_step="bind it to 127.0.0.1 behind a front with TLS, or say --beyond-loopback",
        )
    application = web.Application(
        middlewares=[_one_request_per_connection], client_max_size=MAX_BODY_BYTES
    )
    page = _Page(desk, status, requests, behind_front=behind_front)
    application.add_routes([web.post("/orders", page.orders), web.get("/status", page.status)])
    if requests is not None:
        application.add_routes([web.post(REQUESTS_PATH, page.join_request)])
    runner = web.AppRunner(
        application,
        access_log=None,
        logger=ServerLog(page.malformed),
        auto_decompress=False,  # nobody who hands orders over packs them
        keepalive_timeout=REQUEST_WITHIN_S,  # also of a connection that says nothing, or slowly
        lingering_time=1.0,
        max_line_size=1_024,
        max_field_size=4_096,
        max_headers=64,
    )
    await runner.setup()
    assert runner.server is not None
    per_address = MAX_CONNECTIONS if behind_front else MAX_OF_ADDRESS
    server, loop = runner.server, asyncio.get_running_loop()
    try:
        listener = await loop.create_server(lambda: _Door(server, per_address), host, port)
    except OSError as error:
        await runner.cleanup()
        raise ConfigurationError(
            f"the relay cannot listen on {host} port {port}: {error.strerror}",
            next_step="choose another port, or stop what uses this one",
        ) from error
    try:
        yield int(listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        server.pre_shutdown()
        await server.shutdown(STOP_WITHIN_S)
        await listener.wait_closed()
        await runner.cleanup()


class _Door(asyncio.Protocol):
    """Lets a connection in while there is room for it."""

    def __init__(self, server: web.Server, per_address: int) -> None:
        self._server = server
        self._per_address = per_address

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        address = _group(_peer_of(transport))
        inside = [
            _group(_peer_of(there.transport))
            for there in self._server.connections
            if there.transport is not None
        ]
        if len(inside) >= MAX_CONNECTIONS or inside.count(address) >= self._per_address:
            transport.abort()
            return
        handler = self._server()
        transport.set_protocol(handler)
        handler.connection_made(transport)


class _Page:
    """What is answered."""

    def __init__(
        self,
        desk: Desk,
        status: Callable[[], Mapping[str, object]],
        requests: RequestDesk | None,
        *,
        behind_front: bool,
    ) -> None:
        self._desk = desk
        self._status = status
        self._requests = requests
        self._behind_front = behind_front

    async def orders(self, request: web.Request) -> web.StreamResponse:
        """Take a list of orders."""
        address = self._address(request)
        try:
            orders = await _orders_in(request)
        except _NoOrdersError as error:
            return self._no(error.status, address, str(error))
        if not self._desk.allows(address, len(orders)):
            return _busy()
        try:
            answers = await self._desk.take(orders)
        except ChainUnreachable as error:
            return web.Response(status=AWAY, text=f"{error.message}\n")
        return web.Response(text=answers_text(answers), content_type=JSON)

    async def status(self, _: web.Request) -> web.StreamResponse:
        """Say how the relay is."""
        text = json.dumps(self._status(), sort_keys=True)
        return web.Response(text=text + "\n", content_type=JSON)

    async def join_request(self, request: web.Request) -> web.StreamResponse:
        """Keep a household's request. A refusal is one word: the rest is the operator's."""
        assert self._requests is not None
        if not self._requests.allows(self._address(request)):
            return _busy("requests", "give it to the operator")
        try:
            body = await _body_of(request, MAX_REQUEST_BYTES)
            await self._requests.keep(body.decode("ascii", "replace"))
        except _NoOrdersError as error:
            self._requests.refused["malformed"] += 1
            return web.Response(status=error.status, text=f"{error}\n")
        except Refused as refusal:
            return web.Response(status=FORBIDDEN, text=f"{refusal.reason}\n")
        except DaiseeError as error:
            log.warning("join_request_not_kept why=%r", error.message)
            return web.Response(status=AWAY, text="it cannot be kept now\n")
        except OSError as error:
            log.warning("join_request_not_kept why=%r", error.strerror)
            return web.Response(status=AWAY, text="it cannot be kept now\n")
        return web.Response(text="kept\n")

    def malformed(self, address: str) -> None:
        """Count what was no request at all: nothing of it comes to a page. The front's own address
        is nobody's."""
        self._is_allowed_malformed("" if self._behind_front else _group(address))

    def _is_allowed_malformed(self, address: str) -> bool:
        allowed = not address or self._desk.allows(address, self._desk.malformed_cost)
        if allowed:
            self._desk.refused["malformed"] += 1
        return allowed

    def _no(self, status: int, address: str, why: str) -> web.StreamResponse:
        """Refuse what is no order; who sends much of it is not even told why."""
        if not self._is_allowed_malformed(address):
            return _busy()
        return web.Response(status=status, text=f"{why}\n")

    def _address(self, request: web.Request) -> str:
        forwarded = request.headers.get("X-Forwarded-For", "") if self._behind_front else ""
        return _group(forwarded.rpartition(",")[2].strip() or (request.remote or ""))


@web.middleware
async def _one_request_per_connection(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = web.Response(status=error.status, text=error.text)
    response.force_close()
    return response


class _NoOrdersError(Exception):
    """A request that holds none, and the status that says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


async def _orders_in(request: web.Request) -> list[SignedOrder]:
    if request.content_type not in (BINARY, JSON):
        raise _NoOrdersError(415, f"send {BINARY} or {JSON}")
    body = await _body_of(request, MAX_BODY_BYTES)
    try:
        return orders_of(request.content_type, body)
    except Refused as refusal:
        raise _NoOrdersError(400, refusal.message) from refusal


async def _body_of(request: web.Request, most: int) -> bytes:
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise _NoOrdersError(415, "send it as it is, without a Content-Encoding")
    try:
        async with asyncio.timeout(REQUEST_WITHIN_S):
            body = await request.read()
    except TimeoutError as error:
        raise _NoOrdersError(408, "the request came too slowly") from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise _NoOrdersError(400, "the body cannot be read") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise _NoOrdersError(413, f"more than {most} bytes") from error
    if len(body) > most:
        raise _NoOrdersError(413, f"more than {most} bytes")
    return body


def _busy(what: str = "orders", instead: str = "submit directly") -> web.StreamResponse:
    return web.Response(
        status=TOO_MANY,
        text=f"too many {what} from this address; {instead}\n",
        headers={"Retry-After": "10"},
    )


def _peer_of(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""


def _group(address: str) -> str:
    """Who counts as one: a household has a whole network of IPv6 addresses to itself."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(known, ipaddress.IPv6Address):
        mapped = known.ipv4_mapped
        return str(mapped or ipaddress.ip_network((known, 64), strict=False))
    return str(known)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class RelayClient:
    """Hands a household's orders to a relay. Implements
    ``node.chain.household_market.OrderRelay``.

    What the relay says is not believed: an order that it took counts as taken along, no more.
    """

    def __init__(
        self, url: str, session: ClientSession, seconds: Callable[[], float] = wall_seconds
    ) -> None:
        self._url = url.rstrip("/") + "/orders"
        self._session = session
        self._seconds = seconds
        self._left_alone_until_s: float | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[RelayClient]:
        """A client until the context ends. Nothing is asked before there is an order."""
        timeout = ClientTimeout(total=ANSWER_WITHIN_S)
        async with ClientSession(timeout=timeout, auto_decompress=False) as session:
            yield cls(url, session)

    async def hand_over(self, signed: SignedOrder) -> None:
        """Give the relay an order. Raises Refused when it does not take it, ChainUnreachable when
        it does not answer as a relay does, and for a minute after that."""
        if self._left_alone_until_s is not None and self._seconds() < self._left_alone_until_s:
            raise ChainUnreachable("the relay did not answer a moment ago")
        self._left_alone_until_s = None
        try:
            answer, content = await self._post(packed([signed]))
            (verdict,) = answers_of(content, 1) if answer == OK else _not_as_asked(answer, content)
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            self._left_alone_until_s = self._seconds() + LEFT_ALONE_S
            raise ChainUnreachable(f"the relay at {self._url} does not answer: {error}") from error
        if not verdict.taken:
            raise Refused("the relay did not take the order", reason=verdict.reason[:40])

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": BINARY}
        async with self._session.post(
            self._url, data=body, headers=headers, allow_redirects=False
        ) as response:
            content = b""
            while len(content) <= MAX_ANSWER_BYTES:
                chunk = await response.content.read(MAX_ANSWER_BYTES)
                if not chunk:
                    return response.status, content
                content += chunk
        raise ValueError("its answer is too long")


def _not_as_asked(answer: int, content: bytes) -> NoReturn:
    raise ValueError(f"{answer} {content[:200].decode(errors='replace').strip()}")
