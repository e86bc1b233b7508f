"""Join requests over real sockets: what a relay keeps, and what a stranger cannot do to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import aiohttp
import pytest

from node.chain import join_requests as requests_module
from node.chain.invites import Invite
from node.chain.join_requests import MAX_OF_INVITE, MAX_REQUEST_BYTES, VALID_S, make_request
from node.chain.keys import Key
from node.chain.member_book import MemberBook, load_book, save_book
from node.chain.relay_desk import Desk
from node.chain.relay_http import serve_relay
from node.chain.request_desk import ADDRESS_BURST, RequestDesk, hand_over_request
from node.clock import ManualClock
from node.errors import ChainUnreachable, Refused
from tests.support.invited import NOW_S, community, everything_in, invited

OWNER: Final = Key(b"\x21" * 32)
SIGNER: Final = Key(b"\x22" * 32)
REGISTRY: Final = community().contracts["HouseholdRegistry"]
NO_ORDERS: Final = cast("Desk", None)
"""Nobody hands one over here."""


class Box:
    """A relay's folder for requests, its clock and its URL."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "requests"
        self.book = folder / "members.json"
        self.clock = ManualClock(NOW_S)
        self.seconds = 0.0
        save_book(self.book, MemberBook().with_invite(invited()[0], "Anne"))
        self.url = ""

    def desk(self, *, book: bool = True) -> RequestDesk:
        return RequestDesk(
            self.folder,
            community().chain_id,
            REGISTRY,
            self.clock,
            book=self.book if book else None,
            seconds=lambda: self.seconds,
        )

    @property
    def kept(self) -> dict[str, bytes]:
        return everything_in(self.folder) if self.folder.exists() else {}

    async def post(self, body: bytes, path: str = "/join-requests") -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + path, data=body) as said,
        ):
            return said.status, (await said.text()).strip()


def requested(
    owner: Key = OWNER, *, invite: Invite | None = None, households: int = 4, now_s: int = NOW_S
) -> str:
    return make_request(invite or invited()[0], owner, SIGNER.address, households, now_s)[1]


def at_a_relay(folder: Path, test: Callable[[Box], Awaitable[None]], **options: Any) -> None:  # noqa: ANN401 - of Box.desk
    async def run() -> None:
        async with served(Box(folder), **options) as box:
            await test(box)

    asyncio.run(run())


@asynccontextmanager
async def served(box: Box, **options: Any) -> AsyncIterator[Box]:  # noqa: ANN401 - of Box.desk
    async with serve_relay(NO_ORDERS, dict, requests=box.desk(**options)) as port:
        box.url = f"http://127.0.0.1:{port}"
        yield box


def test_a_request_is_kept_once_however_often_it_comes(tmp_path: Path) -> None:
    async def kept(box: Box) -> None:
        text = requested()
        for _ in range(2):
            await hand_over_request(box.url, text)
        assert box.kept == {f"{OWNER.address.lower()}.txt": text.encode() + b"\n"}
        written = next(box.folder.iterdir()).stat().st_mtime_ns
        await hand_over_request(box.url + "/", text)
        assert next(box.folder.iterdir()).stat().st_mtime_ns == written

    at_a_relay(tmp_path, kept)


def test_the_newest_request_of_a_household_waits(tmp_path: Path) -> None:
    """Who saw an older one on its way cannot put it back."""

    async def kept(box: Box) -> None:
        newer = requested(households=9, now_s=NOW_S + 5)
        await hand_over_request(box.url, requested())
        await hand_over_request(box.url, newer)
        assert await box.post(requested().encode()) == (403, "older")
        assert list(box.kept.values()) == [newer.encode() + b"\n"]

    at_a_relay(tmp_path, kept)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "damaged"),
        (requested()[:-9], "damaged"),
        (requested(invite=invited(9)[0]), "unknown_invite"),
        (requested(now_s=NOW_S - VALID_S), "expired"),
        (requested(now_s=NOW_S + 3_600), "clock_off"),
        (
            requested(invite=replace(invited()[0], community=community(chain_id=9))),
            "other_community",
        ),
    ],
)
def test_nothing_else_is_kept(tmp_path: Path, text: str, reason: str) -> None:
    async def refused(box: Box) -> None:
        assert await box.post(text.encode()) == (403, reason)
        with pytest.raises(Refused) as refusal:
            await hand_over_request(box.url, text)
        assert refusal.value.reason == reason
        assert box.kept == {}

    at_a_relay(tmp_path, refused)


