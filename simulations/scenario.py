"""What to simulate: one TOML file, command-line flags over it, defaults under it.

.. code-block:: toml

    title = "our street"
    seed = 42
    chain = "embedded"          # reference | embedded | anvil | geth | besu | http://127.0.0.1:8545

    [market]
    slot = "15m"                # default: the step of the load curves
    gate = "5m"
    floor_price = 4000          # units/Wh; 1000 units/Wh = 1 cent/kWh
    cap_price = 26300
    tick_size = 100
    network_fee = 0

    [tariffs]
    feed_in = 3000
    retail = 28000

    [homes]
    data = "curves"             # a folder of home profiles, beside this file; or generate:
    count = 8
    days = 1
    start = "2026-06-19"
    strategy = "fixed-reserve"

    [homes.of."home-03"]        # one home's own
    strategy = "adaptive"
    parameters = { window = 8 }

Every mistake is a ConfigurationError with the file and, where there is one, the line.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Final, TypeVar

from node.errors import ConfigurationError
from node.market.strategies import DEFAULT_STRATEGY, Strategy, strategy_named
from node.model import MarketRules, PriceGrid
from node.units import parse_duration_s
from simulations.outcome import Tariffs

_T = TypeVar("_T")

ENGINES: Final = ("reference", "embedded", "anvil")
LIVE_ENGINES: Final = ("geth", "besu")
"""Networks of processes that live in real time; see ``simulations.live_network``."""

DEFAULT_SLOT_S: Final = 900
DEFAULT_GATE_S: Final = 300
DEFAULT_START: Final = "2026-06-19"
FEE_RECIPIENT: Final = "0x" + "fee0" * 10
"""Where simulated network fees go: the account of nobody's household."""

_KEYS: Final[Mapping[str, Mapping[str, type]]] = {
    "": {"title": str, "seed": int, "chain": str, "market": dict, "tariffs": dict, "homes": dict},
    "market": {
        "slot": str,
        "gate": str,
        "floor_price": int,
        "cap_price": int,
        "tick_size": int,
        "network_fee": int,
    },
    "tariffs": {"feed_in": int, "retail": int},
    "homes": {
        "data": str,
        "count": int,
        "days": int,
        "start": str,
        "strategy": str,
        "parameters": dict,
        "of": dict,
    },
    "homes.of": {"strategy": str, "parameters": dict},
}


