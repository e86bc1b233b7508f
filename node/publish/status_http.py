"""``/metrics`` and ``/status.json``, for this machine alone unless a person says otherwise.

Both show when somebody is at home. So the server binds to loopback, refuses anything else that was
not asked for by name, and answers only to loopback names: a page in a browser on this machine could
reach it under a name of its own (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict

from aiohttp import web
from aiohttp.typedefs import Handler

from node.errors import ConfigurationError
from node.publish.prometheus import CONTENT_TYPE, exposition, families
from node.publish.state import STATUS_SCHEMA, PublishedState

__all__ = ["is_loopback", "serve_status", "status_document"]


def is_loopback(host: str) -> bool:
    """Whether a name or address, as written in a setting or a Host header, is this machine."""
    bare = host.strip("[]")
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def status_document(
    state: PublishedState | None, more: Mapping[str, object], version: str
) -> dict[str, object]:
    """What ``/status.json`` says. ``more`` is what the composition adds under names of its own.

    The meter's id stays at home: whoever may read this page may forward it.
    """
    known: dict[str, object] = {} if state is None else asdict(state)
    known.pop("meter_id", None)
    return {**more, "node": known or None, "schema": STATUS_SCHEMA, "version": version}


@asynccontextmanager
async def serve_status(
    state: Callable[[], PublishedState | None],
    *,
    version: str,
    more: Callable[[], Mapping[str, object]] = dict,
    host: str = "127.0.0.1",
    port: int = 0,
    beyond_loopback: bool = False,
) -> AsyncIterator[int]:
    """Serve until the context ends; gives the port, which the system chooses for 0.

    Raises ConfigurationError for a host beyond loopback that was not asked for, and when the port
    cannot be had.
    """
    if not beyond_loopback and not is_loopback(host):
        raise ConfigurationError(
            f"the status page would be open to the network on {host}",
            next_step="bind it to 127.0.0.1, or say that it may be seen beyond this machine",
        )
    application = web.Application(middlewares=[] if beyond_loopback else [_loopback_names_only])
    application.add_routes(
        [
            web.get("/metrics", _metrics(state, version)),
            web.get("/status.json", _status(state, more, version)),
        ]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(
                f"the status page cannot listen on {host} port {port}: {error.strerror}",
                next_step="choose another port, or stop what uses this one",
            ) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@web.middleware
async def _loopback_names_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer only requests for a loopback name."""
    if not is_loopback(request.url.host or ""):
        raise web.HTTPMisdirectedRequest(text="this page is for this machine alone\n")
    return await handler(request)


def _metrics(state: Callable[[], PublishedState | None], version: str) -> Handler:
    async def metrics(_: web.Request) -> web.StreamResponse:
        known = state()
        text = "" if known is None else exposition(families(known, version))
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    return metrics


def _status(
    state: Callable[[], PublishedState | None],
    more: Callable[[], Mapping[str, object]],
    version: str,
) -> Handler:
    async def status(_: web.Request) -> web.StreamResponse:
        text = json.dumps(status_document(state(), more(), version), sort_keys=True)
        return web.Response(text=text + "\n", content_type="application/json")

    return status
