"""Campaigns on four geth validators with the real relay daemon: ``orders`` and ``flood``.

Run by ``scripts/campaign``; prints one document, and says by its exit code whether the bars hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientSession
from eth_account import Account

from node.chain.json_rpc import block_query, number
from node.chain.keys import Key
from node.chain.relay_orders import BINARY, answers_of, packed
from node.clock import wall_seconds
from node.model import OrderAccepted, Side
from tests.support.relay_flood import flood
from tests.support.relay_street import RelayStreet, street_on_geth

RELAYER: Final = Key(b"r" * 32)
PASSWORD: Final = "canary-relay"
VALIDATORS: Final = 4

HOMES: Final = 1_000
FLOOD_HOMES: Final = 400
DRAINS: Final = (20, 100, 500, 1_000)
SWEEPS: Final = 20
CLIENTS: Final = 8
LEAST_A_SECOND: Final = 200
DRAIN_WITHIN_S: Final = 120.0
WITHIN_BLOCKS: Final = 2
MAY_CHANGE_BLOCKS: Final = 6

Posts = Sequence[tuple[int, bytes, int]]
"""Household, body of its request, orders in it."""


@asynccontextmanager
async def relay_process(street: RelayStreet, folder: Path, *more: str) -> AsyncIterator[str]:
    """``daisee relay run`` in a process of its own, behind a front that tells the addresses."""
    settings, keystore, password = (folder / n for n in ("node.toml", "relay.json", "password"))
    keystore.write_text(json.dumps(Account.encrypt(RELAYER.secret, PASSWORD, iterations=2)))
    password.write_text(PASSWORD)
    for secret in (keystore, password):
        secret.chmod(0o600)
    settings.write_text(
        f'[meter]\nkind = "linky"\nport = "/dev/null"\n[chain]\nrpc = "{street.url}"\n'
        f'chain_id = {street.rpc.chain_id}\nmarket = "{street.where.address}"\n'
    )
    await street.give_gas(RELAYER.address)
    command = (sys.executable, "-m", "node.cli.main", "relay", "run", "--config", str(settings))
    process = await asyncio.create_subprocess_exec(
        *command,
        *("--key", str(keystore), "--password-file", str(password)),
        *("--listen", "127.0.0.1:0", "--behind-front", *more),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    drain = None
    try:
        async with asyncio.timeout(60):
            line = b""
            while b"relay_ready" not in line:
                line = await process.stderr.readline()
                assert line, "the relay ended"
        drain = asyncio.create_task(process.stderr.read())
        port = line.decode().partition("port=")[2].split()[0]
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()
        if drain is not None:
            (Path(folder) / "relay.log").write_bytes(await drain)


async def orders(seconds: float) -> tuple[dict[str, object], bool]:
    """Thousands of orders, handed over home by home, for a minute or more."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begun_s = wall_seconds()
        async with street_on_geth(folder / "net", HOMES, VALIDATORS) as street:
            founded_s = wall_seconds() - begun_s
            slots = street.slots(len(DRAINS) + SWEEPS)
            sweeps = [posts_of(street, slot, HOMES) for slot in slots[len(DRAINS) :]]
            drains = [
                posts_of(street, slot, homes) for slot, homes in zip(slots, DRAINS, strict=False)
            ]
            async with relay_process(street, folder) as url:
                document = await sustained(street, url, sweeps, seconds)
                document["drain_s"] = {
                    str(homes): await drained(street, url, posts)
                    for homes, posts in zip(DRAINS, drains, strict=True)
                }
                async with ClientSession() as session, session.get(f"{url}/status") as page:
                    document["relay"] = await page.json()
            document |= {"founding_s": round(founded_s, 1), "homes": HOMES}
            document["validators"] = VALIDATORS
            document["load_average"] = os.getloadavg()[0]
    rate: Any = document["orders_per_s"]
    return document, rate >= LEAST_A_SECOND


def posts_of(street: RelayStreet, slot: int, homes: int) -> Posts:
    """One request a home, with an ask and a bid, signed beforehand."""
    posts = []
    for household in range(1, homes + 1):
        pair = [street.order(household, side, slot) for side in Side]
        posts.append((household, packed(pair), len(pair)))
    return posts


async def hand_over(url: str, posts: Posts) -> Counter[str]:
    """A few homes at a time; what was answered."""
    said: Counter[str] = Counter()
    waiting = iter(posts)

    async def homes(session: ClientSession) -> None:
        for household, body, count in waiting:
            address = f"10.0.{household >> 8}.{household & 255}"
            headers = {"Content-Type": BINARY, "X-Forwarded-For": address}
            async with session.post(f"{url}/orders", data=body, headers=headers) as answer:
                content = await answer.read()
                assert answer.status == 200, content
                said.update(verdict.reason or "taken" for verdict in answers_of(content, count))

    async with ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(homes(session))
    return said


