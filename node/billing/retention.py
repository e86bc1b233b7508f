"""How long what is kept: dated rules, a plan that can be looked at, and its carrying out.

A rule says from when on it holds, what it is about, after how many months, and what happens then:
it is deleted, or curves become days, and days months. For each kind the newest rule that has begun
is the one that holds. Disputes, evidence and notes are the office's papers; curves and their sums
lie in the database of official curves, bills in their folder.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from node.billing.consents import Consent
from node.billing.disputes import months_before
from node.billing.vault import SealedRecord
from node.errors import ConfigurationError

__all__ = [
    "CONSENT",
    "DEFAULT_RULES",
    "KINDS",
    "PAPERS",
    "Action",
    "Due",
    "Rule",
    "due_consents",
    "due_records",
    "holding",
    "read_rules",
]

MAX_RULES_BYTES: Final = 2**16
CONSENT: Final = "consent"
KINDS: Final = (
    "curve",
    "curve_day",
    "curve_month",
    "bill",
    "note",
    "dispute",
    "evidence",
    CONSENT,
)
"""What rules are about. Names and memberships go with the person."""

PAPERS: Final = ("note", "dispute", "evidence")
"""Those that are sealed in the office."""


class Action(StrEnum):
    """What happens to a record whose time is over."""

    DELETE = "delete"
    BY_DAY = "by_day"
    BY_MONTH = "by_month"


_COARSER: Final = {"curve": Action.BY_DAY, "curve_day": Action.BY_MONTH}


@dataclass(frozen=True, slots=True)
class Rule:
    """From a local day on, a kind is kept for some months, and then ``then`` happens to it."""

    begins: date
    kind: str
    months: int
    then: Action = Action.DELETE

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"nothing is called {self.kind!r}: {', '.join(KINDS)}")
        if self.months <= 0:
            raise ValueError(f"{self.months} months")
        if self.then not in {Action.DELETE, _COARSER.get(self.kind)}:
            raise ValueError(f"of a {self.kind} comes nothing {self.then}")


_EVER: Final = date(2000, 1, 1)

DEFAULT_RULES: Final = (
    Rule(_EVER, "curve", 14, Action.BY_DAY),
    Rule(_EVER, "curve_day", 26, Action.BY_MONTH),
    Rule(_EVER, "curve_month", 120),
    Rule(_EVER, "bill", 120),
    Rule(_EVER, "note", 120),
    Rule(_EVER, "dispute", 60),
    Rule(_EVER, "evidence", 26),
    Rule(_EVER, CONSENT, 60),
)
"""Curves until a claim can change nothing any more; bills for ten years; proof of consent for five
years after its end. A community checks them against the law of its place."""


@dataclass(frozen=True, slots=True)
class Due:
    """A record whose time is over, and what becomes of it."""

    number: int
    kind: str
    about_s: int
    then: Action


def holding(rules: Iterable[Rule], now_s: int, zone: ZoneInfo) -> dict[str, Rule]:
    """The rule of each kind that holds at an instant."""
    today = datetime.fromtimestamp(now_s, zone).date()
    found: dict[str, Rule] = {}
    for rule in sorted(rules, key=lambda rule: rule.begins):
        if rule.begins <= today:
            found[rule.kind] = rule
    return found


def due_records(
    records: Iterable[SealedRecord], rules: Sequence[Rule], now_s: int, zone: ZoneInfo
) -> list[Due]:
    """What is due. Looking changes nothing: a dry run is this list."""
    by_kind = holding(rules, now_s, zone)
    return [
        Due(record.number, record.kind, record.about_s, rule.then)
        for record in records
        if (rule := by_kind.get(record.kind)) is not None
        and record.about_s <= months_before(now_s, rule.months)
    ]


def due_consents(
    consents: Iterable[Consent], rules: Sequence[Rule], now_s: int, zone: ZoneInfo
) -> list[Due]:
    """Consents that were withdrawn long enough ago; those that hold are never due."""
    rule = holding(rules, now_s, zone).get(CONSENT)
    if rule is None:
        return []
    limit_s = months_before(now_s, rule.months)
    return [
        Due(consent.number, CONSENT, consent.withdrawn_s, rule.then)
        for consent in consents
        if consent.withdrawn_s is not None and consent.withdrawn_s <= limit_s
    ]


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Rules of a TOML file, ``[[rule]]`` each with ``from``, ``kind``, ``months`` and ``then``.

    Raises ConfigurationError, naming the file.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_RULES_BYTES + 1)
        if len(text) > MAX_RULES_BYTES:
            raise ConfigurationError(f"is larger than {MAX_RULES_BYTES} bytes", file=path)
        fields = tomllib.loads(text.decode())
        return tuple(
            Rule(
                begins=date.fromisoformat(str(row["from"])),
                kind=str(row["kind"]),
                months=int(row["months"]),
                then=Action(row.get("then", "delete")),
            )
            for row in fields["rule"]
        )
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})", file=path) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"these are no retention rules ({error})",
            file=path,
            next_step="docs/privacy.md has an example",
        ) from error
