"""A signed claim: somebody says that a measure is wrong, what it should be, and stands by it.

A claim holds a household's values, so it never goes on chain: it is sent to whoever organises the
sharing, and kept under the key of the person whom it concerns. Its salt makes its digest say
nothing to whoever does not have it. Elliptic curves are ``node.chain``'s: the check of a signature
comes in as a Protocol.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from node.billing.series import MISSING, STEPS_S
from node.errors import ConfigurationError
from node.model import Side
from node.slots import iso_utc, parse_iso_utc

__all__ = [
    "MAX_CLAIM_STEPS",
    "SALT_BYTES",
    "Claim",
    "ClaimHead",
    "Series",
    "SignatureCheck",
    "SignedClaim",
    "Source",
    "canonical",
    "claim_document",
    "claim_from",
    "series_document",
    "series_from",
]

SALT_BYTES: Final = 16
MAX_CLAIM_STEPS: Final = 9_000
"""A month of five minutes, with its hour more in October."""

MAX_STEP_WH: Final = 10**9
MAX_TEXT: Final = 2_000
_LAST_S: Final = 2**40


ClaimHead = tuple[str, int, int, tuple[int, int], bytes]
"""What a signature of a claim covers: source, household, side, span in seconds, digest."""


class Source(StrEnum):
    """Who claims: the household's own key, a sensor's, or the supplier that serves it."""

    HOUSEHOLD = "household"
    SENSOR = "sensor"
    SUPPLIER = "supplier"


@dataclass(frozen=True, slots=True)
class Series:
    """Wh of each step of ``[from_s, from_s + n * step_s)`` on one side of a household: a bid's is
    what it drew, an ask's what it fed in. MISSING where nothing is said of a step."""

    household: int
    side: Side
    from_s: int
    step_s: int
    values_wh: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.household <= 0:
            raise ValueError(f"household {self.household} is none")
        if self.step_s not in STEPS_S or self.from_s % self.step_s:
            raise ValueError(f"steps of {self.step_s} s from {self.from_s} are on no known grid")
        if not 0 < len(self.values_wh) <= MAX_CLAIM_STEPS:
            raise ValueError(f"{len(self.values_wh)} steps; a series has 1 to {MAX_CLAIM_STEPS}")
        if not 0 <= self.from_s <= self.to_s <= _LAST_S:
            raise ValueError(f"a series from {self.from_s} to {self.to_s}")
        if any(not MISSING <= value <= MAX_STEP_WH for value in self.values_wh):
            raise ValueError("a value is negative, or more than any point moves in a step")
        if all(value == MISSING for value in self.values_wh):
            raise ValueError("a series that says nothing of any step")

    @property
    def to_s(self) -> int:
        """The first instant after the last step."""
        return self.from_s + len(self.values_wh) * self.step_s

    def stated(self) -> dict[int, int]:
        """The Wh of each step of which something is said, by its start."""
        return {
            self.from_s + place * self.step_s: value
            for place, value in enumerate(self.values_wh)
            if value != MISSING
        }


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody says was measured wrongly, and what is right. ``salt`` is 16 random bytes."""

    source: Source
    series: Series
    made_at_s: int
    salt: bytes
    text: str = ""

    def __post_init__(self) -> None:
        if len(self.salt) != SALT_BYTES:
            raise ValueError(f"a salt of {len(self.salt)} bytes instead of {SALT_BYTES}")
        if len(self.text) > MAX_TEXT:
            raise ValueError(f"a text of {len(self.text)} characters; at most {MAX_TEXT}")

    def digest(self) -> bytes:
        """32 bytes that stand for the claim: its number in every list, and what is signed."""
        return hashlib.sha256(canonical(_content(self))).digest()

    def head(self) -> ClaimHead:
        """What is signed of it."""
        series = self.series
        span = (series.from_s, series.to_s)
        return self.source.value, series.household, int(series.side), span, self.digest()


@dataclass(frozen=True, slots=True)
class SignedClaim:
    """A claim and its 64-byte signature (EIP-2098)."""

    claim: Claim
    signature: bytes


class SignatureCheck(Protocol):
    """Who signed. ``node.chain.claims`` implements it for one community's contracts."""

    def claimant(self, head: ClaimHead, signature: bytes) -> str | None:
        """The address that signed a claim; None if the signature is none."""
        ...

    def ruler(self, claim: bytes, outcome: str, content: bytes, signature: bytes) -> str | None:
        """The address that signed a ruling, given the digests of its claim and of itself."""
        ...


def canonical(document: Mapping[str, object]) -> bytes:
    """The one way to write a document down: what digests are made of."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def series_document(series: Series) -> dict[str, object]:
    """A series for JSON; null where nothing is said."""
    return {
        "household": series.household,
        "side": series.side.word,
        "from": iso_utc(series.from_s),
        "step_s": series.step_s,
        "values_wh": [None if value == MISSING else value for value in series.values_wh],
    }


def series_from(document: Mapping[str, Any]) -> Series:
    """The series of a document. Raises ValueError, KeyError or TypeError for what is none."""
    values: Sequence[Any] = document["values_wh"]
    if not isinstance(values, list) or any(
        value is not None and (not isinstance(value, int) or value < 0) for value in values
    ):
        raise ValueError("values_wh is no list of whole Wh")
    return Series(
        household=_number(document["household"]),
        side={side.word: side for side in Side}[document["side"]],
        from_s=parse_iso_utc(document["from"]),
        step_s=_number(document["step_s"]),
        values_wh=tuple(MISSING if value is None else int(value) for value in values),
    )


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _content(claim: Claim) -> dict[str, object]:
    return {
        "source": claim.source.value,
        "series": series_document(claim.series),
        "made_at": iso_utc(claim.made_at_s),
        "salt": claim.salt.hex(),
        "text": claim.text,
    }


def claim_document(signed: SignedClaim) -> dict[str, object]:
    """A signed claim for JSON: what a claimant sends."""
    return {**_content(signed.claim), "signature": signed.signature.hex()}


def claim_from(document: Mapping[str, Any]) -> SignedClaim:
    """The signed claim of a document. Raises ConfigurationError for what is none."""
    try:
        claim = Claim(
            source=Source(document["source"]),
            series=series_from(document["series"]),
            made_at_s=parse_iso_utc(document["made_at"]),
            salt=bytes.fromhex(document["salt"]),
            text=str(document.get("text", "")),
        )
        return SignedClaim(claim, bytes.fromhex(document["signature"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"this is no signed claim ({error})", next_step="make it again: daisee dispute claim"
        ) from error
