"""What outsiders send that is no request: answered, counted, and never a line of the log."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import pytest

from node.chain.relay_desk import Desk, Limits
from node.chain.relay_http import serve_relay
from node.chain.relay_log import FAULTS_BURST, ServerLog
from node.chain.request_desk import RequestDesk
from node.clock import ManualClock

START: Final = b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
TEXT: Final = b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
LEAVE: Final = b"POST /join-requests HTTP/1.1\r\nHost: x\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n\r\n"
PACKED: Final = gzip.compress(b"orders " * 20)

BAD_BODIES: Final = {
    "not what its encoding says": START
    + b"Content-Encoding: gzip\r\nContent-Length: 7\r\n\r\nno gzip",
    "packed": START
    + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED)
    + PACKED,
    "an encoding that nobody knows": START
    + b"Content-Encoding: zstd\r\nContent-Length: 3\r\n\r\nabc",
    "no chunk": START + CHUNKED + b"zz\r\n",
    "a chunk without its end": START + CHUNKED + b"3\r\nabcdef\r\n",
    "no chunk after the answer": TEXT + CHUNKED + b"zz\r\n",
}
BAD_HEADS: Final = {
    "a length that is none": START + b"Content-Length: many\r\n\r\n",
    "two lengths": START + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length below nothing": START + b"Content-Length: -1\r\n\r\n",
    "length and chunks": START + b"Content-Length: 3\r\n" + CHUNKED + b"abc",
    "a long line": b"POST /" + b"o" * 9_000 + b" HTTP/1.1\r\n\r\n",
    "many headers": START + b"a: b\r\n" * 200 + b"\r\n",
    "no header": START + b"\x00\r\n\r\n",
    "no address": b"POST http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    "another protocol": b"POST /orders HTTP/9\r\n\r\n",
}
GENEROUS: Final = Limits(address_burst=10_000)
DROPPED: Final = START + b"Content-Length: 113\r\n\r\nabc"


class Relay:
    """A relay whose orders nobody takes: none that could be taken comes."""

    def __init__(self, limits: Limits) -> None:
        self.desk = Desk(
            members=cast("Any", None),
            carrier=cast("Any", None),
            rules_at=cast("Any", None),
            reader=cast("Any", None),
            clock=ManualClock(0),
            limits=limits,
            seconds=lambda: 0.0,
        )
        self.port = 0

    async def send(self, raw: bytes, *, wait: bool = True) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(raw)
        answer = b""
        if wait:
            async with asyncio.timeout(20):
                try:
                    answer = await reader.read()
                except ConnectionError:
                    answer = b""
        writer.close()
        return answer

    @property
    def malformed(self) -> int:
        return self.desk.refused["malformed"]


@asynccontextmanager
async def relay(folder: Path, limits: Limits, *, behind_front: bool) -> AsyncIterator[Relay]:
    made = Relay(limits)
    requests = RequestDesk(folder / "requests", 1, "0x", ManualClock(0), seconds=lambda: 0.0)
    async with serve_relay(made.desk, dict, requests=requests, behind_front=behind_front) as port:
        made.port = port
        yield made


def at(
    folder: Path,
    test: Callable[[Relay], Awaitable[None]],
    limits: Limits = GENEROUS,
    *,
    behind_front: bool = False,
) -> None:
    async def run() -> None:
        async with relay(folder, limits, behind_front=behind_front) as made:
            await test(made)

    asyncio.run(run())


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.mark.parametrize("sort", BAD_BODIES)
def test_a_body_that_cannot_be_read_is_no_order_and_no_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sort: str
) -> None:
    async def told(made: Relay) -> None:
        answer = await made.send(BAD_BODIES[sort])
        assert answer.split()[1] in (b"400", b"415")
        assert made.malformed == 1

    at(tmp_path, told)
    assert caplog.text == ""


@pytest.mark.parametrize("sort", BAD_HEADS)
def test_a_head_that_cannot_be_read_is_counted_and_no_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sort: str
) -> None:
    async def told(made: Relay) -> None:
        answer = await made.send(BAD_HEADS[sort])
        assert answer.split()[1] == b"400"
        assert made.malformed == 1

    at(tmp_path, told)
    assert caplog.text == ""


@pytest.mark.parametrize("path", [b"/orders", b"/nowhere"])
def test_what_cannot_be_repeated_to_its_sender_is_no_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, path: bytes
) -> None:
    async def told(made: Relay) -> None:
        await made.send(START.replace(b"/orders", path) + b"Expect: \x99\r\n\r\n")
        assert made.malformed == 1

    at(tmp_path, told)
    assert caplog.text == ""


def test_who_sends_much_of_it_is_told_to_go_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def flooded(made: Relay) -> None:
        bodies, heads = list(BAD_BODIES.values()), list(BAD_HEADS.values())
        for round_ in range(40):
            await made.send(bodies[round_ % len(bodies)])
            await made.send(heads[round_ % len(heads)])
        assert (await made.send(bodies[0])).split()[1] == b"429"
        assert made.malformed == 10
        assert made.desk.refused["address_too_busy"] == 20 * 71

    at(tmp_path, flooded, Limits(address_burst=200))
    assert caplog.text == ""


def test_the_front_is_not_taken_for_a_sender(tmp_path: Path) -> None:
    async def fronted(made: Relay) -> None:
        for _ in range(20):
            await made.send(BAD_HEADS["a length that is none"])
        assert made.malformed == 20

    at(tmp_path, fronted, Limits(address_burst=200), behind_front=True)


def test_who_goes_away_in_the_middle_is_no_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def dropped(made: Relay) -> None:
        for raw in (DROPPED, DROPPED[:40], LEAVE + CHUNKED + b"5\r\nab"):
            await made.send(raw, wait=False)
        assert b" 400 " in await made.send(LEAVE + CHUNKED + b"zz\r\n")

    at(tmp_path, dropped)
    assert caplog.text == ""


def test_a_fault_of_our_own_is_told_but_not_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 0.0
    log = ServerLog(lambda _: None, lambda: now_s)
    for _ in range(100):
        try:
            raise KeyError("ours")  # noqa: TRY301 - a fault with a traceback
        except KeyError as error:
            log.exception("Error handling request from %s", "192.0.2.1", exc_info=error)
    assert caplog.text.count("KeyError: 'ours'") == FAULTS_BURST
    now_s = 60.0
    log.error("again")
    assert "again" in caplog.text
