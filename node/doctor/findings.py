"""A check's answer: which check, how bad, what was seen, what to do next.

``docs/doctor.md`` explains every check of ``CHECKS``. A check that cannot be asked, because another
one failed before it, has no finding at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

__all__ = ["CHECKS", "Finding", "Report", "Severity", "error", "ok", "warning"]

CHECKS: Final[Mapping[str, str]] = {
    "P001": "the installed program is daisee's own",
    "C001": "the settings can be used",
    "C002": "keys and passwords are closed to others",
    "R001": "the node is running",
    "T001": "this machine's clock is kept by a time service",
    "T002": "this machine's clock agrees with the chain",
    "T003": "this machine's clock agrees with the meter",
    "D001": "there is room on the disk",
    "D002": "the disk can be written to",
    "D003": "the database is whole and of this version",
    "D004": "there is a fresh backup",
    "M001": "the meter's port is there and may be opened",
    "M002": "the meter speaks",
    "M003": "what the meter says arrives undamaged",
    "M004": "the meter's registers only rise",
    "M005": "a household that sells sees its injection",
    "B001": "the household's broker takes the node's login",
    "N001": "the chain answers",
    "N002": "it is the chain of the settings",
    "N003": "the chain makes blocks",
    "N004": "the market's code is the one that this daisee knows",
    "K001": "the key opens with its password",
    "K002": "the household is a member and the key is its signer",
    "K003": "transactions of the key do not wait",
    "O001": "no order is stuck",
    "O002": "slots are closed as they end",
}
"""Every check: its id, and what is so when all is well."""


class Severity(IntEnum):
    """How bad it is. An error keeps the node from its work; a warning will, or may."""

    OK = 0
    WARNING = 1
    ERROR = 2

    @property
    def word(self) -> str:
        """As every output writes it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer. ``next_step`` is empty where nothing needs to be done."""

    check: str
    severity: Severity
    evidence: str
    next_step: str = ""

    def __post_init__(self) -> None:
        assert self.check in CHECKS, self.check

    @property
    def title(self) -> str:
        """What is so when all is well."""
        return CHECKS[self.check]


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order of ``CHECKS``."""

    findings: Sequence[Finding]

    @property
    def worst(self) -> Severity:
        """The severity of the worst of them."""
        return max((finding.severity for finding in self.findings), default=Severity.OK)

    def document(self) -> dict[str, object]:
        """As JSON."""
        return {
            "schema": "daisee.doctor/1",
            "worst": self.worst.word,
            "checks": self.rows(),
        }

    def rows(self) -> list[dict[str, str]]:
        """The findings of that document."""
        return [
            {
                "id": finding.check,
                "title": finding.title,
                "severity": finding.severity.word,
                "evidence": finding.evidence,
                "next_step": finding.next_step,
            }
            for finding in self.findings
        ]


def ok(check: str, evidence: str) -> Finding:
    """All is well."""
    return Finding(check, Severity.OK, evidence)


def warning(check: str, evidence: str, next_step: str) -> Finding:
    """It will, or may, keep the node from its work."""
    return Finding(check, Severity.WARNING, evidence, next_step)


def error(check: str, evidence: str, next_step: str) -> Finding:
    """It keeps the node from its work."""
    return Finding(check, Severity.ERROR, evidence, next_step)
