"""The forms of delivery points' identifiers. A form says nothing about who lives there."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["cups_check_letters", "cups_fault", "ean_fault", "prm_fault"]

_PRM: Final = re.compile(r"[0-9]{14}")
_CUPS: Final = re.compile(r"ES([0-9]{16})([A-Z]{2})([0-9][A-Z])?")
_EAN: Final = re.compile(r"[0-9]{18}")
_CUPS_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"


def prm_fault(text: str) -> str:
    """Why a text is no French PRM; empty if it may be one. No check digit is known."""
    return "" if _PRM.fullmatch(text) else "a PRM has 14 digits"


def cups_check_letters(digits: str) -> str:
    """The two check letters of a CUPS's 16 digits: the remainder by 529, in base 23."""
    high, low = divmod(int(digits) % 529, 23)
    return _CUPS_LETTERS[high] + _CUPS_LETTERS[low]


def cups_fault(text: str) -> str:
    """Why a text is no Spanish CUPS; empty if it is one."""
    match = _CUPS.fullmatch(text)
    if match is None:
        return "a CUPS is ES, 16 digits, two letters, and for a border point a digit and a letter"
    if cups_check_letters(match[1]) != match[2]:
        return f"the check letters of this CUPS are {cups_check_letters(match[1])}"
    return ""


def ean_fault(text: str) -> str:
    """Why a text is no EAN of a delivery point; empty if it may be one."""
    return "" if _EAN.fullmatch(text) else "an EAN of a delivery point has 18 digits"
