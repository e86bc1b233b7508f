"""Correction entries of a market that were made before, and the rulings behind them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from node.billing.claims import canonical, series_document, series_from
from node.billing.curve_store import CurveStore, Said
from node.billing.reconcile import Account, Entry, Reason
from node.billing.rulings import MarketRuling
from node.billing.series import Curve
from node.errors import ConfigurationError
from node.model import Side
from node.slots import iso_utc, parse_iso_utc
from node.store.curves import CurveDatabase

__all__ = ["Earlier", "earlier_option", "market_ruling_document", "read_earlier", "said_in"]

MAX_FILE_BYTES: Final = 2**26

earlier_option = click.option(
    "--earlier",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Entries made before, as reconcile --json or dispute settle --out wrote them: only what"
    " differs from their sum is told. Give all there are.",
)


@dataclass(frozen=True, slots=True)
class Earlier:
    """All that was corrected before; ``entries`` is None if nobody said what was. ``digests`` are
    of the documents: who makes entries says after which, so that no two are alike that are not the
    same, and one that is not given is missed."""

    entries: Sequence[Entry] | None
    rulings: Sequence[MarketRuling]
    digests: Sequence[str] = ()


def read_earlier(paths: Sequence[Path]) -> Earlier:
    """The entries and rulings of files. Raises ConfigurationError for one that is none, or that
    was given twice, and for one that was made after another which is not given."""
    if not paths:
        return Earlier(None, ())
    entries: list[Entry] = []
    rulings: list[MarketRuling] = []
    after: dict[str, Path] = {}
    digests: dict[str, Path] = {}
    for path in paths:
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ConfigurationError(f"is larger than {MAX_FILE_BYTES} bytes", file=path)
            document = json.loads(path.read_text("utf-8"))
            entries += map(_entry, document["entries"])
            rulings += map(_ruling, document["rulings"])
            after |= dict.fromkeys(map(str, document.get("earlier", ())), path)
            digest = hashlib.sha256(canonical(document)).hexdigest()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"holds no correction entries ({error!r})", file=path
            ) from error
        if digest in digests:
            raise ConfigurationError(
                f"says the same as {digests[digest]}: was given twice", file=path
            )
        digests[digest] = path
    for digest in after.keys() - digests.keys():
        raise ConfigurationError(
            f"was made after entries that are not given (SHA-256 {digest[:12]}...)",
            file=after[digest],
            next_step="give every file of entries with --earlier: what is missing would be"
            " corrected twice",
        )
    return Earlier(entries, rulings, sorted(digests))


def _entry(row: Mapping[str, Any]) -> Entry:
    return Entry(
        int(row["slot"]),
        int(row["household"] or 0),
        _side(row["side"]),
        Account(row["account"]),
        Reason(row["reason"]),
        int(row["energy_wh"]),
        int(row["amount_units"]),
    )


def _side(word: str) -> Side:
    return {side.word: side for side in Side}[word]


def _ruling(document: Mapping[str, Any]) -> MarketRuling:
    return MarketRuling(series_from(document["reference"]), parse_iso_utc(document["made_at"]))


def market_ruling_document(ruling: MarketRuling) -> dict[str, object]:
    """A ruling beside the entries that it brought."""
    return {
        "reference": series_document(ruling.reference),
        "made_at": iso_utc(ruling.made_at_s),
    }


@contextmanager
def said_in(database: Path | None) -> Iterator[Callable[[Curve, int], Said | None]]:
    """Who said last what a curve has in a step. Of tables nobody knows, so that rulings hold."""
    if database is None:
        yield lambda _curve, _start_s: None
        return
    with CurveDatabase.open_read_only(database) as kept:
        store = CurveStore(kept)
        yield lambda curve, start_s: store.said(
            curve.point_id, curve.direction, start_s, start_s + curve.step_s
        )
