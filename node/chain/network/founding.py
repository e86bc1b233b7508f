"""From a running network to a community: contracts, roles, and the file that every member has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from node.chain.bootstrap import Deployment, Role, deploy, grant_all
from node.chain.community import CONTRACTS, GAS_PRICE_WEI, Community, code_hash_at, genesis_hash_of
from node.chain.keys import Key
from node.chain.network.record import Network
from node.chain.release import verify_release
from node.chain.rpc import Rpc, Sender
from node.errors import ChainMismatch
from node.model import MarketRules

__all__ = ["GOVERNANCE_DELAY_S", "OPERATOR_ROLES", "found_community"]

OPERATOR_ROLES: Final = (Role.OPERATOR, Role.TREASURER, Role.GUARDIAN, Role.GOVERNANCE)
"""What the operator's account may do from the first day; it gives the other roles out."""

GOVERNANCE_DELAY_S: Final = 2 * 86_400
"""Between the announcement of new rules and the first instant at which they can be scheduled."""


async def found_community(
    rpc: Rpc,
    network: Network,
    operator: Key,
    rules: MarketRules,
    *,
    rpc_urls: Sequence[str],
    relay_urls: Sequence[str] = (),
    grants: Mapping[Role, str] | None = None,
) -> Community:
    """Deploy and wire the contracts, check what stands on the chain, and say what was agreed.

    Raises ChainMismatch when the endpoint serves another chain, or code that is not this release's.
    """
    if rpc.chain_id != network.chain_id:
        raise ChainMismatch(
            f"the endpoint serves chain {rpc.chain_id}, and {network.name} is chain"
            f" {network.chain_id}",
            next_step="check --rpc",
        )
    sender = Sender(rpc, operator, gas_price=GAS_PRICE_WEI)
    deployment = await deploy(rpc, sender, rules)
    delays_s = {Role.GOVERNANCE: GOVERNANCE_DELAY_S}
    own = [(role, operator.address, delays_s.get(role, 0)) for role in OPERATOR_ROLES]
    others = [(role, account, 0) for role, account in (grants or {}).items()]
    await grant_all(sender, deployment, own + others)
    contracts = _addresses(deployment)
    await verify_release(rpc, contracts)
    return Community(
        name=network.name,
        operator=operator.address,
        chain_id=network.chain_id,
        genesis_hash=await genesis_hash_of(rpc),
        engine=network.engine,
        finality_depth=network.finality_depth,
        rpc_urls=tuple(rpc_urls),
        relay_urls=tuple(relay_urls),
        slot_s=rules.slot_s,
        contracts=contracts,
        code_hashes={name: await code_hash_at(rpc, address) for name, address in contracts.items()},
        created_in_block=deployment.created_in_block,
        gas_price_wei=GAS_PRICE_WEI,
    )


def _addresses(deployment: Deployment) -> dict[str, str]:
    return {name: deployment.address_of(name) for name in CONTRACTS}