async def sustained(
    street: RelayStreet, url: str, sweeps: Sequence[Posts], seconds: float
) -> dict[str, object]:
    """Sweep after sweep until so many seconds have passed; measured from block to block."""
    first = await street.rpc.head()
    begun_s = wall_seconds()
    said: Counter[str] = Counter()
    for posts in sweeps:
        said += await hand_over(url, posts)
        if wall_seconds() - begun_s >= seconds:
            break
    handed_s = wall_seconds() - begun_s
    await settled(street, first, said["taken"])
    wall_s = wall_seconds() - begun_s
    blocks = await blocks_since(street, first)
    accepted = [event for event in await street.accepted() if event.position.block > first]
    per_block = Counter(event.position.block for event in accepted)
    busy = [block for block in sorted(blocks) if min(per_block) <= block <= max(per_block)]
    stamps = [number(blocks[block]["timestamp"]) for block in busy]
    chain_s = max(stamps[-1] - stamps[0] + 1, 1)
    gas = sum(number(blocks[block]["gasUsed"]) for block in busy)
    return {
        "orders": len(accepted),
        "answers": dict(said),
        "seconds_handing_over": round(handed_s, 1),
        "seconds_to_the_last_acceptance": round(wall_s, 1),
        "seconds_of_blocks": chain_s,
        "orders_per_s": round(len(accepted) / max(chain_s, wall_s), 1),
        "gas_per_s": gas // chain_s,
        "gas_per_order": gas // len(accepted),
        "most_orders_in_a_block": max(per_block.values()),
        "blocks": len(busy),
    }


async def drained(street: RelayStreet, url: str, posts: Posts) -> float:
    """From the first home's request to the acceptance of the last order of a slot's gate."""
    first = await street.rpc.head()
    begun_s = wall_seconds()
    said = await hand_over(url, posts)
    await settled(street, first, said["taken"])
    return round(wall_seconds() - begun_s, 1)


async def settled(street: RelayStreet, after_block: int, count: int) -> None:
    """Wait until so many orders were accepted after a block. The newest blocks are read again and
    again: a Clique chain may replace them."""
    seen: set[tuple[int, int, Side]] = set()
    block = after_block
    async with asyncio.timeout(DRAIN_WITHIN_S):
        while len(seen) < count:
            head = await street.rpc.head()
            if head > block:
                first = max(after_block, block - MAY_CHANGE_BLOCKS) + 1
                for event in await street.client.events(first, head):
                    if isinstance(event, OrderAccepted):
                        seen.add((event.slot, event.household, event.side))
                block = head
            await asyncio.sleep(0.1)


async def blocks_since(street: RelayStreet, first: int) -> dict[int, Mapping[str, Any]]:
    """Headers, by number."""
    head = await street.rpc.head()
    return {
        block: await street.rpc.ask(*block_query(block)) for block in range(first + 1, head + 1)
    }


async def flooding(count: int, seed: int, period_s: int) -> tuple[dict[str, object], bool]:
    """Bad orders at the relay daemon and at the chain, and honest homes among them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            street_on_geth(folder / "net", FLOOD_HOMES, VALIDATORS, period_s=period_s) as street,
            relay_process(street, folder) as url,
        ):
            begun_s = wall_seconds()
            outcome = await flood(street, url, count, random.Random(seed))
            took_s = wall_seconds() - begun_s
    blocks, calm = Counter(outcome.blocks), Counter(outcome.calm)
    document = {
        "bad_orders": outcome.sent.total(),
        "bad_by_kind": dict(outcome.sent),
        "answers": dict(outcome.answered),
        "refused_on_chain": dict(outcome.on_chain),
        "accepted_bad": outcome.accepted_bad,
        "honest": outcome.honest,
        "honest_accepted": outcome.honest_accepted,
        "honest_by_blocks": {str(waited): blocks[waited] for waited in sorted(blocks)},
        "honest_by_blocks_before": {str(waited): calm[waited] for waited in sorted(calm)},
        "seconds": round(took_s, 1),
        "seconds_between_blocks": period_s,
        "validators": VALIDATORS,
        "load_average": os.getloadavg()[0],
    }
    good = outcome.accepted_bad == 0 and outcome.honest == outcome.honest_accepted
    return document, good and max(outcome.blocks) <= WITHIN_BLOCKS


def main() -> int:
    """Run one of the two; 7 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("campaign", choices=["orders", "flood"])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--period", type=int, default=5, help="of the flood's chain, in seconds")
    asked = parser.parse_args()
    if asked.campaign == "orders":
        document, good = asyncio.run(orders(asked.seconds))
    else:
        document, good = asyncio.run(flooding(asked.count, asked.seed, asked.period))
    print(json.dumps(document, indent=2, sort_keys=True))  # noqa: T201 - what the campaign is for
    return 0 if good else 7


if __name__ == "__main__":
    sys.exit(main())
