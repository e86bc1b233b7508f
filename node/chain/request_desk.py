"""Join requests over the network: who may leave one at a relay, and the household that does.

What a stranger sends costs a bounded effort: few requests of an address and of all together, the
cheap questions first, and no more kept than the operator can look through. A request that is kept
is not an admission: the operator still compares its four words.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout

from node.chain.invites import CLOCK_SLACK_S
from node.chain.join_requests import (
    MAX_OF_INVITE,
    MAX_WAITING,
    VALID_S,
    JoinRequest,
    drop_past,
    keep_request,
)
from node.chain.member_book import load_book
from node.chain.relay_desk import Buckets
from node.clock import Clock, wall_seconds
from node.errors import ChainUnreachable, Refused

__all__ = ["REQUESTS_PATH", "RequestDesk", "hand_over_request"]

REQUESTS_PATH: Final = "/join-requests"

ADDRESS_BURST: Final = 6
ADDRESS_PER_S: Final = 1 / 60
"""Requests of an address: a household sends one, and a few more while it tries."""

ALL_BURST: Final = 60
ALL_PER_S: Final = 1 / 2
"""Requests of all addresses: each costs up to a few hundredths of a second."""

HAND_OVER_WITHIN_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 1_024

OK: Final = 200
FORBIDDEN: Final = 403


class RequestDesk:
    """Keeps the join requests of one community in a folder.

    With ``book``, the operator's list of members, only those that answer an invite of its operator
    which is still good, and few for each; without it, anybody's who signed one for this registry.
    """

    def __init__(
        self,
        folder: Path,
        chain_id: int,
        registry: str,
        clock: Clock,
        *,
        book: Path | None = None,
        seconds: Callable[[], float] = wall_seconds,
    ) -> None:
        self.kept = 0
        self.refused: Counter[str] = Counter()
        self._folder = folder
        self._community = (chain_id, registry.lower())
        self._clock = clock
        self._book = book
        self._addresses = Buckets(ADDRESS_BURST, ADDRESS_PER_S, seconds)
        self._all = Buckets(ALL_BURST, ALL_PER_S, seconds)
        self._one_at_a_time = asyncio.Lock()

    def allows(self, address: str) -> bool:
        """Whether an address may leave a request now."""
        allowed = self._addresses.take(address) and self._all.take("all")
        if not allowed:
            self.refused["too_busy"] += 1
        return allowed

    async def keep(self, text: str) -> None:
        """Keep a request for the operator; the same one again changes nothing.

        Raises Refused, whose reason alone is for the sender: its message may name a member.
        """
        async with self._one_at_a_time:
            try:
                await asyncio.to_thread(self._keep, text)
            except Refused as refusal:
                self.refused[refusal.reason] += 1
                raise
        self.kept += 1

    def _keep(self, text: str) -> None:
        # Without the book an invite may be anybody's, and a bound for each of them bounds nothing.
        of_invite = MAX_WAITING if self._book is None else MAX_OF_INVITE
        keep = partial(keep_request, self._folder, text, self._check, of_invite=of_invite)
        try:
            keep()
        except Refused as refusal:
            if refusal.reason != "full" or not drop_past(self._folder, self._clock.now_s()):
                raise
            keep()

    def _check(self, request: JoinRequest) -> None:
        """Raises Refused for a request of another community, time or operator."""
        now_s = self._clock.now_s()
        if (request.chain_id, request.registry.lower()) != self._community:
            raise _unwanted("other_community", "it is for another chain or registry")
        if request.deadline_s <= now_s:
            raise _unwanted("expired", "its owner's signatures do not count any more")
        if request.deadline_s > now_s + VALID_S + CLOCK_SLACK_S:
            raise _unwanted("clock_off", "it comes from the future")
        if self._book is not None:
            load_book(self._book).entry_for(request, now_s)


async def hand_over_request(url: str, text: str) -> None:
    """Leave a household's request at a relay.

    Raises Refused with the relay's reason when it does not want it, ChainUnreachable when it does
    not answer as one that takes requests does.
    """
    where = url.rstrip("/") + REQUESTS_PATH
    timeout = ClientTimeout(total=HAND_OVER_WITHIN_S)
    try:
        async with (
            ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.post(where, data=text.encode(), allow_redirects=False) as said,
        ):
            answer = await said.content.read(MAX_ANSWER_BYTES)
            status = said.status
    except (ClientError, OSError, TimeoutError, ValueError) as error:
        raise ChainUnreachable(f"the relay at {url} does not answer: {error}") from error
    word = answer.decode("ascii", "replace").strip()
    if status == OK and word == "kept":
        return
    if status == FORBIDDEN and word.isidentifier():
        raise Refused(f"the relay at {url} does not want it: {word[:40]}", reason=word[:40])
    raise ChainUnreachable(f"the relay at {url} takes no join requests: it answers {status}")


def _unwanted(reason: str, why: str) -> Refused:
    return Refused(
        f"this join request is not kept: {why}",
        reason=reason,
        next_step="run 'daisee join' again, with the right invite",
    )
