"""The keys by their names, each as the rounds that it comes down to, and keys from a file.

French law knows the first five: with static coefficients, by default (pro rata of consumption),
with coefficients set for each step, with coefficients for each producer too, and by priority.
Belgium repeats rounds, Italy shares on paper; a directed gift is a priority for one home's surplus.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.billing.allocation import (
    SCALE,
    Coefficient,
    Key,
    PairStage,
    PoolStage,
    Round,
    StatedStage,
)
from node.errors import ConfigurationError

__all__ = [
    "KINDS",
    "MARKET",
    "default_dynamic",
    "directed_gift",
    "equal_shares",
    "full_dynamic",
    "hybrid",
    "is_of_market",
    "key_from",
    "market",
    "parse_factor",
    "priority",
    "producer_order",
    "read_key",
    "read_weights",
    "rounds",
    "simple_dynamic",
    "static",
    "static_redistributed",
    "virtual",
]

_FACTOR: Final = re.compile(r"(0|1)(?:[.,](\d{1,6}))?")
_PRO_RATA: Final = Round()
MAX_KEY_BYTES: Final = 2**20
MARKET: Final = "market"


def default_dynamic() -> Key:
    """Pro rata of consumption: the rule of French law where nothing else was notified, the
    Walloon and Brussels dynamic key, and what the market does with floor = cap."""
    return Key("default_dynamic", (PoolStage((_PRO_RATA,)),))


def static(coefficients: Mapping[str, int]) -> Key:
    """Fixed shares in millionths. What a consumer cannot take is surplus."""
    return Key("static", (PoolStage((Round(shares=coefficients, of_whole=True),)),))


def equal_shares(consumers: Sequence[str]) -> Key:
    """The same fixed share for everybody: the whole divided by their number, rounded down."""
    share = SCALE // max(len(consumers), 1)
    return Key("equal", static(dict.fromkeys(consumers, share)).stages)


def static_redistributed(coefficients: Mapping[str, int]) -> Key:
    """Fixed shares; what one cannot take is shared again among the others with the same weights,
    until exhausted. A part of the whole that no coefficient covers stays surplus."""
    part = min(sum(coefficients.values()), SCALE)
    again = Round(shares=coefficients, part=part, repeated=True)
    return Key("static_redistributed", (PoolStage((again,)),))


def hybrid(coefficients: Mapping[str, int]) -> Key:
    """Fixed shares, then one round in which all that is left goes pro rata of what each still
    needs: the hybrid key of Brussels, the relative one of Flanders."""
    fixed = Round(shares=coefficients, of_whole=True)
    return Key("hybrid", (PoolStage((fixed, _PRO_RATA)),))


def simple_dynamic(coefficients: Mapping[str, Sequence[int]]) -> Key:
    """A share of the pooled production for each consumer and step, by whatever criterion."""
    return Key("simple_dynamic", (PoolStage((Round(shares=coefficients, of_whole=True),)),))


def full_dynamic(coefficients: Mapping[str, Mapping[str, Coefficient]]) -> Key:
    """A share of each producer's production for each consumer and step."""
    return Key("full_dynamic", (PairStage(coefficients),))


def priority(classes: Sequence[Sequence[str]]) -> Key:
    """Class by class: pro rata inside one, and what it leaves goes on to the next."""
    waterfall = tuple(Round(consumers=tuple(members)) for members in classes)
    return Key("priority", (PoolStage(waterfall),))


def directed_gift(gifts: Mapping[str, Sequence[str]], *, then: Key | None = None) -> Key:
    """Producers who give to certain consumers first: a home to the school next door, a roof to its
    owner's second home. What those leave goes by another key, by default pro rata."""
    first = tuple(
        PoolStage((Round(consumers=tuple(receivers)),), producers=(giver,))
        for giver, receivers in sorted(gifts.items())
    )
    return Key("directed_gift", (*first, *(then or default_dynamic()).stages))


def producer_order(orders: Mapping[str, Sequence[Sequence[str]]]) -> Key:
    """Each producer's own order of classes (own buildings, then tenants, then firms). All
    producers serve their first class before any serves its second."""
    deepest = max((len(classes) for classes in orders.values()), default=0)
    return Key(
        "producer_order",
        tuple(
            PoolStage((Round(consumers=tuple(classes[rank])),), producers=(producer,))
            for rank in range(deepest)
            for producer, classes in sorted(orders.items())
            if rank < len(classes)
        ),
    )


def rounds(iterations: Sequence[Round]) -> Key:
    """Any list of rounds over the whole pool: a part of the energy and a share per consumer."""
    return Key("rounds", (PoolStage(tuple(iterations)),))


def market(given: Mapping[str, Sequence[int]], taken: Mapping[str, Sequence[int]]) -> Key:
    """The market's own allocation: asks filled and bids filled in Wh per step, as its events tell
    and reconciliation left them. It allocates the operator's curves like any other key."""
    return Key(MARKET, (StatedStage(given, taken),))


def is_of_market(key: Key) -> bool:
    """Whether a key asks for the market's own allocation and what was filled is still to come."""
    return key.name == MARKET and not key.stages


def virtual() -> Key:
    """Italy's sharing attributes, it delivers nothing: the smaller of what all inject and all draw,
    pro rata. ``node.billing.virtual`` shares the incentive that is paid for it."""
    return Key("virtual", default_dynamic().stages)


