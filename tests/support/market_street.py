"""A street that traded in a run, and what its distribution operator measured of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner, Result

from node.cli.main import cli
from node.slots import parse_iso_utc
from tests.support.billing_cases import month
from tests.support.homes import slot_lines
from tests.support.operator_month import WattsOf, write_r63

OCTOBER: Final = month("2025-10")
STEPS: Final = 2 * 745
SIDES: Final = {"ask": "3000000000000", "bid": "4000000000000"}
"""What the points of either side begin with; a home has one on each."""

Measures = dict[tuple[str, int], int]
"""Wh by point and half hour of October."""


def document(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@dataclass(frozen=True, slots=True)
class MarketStreet:
    """Homes of a finished run as members of an operation, in a folder of files."""

    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def bills(self) -> Path:
        return self.folder / "bills"

    def invoke(self, *words: object) -> Result:
        return CliRunner().invoke(cli, list(map(str, words)))

    def supplier(self, *words: object) -> Result:
        return self.invoke("supplier", *words)

    @property
    def source(self) -> tuple[object, ...]:
        """Which market."""
        return ("--run", self.run, "--points", self.folder / "points.csv")

    def month(self, *more: object, day: str = "2025-11-02", bills: str = "bills") -> Result:
        """The month's round on a day, under the market's key."""
        return self.supplier(
            *(
                "month",
                "--operation",
                self.folder / "street.toml",
                "--inbox",
                self.folder / "inbox",
            ),
            *("--curves", self.folder / "curves.db", "--out", self.folder / bills, "--month"),
            *("2025-10", "--key", self.folder / "key.toml", "--at", f"{day}T06:00:00Z", "--json"),
            *more,
        )

    def traded(self, what: str) -> Iterator[tuple[str, int, int]]:
        """Point, half hour and Wh of every order; ``what`` is energy_wh or filled_wh."""
        for line in slot_lines(self.run):
            step = (parse_iso_utc(line["start"]) - OCTOBER.start_s) // 1800
            for order in line["orders"]:
                yield SIDES[order["side"]] + order["household"][-1], step, order[what]

    def sums(self, what: str) -> Measures:
        found: Measures = {}
        for point, step, wh in self.traded(what):
            found[point, step] = found.get((point, step), 0) + wh
        return found

    def measured(self, number: int, measures: Measures) -> None:
        """A file of the operator's, of all points and the whole month."""
        points = sorted({point for point, _ in measures})
        by_side = {
            side: {point: _watts(point, measures) for point in points if point.startswith(prefix)}
            for side, prefix in SIDES.items()
        }
        path = self.folder / "inbox" / f"{number}.csv"
        write_r63(path, date(2025, 10, 1), 31, by_side["bid"], by_side["ask"])

    def table(self, name: str, revision: int = 1, bills: str = "bills") -> dict[str, list[int]]:
        """A table of the month's folder, by point."""
        path = self.folder / bills / "2025-10" / str(revision) / name
        head, *rows = (line.split(",") for line in path.read_text().splitlines())
        return {point: [int(row[n] or 0) for row in rows] for n, point in enumerate(head) if n}

    def files(self) -> Mapping[str, bytes]:
        found = self.bills.rglob("*")
        return {str(p.relative_to(self.bills)): p.read_bytes() for p in found if p.is_file()}


def _watts(point: str, measures: Measures) -> WattsOf:
    return lambda step: 2 * measures.get((point, step), 0)


def market_street(folder: Path, homes: int = 5) -> MarketStreet:
    """A day of homes that traded by quarters of an hour, each a member with its own points."""
    made = MarketStreet(folder)
    (folder / "inbox").mkdir(parents=True)
    words = ("--homes", homes, "--days", 1, "--start", "2025-10-14", "--seed", 3, "--slot", "15m")
    ran = CliRunner().invoke(cli, ["simulate", *map(str, words), "--out", str(made.run)])
    assert ran.exit_code == 0, ran.output
    points = sorted({point for point, _, _ in made.traded("energy_wh")})
    rows = [f"home-{point[-1]},{point}\n" for point in points]
    rows = [row.replace("home-", _prefix(made)) for row in rows]
    (folder / "points.csv").write_text("household,point\n" + "".join(rows))
    (folder / "key.toml").write_text('kind = "market"\n')
    parts = [
        '[operation]\nname = "Lilac Street"\nrules = "1"\n[tariffs]\naccept = ["one_source"]\n'
    ]
    for point in points:
        role = "producer" if point.startswith(SIDES["ask"]) else "consumer"
        parts.append(f'[[{role}]]\npoint = "{point}"\nname = "{role} {point[-1]}"\n')
        if role == "producer":
            parts.append(f'[[price]]\nproducer = "{point}"\nct_kwh = "12.00"\n')
    (folder / "street.toml").write_text("".join(parts))
    return made


def _prefix(made: MarketStreet) -> str:
    return str(slot_lines(made.run)[0]["orders"][0]["household"])[:-1]
