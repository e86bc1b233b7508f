"""The labels of both modes, and the shape that each one's value must have before it is converted.

Six bits of checksum let every flip of bit 6 pass: ``0`` becomes ``p``. Shapes that admit digits
only, and exactly as many as the specification says, catch those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class TicMode(StrEnum):
    """How the meter speaks; AUTO finds out from the groups that are valid."""

    HISTORIC = "historic"
    STANDARD = "standard"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value may look like, as a pattern and in words; whether a horodate precedes it."""

    pattern: re.Pattern[str]
    words: str
    has_horodate: bool = False

    def fits(self, value: str) -> bool:
        """Whether the whole value has this shape."""
        return self.pattern.fullmatch(value) is not None


def _shape(pattern: str, words: str, *, timed: bool = False) -> Shape:
    return Shape(re.compile(pattern, re.ASCII), words, has_horodate=timed)


def _digits(count: int, *, timed: bool = False) -> Shape:
    return _shape(f"[0-9]{{{count}}}", f"{count} digits", timed=timed)


# Names of tariffs and messages come in capitals; without 0x60 to 0x7E no flip of bit 6 passes.
def _text(most: int) -> Shape:
    return _shape(f"[ -_]{{0,{most}}}", f"at most {most} capitals")


# Published captures carry X for every digit of the meter number.
_METER_ID: Final = _shape("[0-9]{12}|X{12}", "12 digits")
_DAY_PROFILE: Final = _shape(
    "(?:[0-9]{4}[0-9A-F]{4}|NONUTILE)(?: (?:[0-9]{4}[0-9A-F]{4}|NONUTILE)){10}",
    "11 blocks of 8 characters",
)

INDEX: Final = _digits(9)

INDICES_OF_OPTION: Final[Mapping[str, tuple[str, ...]]] = {
    "BASE": ("BASE",),
    "HC..": ("HCHC", "HCHP"),
    "EJP.": ("EJPHN", "EJPHPM"),
    "BBR": ("BBRHCJB", "BBRHPJB", "BBRHCJW", "BBRHPJW", "BBRHCJR", "BBRHPJR"),
}
"""Historic mode: the registers whose sum is the total import, by option; the last character of a
Tempo option (``BBR(``) is a programme, not a name."""

SUPPLIER_INDICES: Final = tuple(f"EASF{number:02}" for number in range(1, 11))
DISTRIBUTOR_INDICES: Final = tuple(f"EASD{number:02}" for number in range(1, 5))

HISTORIC_LABELS: Final[Mapping[str, Shape]] = {
    "ADCO": _METER_ID,
    "OPTARIF": _shape(r"BASE|HC\.\.|EJP\.|BBR[!-_]", "BASE, HC.., EJP. or BBRx"),
    "ISOUSC": _digits(2),
    **{index: INDEX for indices in INDICES_OF_OPTION.values() for index in indices},
    "PEJP": _digits(2),
    "PTEC": _shape(r"(?:TH|HC|HP|HN|PM)\.\.|H[CP]J[BWR]", "TH.., HC.., HP.., HN.., PM.. or HxJx"),
    "DEMAIN": _shape("----|BLEU|BLAN|ROUG", "----, BLEU, BLAN or ROUG"),
    **{label: _digits(3) for label in ("IINST", "IINST1", "IINST2", "IINST3")},
    **{label: _digits(3) for label in ("ADPS", "ADIR1", "ADIR2", "ADIR3")},
    **{label: _digits(3) for label in ("IMAX", "IMAX1", "IMAX2", "IMAX3")},
    "PMAX": _digits(5),
    "PAPP": _digits(5),
    "HHPHC": _shape("[A-Z]", "one capital letter"),
    "MOTDETAT": _shape("[0-9A-F]{6}", "6 hexadecimal digits"),
    "PPOT": _shape("[0-9A-F]{2}", "2 hexadecimal digits"),
}

STANDARD_LABELS: Final[Mapping[str, Shape]] = {
    "ADSC": _METER_ID,
    "VTIC": _digits(2),
    "DATE": _shape("", "no value", timed=True),
    "NGTF": _text(16),
    "LTARF": _text(16),
    **dict.fromkeys(("EAST", *SUPPLIER_INDICES, *DISTRIBUTOR_INDICES, "EAIT"), INDEX),
    **dict.fromkeys(("ERQ1", "ERQ2", "ERQ3", "ERQ4"), INDEX),
    **{label: _digits(3) for label in ("IRMS1", "IRMS2", "IRMS3", "URMS1", "URMS2", "URMS3")},
    "PREF": _digits(2),
    "PCOUP": _digits(2),
    **{label: _digits(5) for label in ("SINSTS", "SINSTS1", "SINSTS2", "SINSTS3", "SINSTI")},
    **{
        f"SMAXSN{phase}{day}": _digits(5, timed=True)
        for phase in ("", "1", "2", "3")
        for day in ("", "-1")
    },
    **{
        label: _digits(5, timed=True)
        for label in ("SMAXIN", "SMAXIN-1", "CCASN", "CCASN-1", "CCAIN", "CCAIN-1")
    },
    **{label: _digits(3, timed=True) for label in ("UMOY1", "UMOY2", "UMOY3")},
    "STGE": _shape("[0-9A-F]{8}", "8 hexadecimal digits"),
    **{label: _digits(2, timed=True) for label in ("DPM1", "DPM2", "DPM3", "FPM1", "FPM2", "FPM3")},
    "MSG1": _text(32),
    "MSG2": _text(16),
    "PRM": _digits(14),
    "RELAIS": _digits(3),
    "NTARF": _digits(2),
    "NJOURF": _digits(2),
    "NJOURF+1": _digits(2),
    "PJOURF+1": _DAY_PROFILE,
    "PPOINTE": _DAY_PROFILE,
}

LABELS: Final[Mapping[TicMode, Mapping[str, Shape]]] = {
    TicMode.HISTORIC: HISTORIC_LABELS,
    TicMode.STANDARD: STANDARD_LABELS,
}

ALWAYS_HISTORIC: Final = ("ADCO", "OPTARIF", "ISOUSC", "PTEC", "PAPP", "MOTDETAT")
"""Every long frame has these, besides the indices of its option. A damaged byte that looks like the
end of the frame must not let half a frame pass for a whole one."""

ALWAYS_STANDARD: Final = (
    "ADSC",
    "VTIC",
    "DATE",
    "EAST",
    *SUPPLIER_INDICES,
    *DISTRIBUTOR_INDICES,
    "STGE",
    "NTARF",
)
"""Every frame of the standard mode has these, unused registers as zero."""