def parse_factor(text: str) -> int:
    """``"0.4"`` or ``"0,400000"`` as millionths. Raises ValueError for more than six decimals,
    anything above 1, or no number: a coefficient is never rounded silently."""
    match = _FACTOR.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no factor from 0 to 1 with at most six decimals")
    factor = int(match[1]) * SCALE + int((match[2] or "").ljust(6, "0"))
    if factor > SCALE:
        raise ValueError(f"{text!r} is more than 1")
    return factor


@dataclass(frozen=True, slots=True)
class _Document:
    """A key as somebody wrote it, and where."""

    fields: Mapping[str, Any]
    file: Path | None

    def wrong(self, message: str) -> ConfigurationError:
        return ConfigurationError(
            message, file=self.file, next_step="docs/allocation.md has an example of each kind"
        )

    def factors(self, name: str = "coefficients") -> dict[str, int]:
        found = self.fields.get(name)
        if not isinstance(found, Mapping) or not found:
            raise self.wrong(f"this kind of key needs a table [{name}]")
        return {str(point): self._factor(point, text) for point, text in found.items()}

    def _factor(self, point: object, text: object) -> int:
        if not isinstance(text, str):
            raise self.wrong(f'write the coefficient of {point} in quotes, as "0.25"')
        try:
            return parse_factor(text)
        except ValueError as error:
            raise self.wrong(f"coefficient of {point}: {error}") from error

    def names(self, found: object, what: str) -> tuple[str, ...]:
        if not isinstance(found, Sequence) or isinstance(found, str) or not found:
            raise self.wrong(f"{what} is not a list of delivery points")
        if not all(isinstance(point, str) for point in found):
            raise self.wrong(f"{what}: write delivery points in quotes")
        return tuple(found)

    def classes(self, found: object, what: str) -> list[tuple[str, ...]]:
        if not isinstance(found, Sequence) or isinstance(found, str) or not found:
            raise self.wrong(f"{what} is not a list of lists of delivery points")
        return [self.names(members, what) for members in found]

    def table(self, name: str) -> Mapping[str, Any]:
        found = self.fields.get(name)
        if not isinstance(found, Mapping) or not found:
            raise self.wrong(f"this kind of key needs a table [{name}]")
        return found


def _gift(document: _Document) -> Key:
    gifts = document.table("gifts")
    return directed_gift(
        {giver: document.names(receivers, giver) for giver, receivers in gifts.items()}
    )


def _producer_order(document: _Document) -> Key:
    orders = document.table("orders")
    return producer_order(
        {producer: document.classes(order, producer) for producer, order in orders.items()}
    )


def _full(document: _Document) -> Key:
    table = document.table("coefficients")
    return full_dynamic(
        {
            producer: _Document({producer: row}, document.file).factors(producer)
            for producer, row in table.items()
        }
    )


def _rounds(document: _Document) -> Key:
    iterations = document.fields.get("rounds")
    if not isinstance(iterations, Sequence) or not iterations:
        raise document.wrong("this kind of key needs a list [[rounds]]")
    return rounds([_iteration(document, item) for item in iterations])


def _iteration(document: _Document, item: object) -> Round:
    known = {"part", "consumers", "coefficients", "of_whole", "repeated"}
    if not isinstance(item, Mapping) or item.keys() - known:
        raise document.wrong(f"a round has the fields {', '.join(sorted(known))}, and no others")
    inner = _Document({**item, "part": {"part": item.get("part", "1")}}, document.file)
    return Round(
        consumers=inner.names(item["consumers"], "consumers") if "consumers" in item else None,
        shares=inner.factors() if "coefficients" in item else None,
        of_whole=bool(item.get("of_whole", False)),
        part=inner.factors("part")["part"],
        repeated=bool(item.get("repeated", False)),
    )


KINDS: Final[Mapping[str, Callable[[_Document], Key]]] = {
    "default_dynamic": lambda _: default_dynamic(),
    "directed_gift": _gift,
    "equal": lambda document: equal_shares(
        document.names(document.fields.get("consumers"), "consumers")
    ),
    "full_dynamic": _full,
    "hybrid": lambda document: hybrid(document.factors()),
    "market": lambda _: Key(MARKET, ()),
    "priority": lambda document: priority(document.classes(document.fields.get("order"), "order")),
    "producer_order": _producer_order,
    "rounds": _rounds,
    "static": lambda document: static(document.factors()),
    "static_redistributed": lambda document: static_redistributed(document.factors()),
    "virtual": lambda _: virtual(),
}
"""The kinds that a key file can name. Coefficients per step come from coefficient files instead."""


def key_from(fields: Mapping[str, Any], *, file: Path | None = None) -> Key:
    """The key that a document describes: its ``kind``, and what that kind needs.

    Raises ConfigurationError for an unknown kind and whatever a kind cannot use.
    """
    document = _Document(fields, file)
    make = KINDS.get(str(fields.get("kind")))
    if make is None:
        raise document.wrong(f"no key is called {fields.get('kind')!r}: {', '.join(KINDS)}")
    return make(document)


def read_key(path: Path) -> Key:
    """The key of a TOML file. Raises ConfigurationError, naming the file."""
    return key_from(_fields(path), file=path)


def read_weights(path: Path) -> dict[str, int]:
    """The coefficients of a key file as weights, whatever its kind. Raises ConfigurationError."""
    return _Document(_fields(path), path).factors()


def _fields(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})", file=path) from error
    if len(text) > MAX_KEY_BYTES:
        raise ConfigurationError(f"is larger than {MAX_KEY_BYTES} bytes", file=path)
    try:
        return tomllib.loads(text.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"is not TOML: {error}", file=path) from error