@dataclass(frozen=True, slots=True)
class StrategyChoice:
    """A strategy by name, with its parameters."""

    name: str = DEFAULT_STRATEGY
    parameters: Mapping[str, float] = field(default_factory=dict)

    def build(self) -> Strategy:
        """The strategy itself. Raises ConfigurationError for an unknown name or parameter."""
        try:
            return strategy_named(self.name, **self.parameters)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run, as asked for. None means: as the data say."""

    title: str = ""
    seed: int = 1
    chain: str = "reference"
    slot_s: int | None = None
    gate_s: int | None = None
    grid: PriceGrid = field(default_factory=PriceGrid)
    network_fee: int = 0
    tariffs: Tariffs = field(default_factory=Tariffs)
    data: Path | None = None
    homes: int | None = None
    days: int | None = None
    start: str | None = None
    strategy: StrategyChoice = field(default_factory=StrategyChoice)
    strategies: Mapping[str, StrategyChoice] = field(default_factory=dict)

    def rules(self, slot_s: int) -> MarketRules:
        """The market's rules. Raises ConfigurationError if they make trading worth nothing."""
        gate_s = min(DEFAULT_GATE_S, slot_s // 2) if self.gate_s is None else self.gate_s
        try:
            rules = MarketRules(
                slot_s=slot_s,
                gate_s=gate_s,
                grid=self.grid,
                network_fee=self.network_fee,
                fee_recipient=FEE_RECIPIENT if self.network_fee else "",
            )
        except ValueError as error:
            raise ConfigurationError(f"market rules: {error}") from error
        if self.grid.floor_price <= self.tariffs.feed_in:
            raise ConfigurationError(
                f"floor price {self.grid.floor_price} is not above the feed-in tariff"
                f" {self.tariffs.feed_in}: nobody would gain by selling to a neighbour",
                next_step="raise floor_price or lower feed_in",
            )
        if self.grid.cap_price + self.network_fee >= self.tariffs.retail:
            raise ConfigurationError(
                f"cap price {self.grid.cap_price} and network fee {self.network_fee} together are"
                f" not below the retail tariff {self.tariffs.retail}: nobody would gain by buying",
                next_step="lower cap_price or network_fee, or raise retail",
            )
        return rules

    def strategy_of(self, home: str) -> Strategy:
        """The strategy of a home, tried on the grid: a reserve off the grid is refused here."""
        return self.strategies.get(home, self.strategy).build()


def read_scenario(path: Path) -> Scenario:
    """Read a scenario file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})", file=path) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError("is not UTF-8 text", file=path) from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise ConfigurationError(
            f"is not valid TOML: {error}", file=path, line=int(line[1]) if line else None
        ) from error
    return _Reader(path, text).scenario(document)


def scenario_text(scenario: Scenario, rules: MarketRules) -> str:
    """A scenario with all its defaults filled in, as the file that repeats the run.

    Load curves are named by their absolute path: the file is for this machine and its owner.
    """
    market = {
        "slot": f"{rules.slot_s}s",
        "gate": f"{rules.gate_s}s",
        "floor_price": rules.grid.floor_price,
        "cap_price": rules.grid.cap_price,
        "tick_size": rules.grid.tick_size,
        "network_fee": rules.network_fee,
    }
    homes: dict[str, object] = {"strategy": scenario.strategy.name}
    asked = {"count": scenario.homes, "days": scenario.days}
    homes |= {key: number for key, number in asked.items() if number is not None}
    if scenario.data is None:
        homes["start"] = scenario.start or DEFAULT_START
    else:
        homes["data"] = str(scenario.data.resolve())
    top = {"title": scenario.title, "seed": scenario.seed, "chain": scenario.chain}
    tariffs = {"feed_in": scenario.tariffs.feed_in, "retail": scenario.tariffs.retail}
    tables: list[tuple[str, Mapping[str, object]]] = [
        ("", top),
        ("market", market),
        ("tariffs", tariffs),
        ("homes", homes),
    ]
    tables += [("homes.parameters", dict(scenario.strategy.parameters))]
    for name, choice in scenario.strategies.items():
        table = f"homes.of.{json.dumps(name, ensure_ascii=False)}"
        tables.append((table, {"strategy": choice.name}))
        tables.append((f"{table}.parameters", dict(choice.parameters)))
    lines: list[str] = []
    for name, entries in tables:
        if name and entries:
            lines += ["", f"[{name}]"]
        # TOML's basic strings and numbers are written as JSON's are.
        lines += [
            f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items()
        ]
    return "\n".join(lines) + "\n"


def parse_chain(text: str) -> str:
    """An engine's name or a URL. Raises ConfigurationError for anything else."""
    if text in (*ENGINES, *LIVE_ENGINES) or text.startswith(("http://", "https://")):
        return text
    raise ConfigurationError(
        f"there is no chain engine {text!r}",
        next_step=f"use one of {', '.join((*ENGINES, *LIVE_ENGINES))}, or the URL of a development"
        " chain",
    )


def parse_start(text: str) -> int:
    """A day (2026-06-19) as the unix time of its beginning in UTC; ValueError if it is none."""
    day = date.fromisoformat(text)
    return (day.toordinal() - date(1970, 1, 1).toordinal()) * 86_400


class _Reader:
    """Turns a parsed document into a scenario; knows where each key stands in the file."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()

    def scenario(self, document: Mapping[str, object]) -> Scenario:
        """The scenario of a whole document."""
        top = self._table(document, "")
        market = self._table(top.get("market", {}), "market")
        tariffs = self._table(top.get("tariffs", {}), "tariffs")
        homes = self._table(top.get("homes", {}), "homes")
        scenario = Scenario(grid=self._grid(market), tariffs=self._tariffs(tariffs))
        chosen: dict[str, object] = {key: top[key] for key in ("title", "seed") if key in top}
        for key, name in (("count", "homes"), ("days", "days")):
            if key in homes:
                chosen[name] = self._at_least(1, homes[key], key)
        if "network_fee" in market:
            chosen["network_fee"] = self._at_least(0, market["network_fee"], "network_fee")
        for key, name in (("slot", "slot_s"), ("gate", "gate_s")):
            if key in market:
                chosen[name] = self._duration(market[key], key)
        if "chain" in top:
            chosen["chain"] = self._checked(parse_chain, top["chain"], "chain")
        if "start" in homes:
            self._checked(parse_start, homes["start"], "start")
            chosen["start"] = homes["start"]
        if "data" in homes:
            chosen["data"] = self._path.parent / str(homes["data"])
        chosen["strategy"] = self._choice(homes, DEFAULT_STRATEGY, "homes")
        usual = str(homes.get("strategy", DEFAULT_STRATEGY))
        chosen["strategies"] = {
            name: self._choice(self._table(table, "homes.of", name), usual, f"homes.of.{name}")
            for name, table in self._mapping(homes.get("of", {})).items()
        }
        return replace(scenario, **chosen)  # type: ignore[arg-type] # each value was checked above

    def _table(self, value: object, name: str, home: str = "") -> Mapping[str, object]:
        """A table with known keys of the right types only."""
        table, known = self._mapping(value), _KEYS[name]
        path = f"{name}.{home}" if home else name
        for key, entry in table.items():
            if key not in known:
                where = f"[{name}]" if name else "the top of the file"
                raise self._wrong(
                    key, f"unknown key {key!r} in {where}", f"known keys: {', '.join(known)}", path
                )
            right = known[key]
            if not isinstance(entry, right) or (right is int and isinstance(entry, bool)):
                kind = {str: "text", int: "a whole number", dict: "a table"}[right]
                raise self._wrong(key, f"{key} = {entry!r} is not {kind}", table=path)
        return table

    def _mapping(self, value: object) -> Mapping[str, object]:
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"{value!r} is not a table", file=self._path)
        return value

    def _grid(self, market: Mapping[str, object]) -> PriceGrid:
        default = PriceGrid()
        floor = self._number(market, "floor_price", default.floor_price)
        tick = self._number(market, "tick_size", default.tick_size)
        cap = self._number(market, "cap_price", floor + (default.ticks - 1) * tick)
        return self._checked(lambda _: price_grid(floor, cap, tick), None, "cap_price")

    def _tariffs(self, tariffs: Mapping[str, object]) -> Tariffs:
        default = Tariffs()
        return Tariffs(
            feed_in=self._number(tariffs, "feed_in", default.feed_in),
            retail=self._number(tariffs, "retail", default.retail),
        )

    def _choice(self, table: Mapping[str, object], usual: str, path: str) -> StrategyChoice:
        """A table's strategy, or the usual one with the table's parameters."""
        parameters: dict[str, float] = {}
        for name, value in self._mapping(table.get("parameters", {})).items():
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise self._wrong(name, f"{name} = {value!r} is not a number", table=path)
            parameters[name] = value
        choice = StrategyChoice(str(table.get("strategy", usual)), parameters)
        self._checked(lambda _: choice.build(), None, "strategy", path)
        return choice

    def _number(self, table: Mapping[str, object], key: str, default: int) -> int:
        value = table.get(key, default)
        assert isinstance(value, int)
        return self._at_least(0, value, key)

    def _at_least(self, least: int, value: object, key: str) -> int:
        assert isinstance(value, int)
        if value < least:
            raise self._wrong(key, f"{key} = {value} is below {least}")
        return value

    def _duration(self, value: object, key: str) -> int:
        return self._checked(lambda text: parse_duration_s(str(text)), value, key)

    def _checked(self, check: Callable[[str], _T], value: object, key: str, table: str = "") -> _T:
        """What a check makes of a value; what it complains of, with this file and line."""
        try:
            return check(str(value))
        except ConfigurationError as error:
            raise self._wrong(key, error.message, error.next_step, table) from error
        except ValueError as error:
            raise self._wrong(key, str(error), table=table) from error

    def _wrong(
        self, key: str, message: str, next_step: str = "", table: str = ""
    ) -> ConfigurationError:
        line = self._line_of(key, self._header_of(table)) or self._line_of(key, 1)
        return ConfigurationError(message, file=self._path, line=line, next_step=next_step)

    def _line_of(self, key: str, first: int) -> int | None:
        """Where a key is given a value, from a line on."""
        at_key = re.compile(rf"""(?:^|[\[{{,.])\s*["']?{re.escape(key)}["']?\s*[=\]]""")
        lines = enumerate(self._lines[first - 1 :], first)
        return next((number for number, text in lines if at_key.search(text)), None)

    def _header_of(self, table: str) -> int:
        """The line of a table's header; the first of the file if it has none."""
        headers = (re.sub(r"""["'\s\[\]]""", "", text) for text in self._lines)
        wanted = re.sub(r"\s", "", table)
        found = (number for number, header in enumerate(headers, 1) if header == wanted)
        return next(found, 1) if wanted else 1


def price_grid(floor_price: int, cap_price: int, tick_size: int) -> PriceGrid:
    """The grid from floor to cap. Raises ConfigurationError if the cap does not stand on it."""
    if tick_size <= 0:
        raise ConfigurationError(f"tick_size {tick_size} is not above 0")
    steps, rest = divmod(cap_price - floor_price, tick_size)
    if rest or steps < 0:
        raise ConfigurationError(
            f"the price band {floor_price} to {cap_price} is not on a grid of {tick_size}",
            next_step=f"take a cap of {floor_price} plus a multiple of {tick_size}",
        )
    try:
        return PriceGrid(floor_price, tick_size, steps + 1)
    except ValueError as error:
        raise ConfigurationError(f"price band: {error}") from error
