"""From a running network to a community: contracts, roles, and the file that every member has; and
what an operator adds to it later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from eth_utils.address import (
    is_checksum_address,
    is_checksum_formatted_address,
    is_hex_address,
    to_checksum_address,
)

from node.chain.bootstrap import (
    ACCESS,
    ADMINISTRATOR_ROLE,
    Deployment,
    Role,
    deploy,
    give_roles,
    grant_all,
)
from node.chain.client import MarketAddress, MarketClient
from node.chain.community import (
    CONTRACTS,
    GAS_PRICE_WEI,
    Community,
    code_hash_at,
    community_of,
    document_of,
    genesis_hash_of,
)
from node.chain.keys import Key
from node.chain.network.record import Network
from node.chain.release import verify_release
from node.chain.rpc import Rpc, Sender
from node.errors import ChainMismatch, ConfigurationError
from node.model import MarketRules
from node.slots import slot_at

__all__ = [
    "GOVERNANCE_DELAY_S",
    "OPERATOR_ROLES",
    "ROLES",
    "Grant",
    "account_of",
    "draft_community",
    "found_community",
    "grant_roles",
    "missing_roles",
    "revised_community",
    "rules_now",
]

OPERATOR_ROLES: Final = (Role.OPERATOR, Role.TREASURER, Role.GUARDIAN, Role.GOVERNANCE)
"""What the operator's account may do from the first day; it gives the other roles out."""

GOVERNANCE_DELAY_S: Final = 2 * 86_400
"""Between the announcement of new rules and the first instant at which they can be scheduled."""

ROLES: Final[Mapping[str, int]] = {"administrator": ADMINISTRATOR_ROLE} | {
    role.name.lower(): int(role) for role in Role
}
"""What can be given to an account, by name. An administrator gives and takes all roles."""

NOWHERE: Final = "0x" + "00" * 20
UNKNOWN: Final = "0x" + "00" * 32

Grant = tuple[str, str]
"""The name of a role, and the account that gets it."""


def account_of(text: str) -> str:
    """An account's address as the chain's tools write it. Raises ConfigurationError for what is
    none: also for capitals that are not those of its checksum, because a digit is wrong then."""
    is_one = is_hex_address(text) and text.startswith("0x")
    if not is_one or (is_checksum_formatted_address(text) and not is_checksum_address(text)):
        raise ConfigurationError(
            f"{text!r} is no address", next_step="copy it whole: 0x and 40 hexadecimal digits"
        )
    return to_checksum_address(text)


def draft_community(
    network: Network, slot_s: int, *, rpc_urls: Sequence[str], relay_urls: Sequence[str] = ()
) -> Community:
    """What is known of a community before it is on the chain. Raises ConfigurationError for what
    its file could not say, before anything was sent."""
    draft = Community(
        name=network.name,
        operator=network.operator,
        chain_id=network.chain_id,
        genesis_hash=UNKNOWN,
        engine=network.engine,
        finality_depth=network.finality_depth,
        rpc_urls=tuple(rpc_urls),
        relay_urls=tuple(relay_urls),
        slot_s=slot_s,
        contracts=dict.fromkeys(CONTRACTS, NOWHERE),
        code_hashes=dict.fromkeys(CONTRACTS, UNKNOWN),
        created_in_block=0,
        gas_price_wei=GAS_PRICE_WEI,
    )
    return community_of(document_of(draft))


def revised_community(
    community: Community, network: Network, *, rpc_urls: Sequence[str], relay_urls: Sequence[str]
) -> Community:
    """The same community with other URLs where some are given, and with this release's depth.
    Raises ConfigurationError as ``draft_community`` does."""
    revised = replace(
        community,
        rpc_urls=tuple(rpc_urls) or community.rpc_urls,
        relay_urls=tuple(relay_urls) or community.relay_urls,
        finality_depth=network.finality_depth,
    )
    return community_of(document_of(revised))


async def found_community(
    rpc: Rpc,
    network: Network,
    operator: Key,
    rules: MarketRules,
    *,
    rpc_urls: Sequence[str],
    relay_urls: Sequence[str] = (),
    grants: Sequence[Grant] = (),
) -> Community:
    """Deploy and wire the contracts, check what stands on the chain, and say what was agreed.

    Raises ConfigurationError for what the community file could not say, ChainMismatch when the
    endpoint serves another chain, or code that is not this release's.
    """
    draft = draft_community(network, rules.slot_s, rpc_urls=rpc_urls, relay_urls=relay_urls)
    others = [(ROLES[role], account_of(account), 0) for role, account in grants]
    if rpc.chain_id != network.chain_id:
        raise ChainMismatch(
            f"the endpoint serves chain {rpc.chain_id}, and {network.name} is chain"
            f" {network.chain_id}",
            next_step="check --rpc",
        )
    sender = Sender(rpc, operator, gas_price=GAS_PRICE_WEI)
    deployment = await deploy(rpc, sender, rules)
    delays_s = {Role.GOVERNANCE: GOVERNANCE_DELAY_S}
    own = [(int(role), operator.address, delays_s.get(role, 0)) for role in OPERATOR_ROLES]
    await grant_all(sender, deployment, own + others)
    contracts = _addresses(deployment)
    await verify_release(rpc, contracts)
    return replace(
        draft,
        operator=operator.address,
        genesis_hash=await genesis_hash_of(rpc),
        contracts=contracts,
        code_hashes={name: await code_hash_at(rpc, address) for name, address in contracts.items()},
        created_in_block=deployment.created_in_block,
    )


async def missing_roles(rpc: Rpc, community: Community, grants: Sequence[Grant]) -> list[Grant]:
    """Which of some grants the chain does not know yet. Raises ChainUnreachable."""
    access = community.contracts["AccessManager"]
    missing = []
    for role, account in grants:
        has_it, _ = await rpc.call(access, ACCESS, "hasRole", ROLES[role], account)
        if not has_it:
            missing.append((role, account))
    return missing


async def grant_roles(
    rpc: Rpc, operator: Key, community: Community, grants: Sequence[Grant]
) -> None:
    """Give roles in a community that exists. Raises Refused when the account is no administrator
    of it, ChainUnreachable."""
    sender = Sender(rpc, operator, gas_price=community.gas_price_wei)
    given = [(ROLES[role], account, 0) for role, account in grants]
    await give_roles(sender, community.contracts["AccessManager"], given)


async def rules_now(rpc: Rpc, community: Community, now_s: int) -> MarketRules:
    """The rules of the slot that is metered now."""
    where = MarketAddress(community.market, community.slot_s, community.created_in_block)
    return await MarketClient(rpc, where).rules_at(slot_at(now_s, community.slot_s))


def _addresses(deployment: Deployment) -> dict[str, str]:
    return {name: deployment.address_of(name) for name in CONTRACTS}
