"""Members on the chain: how they stand, stopping them, changing their keys, paying their gas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from node.chain.bootstrap import ACCESS, REGISTRY, Role
from node.chain.client import MARKET
from node.chain.community import Community
from node.chain.keys import Key, name_signer_hash, registry_domain
from node.chain.rpc import Receipt, Rpc, Sender
from node.errors import Refused
from node.model import Side

__all__ = [
    "GAS_WEI",
    "TOP_UP_BELOW_WEI",
    "Member",
    "Payer",
    "Standing",
    "member",
    "members",
    "name_signer",
    "reinstate",
    "require_known",
    "require_roles",
    "revoke_signer",
    "standing_signer",
    "suspend",
    "top_up",
]

GAS_WEI: Final = 10**18
"""What a household's signer gets: some thousand orders' worth, should the relay ever fail it."""

TOP_UP_BELOW_WEI: Final = 2 * 10**17

NAMING_VALID_S: Final = 3_600
"""How long the owner's signature for a new signer counts: it is sent at once."""

_NOBODY: Final = "0x" + "00" * 20


class Standing(IntEnum):
    """Whether a household may order, with the numbers of the registry."""

    UNKNOWN = 0
    SUSPENDED = 1
    NO_SIGNER = 2
    GOOD = 3

    @property
    def word(self) -> str:
        """As outputs write it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Member:
    """A household as the chain has it. ``signer`` is empty where none is named."""

    number: int
    owner: str
    signer: str
    standing: Standing
    import_limit_wh: int
    export_limit_wh: int
    supplier: int
    balance_units: int
    gas_wei: int


async def member(rpc: Rpc, community: Community, household: int) -> Member:
    """A household as it stands. Raises Refused when the number was never given out."""
    registry, market = community.contracts["HouseholdRegistry"], community.market
    owner = await rpc.call(registry, REGISTRY, "ownerOf", household)
    standing, signer, _ = await rpc.call(registry, REGISTRY, "standingOf", household, int(Side.BID))
    imports, exports = await rpc.call(registry, REGISTRY, "limitsOf", household)
    supplier = await rpc.call(registry, REGISTRY, "supplierOf", household)
    balance = await rpc.call(market, MARKET, "balanceOf", household)
    named = signer != _NOBODY
    return Member(
        number=household,
        owner=rpc.w3.to_checksum_address(owner),
        signer=rpc.w3.to_checksum_address(signer) if named else "",
        standing=Standing(standing),
        import_limit_wh=imports,
        export_limit_wh=exports,
        supplier=supplier,
        balance_units=balance,
        gas_wei=await rpc.balance_wei(signer) if named else 0,
    )


async def standing_signer(rpc: Rpc, registry: str, household: int) -> str:
    """The signer of a household in good standing, in lower case; empty where it may not order."""
    standing, signer, _ = await rpc.call(registry, REGISTRY, "standingOf", household, int(Side.BID))
    return str(signer).lower() if standing == Standing.GOOD else ""


async def members(rpc: Rpc, community: Community) -> list[Member]:
    """Every household that has a number, in order."""
    given = int(await rpc.call(community.contracts["HouseholdRegistry"], REGISTRY, "households"))
    return [await member(rpc, community, number) for number in range(1, given + 1)]


async def require_known(rpc: Rpc, community: Community, household: int) -> Member:
    """The same, refused in words a person understands when there is no such household."""
    given = int(await rpc.call(community.contracts["HouseholdRegistry"], REGISTRY, "households"))
    if not 0 < household <= given:
        raise Refused(
            f"there is no household {household}: the registry has given out"
            f" {given or 'no'} number{'' if given == 1 else 's'}",
            reason="unknown_household",
            next_step="'daisee member list' shows who there is",
        )
    return await member(rpc, community, household)


async def require_roles(
    rpc: Rpc, community: Community, account: str, roles: Sequence[Role]
) -> None:
    """Check before anything is sent that an account may do what it is about to do.

    Raises Refused: ``not_operator`` when it lacks a role, ``role_delayed`` when everything that it
    does with the role has to be announced first.
    """
    access = community.contracts["AccessManager"]
    for role in roles:
        has_it, delay_s = await rpc.call(access, ACCESS, "hasRole", int(role), account)
        what = role.name.lower().replace("_", " ")
        if not has_it:
            raise Refused(
                f"{account} is no {what} of {community.name}",
                reason="not_operator",
                next_step=f"use a key that has the role, or have it granted the role of {what}",
            )
        if delay_s:
            raise Refused(
                f"what {account} does as {what} has a public delay of {delay_s} s",
                reason="role_delayed",
                next_step="schedule it in the access manager, or use a key without a delay",
            )


async def suspend(operator: Sender, community: Community, household: int) -> Receipt:
    """Refuse a household's new orders from the next block on."""
    return await _by_operator(operator, community, "suspend", household)


async def reinstate(operator: Sender, community: Community, household: int) -> Receipt:
    """Take a suspended household's orders again."""
    return await _by_operator(operator, community, "reinstate", household)


async def revoke_signer(operator: Sender, community: Community, household: int) -> Receipt:
    """Stop a household's signing key; only its owner can name the next."""
    return await _by_operator(operator, community, "revokeSigner", household)


async def name_signer(
    rpc: Rpc,
    carrier: Sender,
    community: Community,
    owner: Key,
    *,
    household: int,
    signer: str,
    now_s: int,
) -> Receipt:
    """Name a household's signer with its owner's signature, in a transaction that anybody pays.

    Raises Refused (``not_owner``) when the key is not the owner's.
    """
    registry = community.contracts["HouseholdRegistry"]
    found = await require_known(rpc, community, household)
    if found.owner.lower() != owner.address.lower():
        raise Refused(
            f"{owner.address} does not own household {household}, {found.owner} does",
            reason="not_owner",
            next_step="give the owner's keystore: --owner-keystore and --owner-password-file",
        )
    deadline_s = now_s + NAMING_VALID_S
    nonce = int(await rpc.call(registry, REGISTRY, "signerNonce", household))
    digest = registry_domain(rpc.chain_id, registry).digest(
        name_signer_hash(household, signer, nonce, deadline_s)
    )
    signature = owner.sign_recoverable(digest)
    arguments = (household, signer, deadline_s, signature)
    return await carrier.send(registry, REGISTRY, "nameSignerFor", *arguments)


class Payer(Protocol):
    """An account that pays others their gas: a ``Sender`` at once, a relay's carrier soon."""

    async def pay(self, to: str, amount_wei: int) -> object:
        """Give an account gas money."""
        ...


async def top_up(
    rpc: Rpc,
    relayer: Payer,
    accounts: Iterable[str],
    threshold_wei: int = TOP_UP_BELOW_WEI,
    amount_wei: int = GAS_WEI,
) -> list[str]:
    """Give gas money to the accounts that have less than a threshold; returns which.

    Each of them is given it once, however often it is named. Raises ChainUnreachable when the
    relayer's own account does not suffice: then the accounts before it have theirs.
    """
    given: list[str] = []
    for account in dict.fromkeys(account.lower() for account in accounts):
        if await rpc.balance_wei(account) < threshold_wei:
            await relayer.pay(account, amount_wei)
            given.append(account)
    return given


async def _by_operator(
    operator: Sender, community: Community, function: str, household: int
) -> Receipt:
    registry = community.contracts["HouseholdRegistry"]
    return await operator.send(registry, REGISTRY, function, household)
