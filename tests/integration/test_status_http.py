"""The status page over real sockets: what it says, and to whom it does not."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from typing import Final

import aiohttp
import pytest

from node.errors import ConfigurationError
from node.publish.prometheus import CONTENT_TYPE
from node.publish.state import PublishedState
from node.publish.status_http import is_loopback, serve_status

PRM: Final = "01234567890123"
EVERYWHERE: Final = socket.inet_ntoa(bytes(4))
STATE: Final = PublishedState(at_s=5, meter_id=PRM, import_wh=42, meter_ok=True)


async def got(port: int, path: str, *, method: str = "GET", host: str = "") -> tuple[int, str, str]:
    headers = {"Host": host} if host else {}
    url = f"http://127.0.0.1:{port}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, headers=headers) as answer,
    ):
        return answer.status, answer.headers.get("Content-Type", ""), await answer.text()


def test_metrics_and_status_are_served_as_of_the_moment_of_asking() -> None:
    async def scenario() -> None:
        known: list[PublishedState | None] = [None]
        async with serve_status(lambda: known[0], version="1.0", more=lambda: {"slot": 7}) as port:
            assert await got(port, "/metrics") == (200, CONTENT_TYPE, "")
            _, _, text = await got(port, "/status.json")
            assert json.loads(text)["node"] is None
            known[0] = STATE
            status, kind, text = await got(port, "/metrics")
            assert (status, kind) == (200, CONTENT_TYPE)
            assert "\ndaisee_import_wh_total 42\n" in text
            status, kind, text = await got(port, "/status.json")
            assert (status, kind) == (200, "application/json; charset=utf-8")
            document = json.loads(text)
            assert document["schema"] == "daisee.status/1"
            assert document["slot"] == 7
            assert document["node"]["import_wh"] == 42
            assert PRM not in text
            known[0] = replace(STATE, import_wh=43)
            assert "daisee_import_wh_total 43" in (await got(port, "/metrics"))[2]

    asyncio.run(scenario())


def test_nothing_can_be_written_and_nothing_else_is_there() -> None:
    async def scenario() -> None:
        async with serve_status(lambda: STATE, version="1.0") as port:
            assert (await got(port, "/metrics", method="POST"))[0] == 405
            assert (await got(port, "/"))[0] == 404
            assert (await got(port, "/../etc/passwd"))[0] == 404

    asyncio.run(scenario())


def test_a_page_under_a_foreign_name_is_refused() -> None:
    async def scenario() -> None:
        async with serve_status(lambda: STATE, version="1.0") as port:
            assert (await got(port, "/status.json", host="evil.example"))[0] == 421
            assert (await got(port, "/status.json", host=f"localhost:{port}"))[0] == 200
        async with serve_status(lambda: STATE, version="1.0", beyond_loopback=True) as port:
            assert (await got(port, "/status.json", host="pi.example"))[0] == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.0.2.1", "pi.example", ""])
def test_a_bind_beyond_loopback_must_be_asked_for(host: str) -> None:
    async def scenario() -> None:
        async with serve_status(lambda: STATE, version="1.0", host=host):
            pytest.fail("it serves")

    with pytest.raises(ConfigurationError, match="open to the network"):
        asyncio.run(scenario())


def test_a_bind_beyond_loopback_can_be_asked_for() -> None:
    async def scenario() -> None:
        async with serve_status(
            lambda: STATE, version="1.0", host=EVERYWHERE, beyond_loopback=True
        ) as port:
            assert (await got(port, "/metrics"))[0] == 200

    asyncio.run(scenario())


def test_a_port_that_is_taken_is_a_matter_of_configuration() -> None:
    async def scenario() -> None:
        async with serve_status(lambda: STATE, version="1.0") as port:
            with pytest.raises(ConfigurationError, match=f"port {port}"):
                async with serve_status(lambda: STATE, version="1.0", port=port):
                    pytest.fail("it serves")
            assert (await got(port, "/metrics"))[0] == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_a_name_of_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example", "::ffff:10.0.0.1", "10.0.0.1", "", "1"])
def test_a_name_of_anything_else(host: str) -> None:
    assert not is_loopback(host)