def test_a_used_invite_names_nobody(tmp_path: Path) -> None:
    async def refused(box: Box) -> None:
        book = MemberBook().with_invite(invited()[0], "Anne")
        save_book(box.book, book.used_by(book.invited[0], OWNER.address, 1))
        assert await box.post(requested(Key(b"\x31" * 32)).encode()) == (403, "used")

    at_a_relay(tmp_path, refused)


def test_a_body_has_a_bound(tmp_path: Path) -> None:
    async def bounded(box: Box) -> None:
        for size in (MAX_REQUEST_BYTES + 1, 200_000):
            assert (await box.post(b"D" * size))[0] == 413
        assert box.kept == {}

    at_a_relay(tmp_path, bounded)


def test_an_address_leaves_few_requests(tmp_path: Path) -> None:
    async def busy(box: Box) -> None:
        for _ in range(ADDRESS_BURST):
            assert (await box.post(b"nonsense"))[0] == 403
        assert (await box.post(requested().encode()))[0] == 429
        with pytest.raises(ChainUnreachable, match="429"):
            await hand_over_request(box.url, requested())
        box.seconds = 60.0
        await hand_over_request(box.url, requested())

    at_a_relay(tmp_path, busy)


def test_no_more_wait_than_can_be_looked_through_and_the_past_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests_module, "MAX_WAITING", 2)

    async def full(box: Box) -> None:
        owners = [Key(bytes([number]) * 32) for number in (1, 2, 3)]
        for later_s, owner in enumerate(owners[:2]):
            await hand_over_request(box.url, requested(owner, now_s=NOW_S + later_s))
        assert await box.post(requested(owners[2]).encode()) == (403, "full")
        box.clock.advance_to(NOW_S + VALID_S)
        third = requested(owners[2], now_s=NOW_S + VALID_S)
        await hand_over_request(box.url, third)
        assert sorted(box.kept) == sorted(f"{key.address.lower()}.txt" for key in owners[1:])

    at_a_relay(tmp_path, full, book=False)


def test_one_invite_cannot_take_all_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder can make owners without end; only the newest of them wait."""
    monkeypatch.setattr(requests_module, "MAX_WAITING", MAX_OF_INVITE + 2)

    async def flooded(box: Box) -> None:
        others, bella = Key(b"\x41" * 32), invited(7)[0]
        save_book(box.book, load_book(box.book).with_invite(bella, "Bella"))
        await hand_over_request(box.url, requested(others, invite=bella))
        owners = [Key(bytes([number]) * 32) for number in range(1, 3 * MAX_OF_INVITE)]
        for owner in owners:
            box.seconds += 60.0
            await hand_over_request(box.url, requested(owner))
        newest = [others, *owners[-MAX_OF_INVITE:]]
        assert sorted(box.kept) == sorted(f"{key.address.lower()}.txt" for key in newest)
        box.seconds += 60.0
        await hand_over_request(box.url, requested(OWNER, invite=bella))
        assert len(box.kept) == MAX_OF_INVITE + 2

    at_a_relay(tmp_path, flooded)


def test_a_folder_that_cannot_be_written_is_no_refusal(tmp_path: Path) -> None:
    async def away(box: Box) -> None:
        box.folder.write_text("a file in its place")
        status, said = await box.post(requested().encode())
        assert (status, said) == (503, "it cannot be kept now")
        with pytest.raises(ChainUnreachable, match="takes no join requests"):
            await hand_over_request(box.url, requested())
        box.book.write_text("{")
        assert (await box.post(requested().encode()))[0] == 503

    at_a_relay(tmp_path, away)


def test_without_a_folder_there_is_no_such_page(tmp_path: Path) -> None:
    async def none() -> None:
        box = Box(tmp_path)
        async with serve_relay(NO_ORDERS, dict) as port:
            box.url = f"http://127.0.0.1:{port}"
            assert (await box.post(requested().encode()))[0] == 404

    asyncio.run(none())
    with pytest.raises(ChainUnreachable, match="does not answer"):
        asyncio.run(hand_over_request("http://127.0.0.1:9", requested()))
