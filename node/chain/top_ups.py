"""Gas money for those who may trade: the relay's account gives it, within bounds.

A household whose signer has no gas could not send an order itself when the relay fails it. So those
that run low get more: the signers that the registry has now, of households in good standing, and
nobody else. Neither a member that drains its account nor an error can take the relay's own reserve,
more than a day's bound, or more than one payment a day for one household.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from node.chain.carrier import Carrier
from node.chain.membership import GAS_WEI, TOP_UP_BELOW_WEI, standing_signer, top_up
from node.chain.relay_desk import Members
from node.chain.rpc import Rpc
from node.clock import wall_seconds

__all__ = ["DAILY_WEI", "EVERY_S", "RESERVE_WEI", "GasMoney", "TopUps"]

log = logging.getLogger("daisee.relay")

EVERY_S: Final = 600
DAILY_WEI: Final = 20 * GAS_WEI
RESERVE_WEI: Final = 5 * GAS_WEI
"""What the relay keeps for its batches: at 1 gwei, some 1,500 full ones."""

DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class TopUps:
    """When a signer gets gas money, and how much; ``daily_wei`` is for all together."""

    every_s: int = EVERY_S
    below_wei: int = TOP_UP_BELOW_WEI
    amount_wei: int = GAS_WEI
    daily_wei: int = DAILY_WEI
    reserve_wei: int = RESERVE_WEI


class GasMoney:
    """Looks after the signers of a registry, with the account of a carrier.

    What was given is remembered for a day, and not beyond the process.
    """

    def __init__(
        self,
        rpc: Rpc,
        registry: str,
        members: Members,
        carrier: Carrier,
        terms: TopUps,
        seconds: Callable[[], float] = wall_seconds,
    ) -> None:
        self.terms = terms
        self.given_wei = 0
        self.payments = 0
        self.trouble = ""
        self._rpc = rpc
        self._registry = registry
        self._members = members
        self._carrier = carrier
        self._seconds = seconds
        self._today: deque[tuple[float, int, int]] = deque()

    async def look(self) -> list[str]:
        """Once: pay those that run low, as far as it goes; their addresses.

        Raises ChainUnreachable.
        """
        terms, carrier = self.terms, self._carrier
        self._forget_yesterday()
        had_today = {household for _, household, _ in self._today}
        spent_wei = sum(amount_wei for _, _, amount_wei in self._today)
        promised_wei = carrier.paying_wei  # before the balance, of which it may be a part by then
        own_wei = await self._rpc.balance_wei(carrier.address)
        left_wei = own_wei - promised_wei - terms.reserve_wei
        given: list[str] = []
        for household, signer in self._members.signers():
            mine = signer == carrier.address.lower()
            if mine or household in had_today or signer in carrier.paying:
                continue
            if await self._rpc.balance_wei(signer) >= terms.below_wei:
                continue
            if why := self._why_not(left_wei, terms.daily_wei - spent_wei):
                self._tell(why)
                return given
            # The events may be of a block that was replaced: the registry has the last word.
            if await standing_signer(self._rpc, self._registry, household) != signer:
                continue
            given += await top_up(self._rpc, carrier, [signer], terms.below_wei, terms.amount_wei)
            if not given or given[-1] != signer:
                continue
            left_wei -= terms.amount_wei
            spent_wei += terms.amount_wei
            self._remember(household, signer)
        self._tell("")
        return given

    def _why_not(self, left_wei: int, today_wei: int) -> str:
        if left_wei < self.terms.amount_wei:
            return "the relay's account is at its reserve"
        if today_wei < self.terms.amount_wei:
            return "the day's bound is reached"
        return ""

    def _remember(self, household: int, signer: str) -> None:
        amount_wei = self.terms.amount_wei
        self._today.append((self._seconds(), household, amount_wei))
        self.payments += 1
        self.given_wei += amount_wei
        log.info("gas_given household=%d account=%s wei=%d", household, signer, amount_wei)

    def _forget_yesterday(self) -> None:
        while self._today and self._seconds() - self._today[0][0] >= DAY_S:
            self._today.popleft()

    def _tell(self, why: str) -> None:
        if why and why != self.trouble:
            log.warning("gas_not_given why=%r", why)
        elif self.trouble and not why:
            log.info("gas_given_again")
        self.trouble = why
