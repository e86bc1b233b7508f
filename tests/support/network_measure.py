"""What a live street takes of its machines, and what that comes to in ten years.

``python -m tests.support.network_measure [--minutes N]`` runs four validators and three homes,
first empty and then trading, and prints a document of figures: memory of each kind of process,
bytes of chain for each block and each order, bytes of a household's database for each day.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from node.chain.network.local import LocalNetwork
from node.model import OrderAccepted
from simulations.live_homes import peak_rss_kb
from simulations.live_network import live_homes
from simulations.live_street import LiveStreet, StreetPlan
from simulations.scenario import Scenario
from tests.support.lost_network import HOMES, LAPS, PROFILE_SLOTS, RULES

CARD_BYTES: Final = 32 * 10**9
HOMES_OF_A_STREET: Final = 50
YEARS: Final = 10
DAY_S: Final = 86_400
SLOTS_OF_A_DAY: Final = 96
PERIODS_S: Final = (5, 15, 30)
KEPT_SAMPLES_DAYS: Final = 31

_BY_TABLE: Final = "SELECT name, sum(pgsize - unused) FROM dbstat GROUP BY name"


def stored_bytes(folder: Path) -> int:
    """What a folder's files hold: lengths, and not blocks, which count a file of 1 byte as 4 kB."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).stat().st_size
            except OSError:
                continue  # a database drops files while it is looked at
    return total


async def chain_bytes(network: LocalNetwork, validator: int) -> int:
    """A validator's chain on its disk, after it was stopped: what is in memory is written then."""
    peer = network.network.peer(validator)
    await network.halt(validator)
    data = network.folder / peer.folder / "data" / "geth" / "chaindata"
    found = stored_bytes(data)
    await network.restart(validator)
    return found


def database_bytes(path: Path) -> Mapping[str, int]:
    """A household's database by table and index."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as raw:
        return dict(raw.execute(_BY_TABLE).fetchall())


async def measure(folder: Path, minutes: float) -> dict[str, Any]:
    """Live for so long, and say what it took."""
    homes = live_homes(Scenario(homes=HOMES, seed=22), PROFILE_SLOTS)
    street = LiveStreet(folder, homes, RULES, StreetPlan(laps=LAPS))
    async with street:
        network = street.network
        empty_from, bytes_before = await street.rpc.head(), await chain_bytes(network, 2)
        await asyncio.sleep(60 * minutes / 2)
        empty_to, bytes_between = await street.rpc.head(), await chain_bytes(network, 2)
        slots = await street.open()
        await street.until(slots.start * RULES.slot_s)
        before = street.now_s()
        await street.until(before + int(60 * minutes / 2))
        lived_s = street.now_s() - before
        memory = {
            "validator_mb": [
                peak_rss_kb(network.pid(peer.name)) // 1024 for peer in network.network.validators
            ],
            "home_mb": [home.process.look() // 1024 for home in street.homes],
            "relay_mb": 0 if street.relay is None else street.relay.look() // 1024,
        }
        orders = sum(isinstance(event, OrderAccepted) for event in await street.events())
        await street.stop_homes()
        blocks, bytes_after = await street.rpc.head(), await chain_bytes(network, 2)
        tables = [database_bytes(home.process.folder.database) for home in street.homes]
    return figures(
        memory,
        (bytes_between - bytes_before) / (empty_to - empty_from),
        (bytes_after - bytes_between, blocks - empty_to, orders),
        tables,
        lived_s,
    )


def figures(
    memory: Mapping[str, Any],
    block_bytes: float,
    trading: tuple[int, int, int],
    tables: list[Mapping[str, int]],
    lived_s: int,
) -> dict[str, Any]:
    """The measured figures, and what they come to on a card."""
    grown_bytes, blocks, orders = trading
    order_bytes = max(grown_bytes - blocks * block_bytes, 0) / max(orders, 1)
    sampled = sum(table.get("sample_batch", 0) for table in tables) / len(tables)
    lasting = sum(
        size
        for table in tables
        for name, size in table.items()
        if not name.startswith(("sample_batch", "sqlite_"))
    ) / len(tables)
    slots = lived_s / RULES.slot_s
    day_bytes = lasting / slots * SLOTS_OF_A_DAY
    sample_day_bytes = sampled / lived_s * DAY_S
    days = YEARS * 365.25
    orders_in_all = HOMES_OF_A_STREET * SLOTS_OF_A_DAY * days
    chain = {
        f"{period_s}_s": round(
            (days * DAY_S / period_s * block_bytes + orders_in_all * order_bytes) / 1e9, 1
        )
        for period_s in PERIODS_S
    }
    home_bytes = days * day_bytes + KEPT_SAMPLES_DAYS * sample_day_bytes
    return {
        "memory": dict(memory),
        "chain_bytes_per_empty_block": round(block_bytes),
        "chain_bytes_per_order": round(order_bytes),
        "orders": orders,
        "home_bytes_per_day_kept_for_ever": round(day_bytes),
        "home_bytes_per_day_of_samples": round(sample_day_bytes),
        "years": YEARS,
        "homes": HOMES_OF_A_STREET,
        "chain_gb_by_block_period": chain,
        "home_gb": round(home_bytes / 1e9, 2),
        "card_gb": CARD_BYTES // 10**9,
    }


def main() -> None:
    """Measure, and print the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="daisee-measure-") as place:
        found = asyncio.run(measure(Path(place), arguments.minutes))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
