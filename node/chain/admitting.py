"""Admitting a household: what it takes, and doing what of it is not done yet."""

from __future__ import annotations

from dataclasses import dataclass

from node.chain.bootstrap import CREDIT, REGISTRY
from node.chain.client import MARKET
from node.chain.community import Community
from node.chain.join_requests import JoinRequest
from node.chain.joining import number_of
from node.chain.membership import GAS_WEI, Member, member
from node.chain.rpc import Rpc, Sender
from node.errors import Refused
from node.model import MAX_ENERGY_WH

__all__ = ["Admission", "Terms", "admit_household", "plan_admission"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What an approval grants: limits of one order, the supplier, credit, and gas."""

    import_limit_wh: int
    export_limit_wh: int
    supplier: int = 1
    credit_units: int = 0
    gas_wei: int = GAS_WEI

    def __post_init__(self) -> None:
        for limit_wh in (self.import_limit_wh, self.export_limit_wh):
            if not 0 <= limit_wh <= MAX_ENERGY_WH:
                raise ValueError(f"a limit of {limit_wh} Wh is not in 0..{MAX_ENERGY_WH}")
        if self.credit_units < 0 or self.gas_wei < 0:
            raise ValueError("nothing can be taken from a household")


@dataclass(frozen=True, slots=True)
class Admission:
    """What is still to be done for a household to trade. ``number`` is 0 before it has one;
    ``gas`` is what each of its accounts still gets: its node's, and its owner's, who needs some to
    name another signer and to take money out."""

    request: JoinRequest
    terms: Terms
    number: int
    credit_units: int
    gas: tuple[tuple[str, int], ...]
    names_signer: bool

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do."""
        return bool(self.number) and not (self.credit_units or self.gas or self.names_signer)

    @property
    def gas_wei(self) -> int:
        """All the gas money that it still gets."""
        return sum(amount_wei for _, amount_wei in self.gas)


async def plan_admission(
    rpc: Rpc, community: Community, request: JoinRequest, terms: Terms, now_s: int
) -> Admission:
    """What an approval would change, as of now: an approval that was interrupted goes on where it
    stopped, and one that was complete changes nothing.

    Raises Refused: ``wrong_community``, or ``out_of_date`` when the owner's signatures count no
    more.
    """
    registry = community.contracts["HouseholdRegistry"]
    agreed = (community.chain_id, registry.lower())
    if (request.chain_id, request.registry.lower()) != agreed:
        raise Refused(
            f"the request is for chain {request.chain_id} and the registry {request.registry},"
            f" not for {community.name}",
            reason="wrong_community",
            next_step="check --network; the household may have an invite of another community",
        )
    number = await number_of(rpc, community, request)
    found = await member(rpc, community, number) if number else None
    names_signer = found is None or found.signer.lower() != request.signer.lower()
    if names_signer:
        next_number = int(await rpc.call(registry, REGISTRY, "households")) + 1
        await _refuse_out_of_date(rpc, registry, request, number or next_number, now_s)
    # Only a household with a signer can have spent: one without has all that it was ever given.
    had_units = found.balance_units if found else 0
    missing_units = max(terms.credit_units - had_units, 0) if names_signer else 0
    accounts = dict.fromkeys((request.signer, request.owner)) if names_signer else {}
    lacking = [(account, terms.gas_wei - await rpc.balance_wei(account)) for account in accounts]
    return Admission(
        request=request,
        terms=terms,
        number=number,
        credit_units=missing_units,
        gas=tuple((account, lack_wei) for account, lack_wei in lacking if lack_wei > 0),
        names_signer=names_signer,
    )


async def admit_household(
    rpc: Rpc, operator: Sender, community: Community, admission: Admission
) -> Member:
    """Do what an admission still lacks. The signer is named last: from that block on the household
    trades, with its credit and its gas in place."""
    registry, request, terms = (
        community.contracts["HouseholdRegistry"],
        admission.request,
        admission.terms,
    )
    number = admission.number
    if not number:
        limits_wh = (terms.import_limit_wh, terms.export_limit_wh)
        await operator.send(registry, REGISTRY, "admit", request.owner, *limits_wh, terms.supplier)
        number = await number_of(rpc, community, request)
        if not number:
            raise Refused(
                "others were admitted at the same moment, and the number that this household got"
                " is none that its owner signed for",
                reason="out_of_date",
                next_step="suspend the newest household of this owner, and ask for a new request",
            )
    if admission.credit_units:
        await _give_credit(operator, community, number, admission.credit_units)
    for account, amount_wei in admission.gas:
        await operator.pay(account, amount_wei)
    if admission.names_signer:
        await operator.send(
            registry,
            REGISTRY,
            "nameSignerFor",
            number,
            request.signer,
            request.deadline_s,
            request.naming_for(number),
        )
    return await member(rpc, community, number)


async def _give_credit(
    treasurer: Sender, community: Community, household: int, amount_units: int
) -> None:
    credit, market = community.contracts["SettlementCredit"], community.market
    await treasurer.send(credit, CREDIT, "issue", treasurer.address, amount_units)
    await treasurer.send(credit, CREDIT, "approve", market, amount_units)
    await treasurer.send(market, MARKET, "deposit", household, amount_units)


async def _refuse_out_of_date(
    rpc: Rpc, registry: str, request: JoinRequest, household: int, now_s: int
) -> None:
    """An owner's signatures count for their numbers, until their deadline, until the first of them
    is used or the operator revokes."""
    nonce = int(await rpc.call(registry, REGISTRY, "signerNonce", household))
    if household in request.numbers and now_s < request.deadline_s and nonce == 0:
        return
    raise Refused(
        "the request is out of date: its owner's signatures do not count any more",
        reason="out_of_date",
        next_step="ask the household to run 'daisee join' again, and for the new request",
    )
