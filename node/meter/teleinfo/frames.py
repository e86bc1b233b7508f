"""From the accepted groups of one frame to what the frame says: pure, and each frame alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from node.meter.codec import MeterFrame
from node.meter.teleinfo.groups import Group
from node.meter.teleinfo.horodate import Horodate, parse_horodate
from node.meter.teleinfo.labels import (
    ALWAYS_HISTORIC,
    ALWAYS_STANDARD,
    INDICES_OF_OPTION,
    TicMode,
)
from node.meter.teleinfo.status import decode_stge, stge_words
from node.meter.teleinfo.sums import NO_OFFSETS, offsets_of
from node.model import EvidenceClass

KINDS: Final[Mapping[TicMode, str]] = {
    TicMode.HISTORIC: "linky-historic",
    TicMode.STANDARD: "linky-standard",
    TicMode.AUTO: "linky",
}

NOT_PRODUCER: Final = (
    "your Linky is not in producer mode: it will never tell your injection; "
    "ask your supplier to have it switched"
)
NOT_PRODUCER_FR: Final = (
    "votre Linky n'est pas en mode producteur : il ne dira jamais votre injection ; "
    "demandez à votre fournisseur de le faire basculer"
)

CLOCK_DEGRADED: Final = "clock_degraded"
SHORT_FRAME: Final = "short_frame"

_HORODATE: Final = ".horodate"
"""In the fields of a frame the horodate of ``CCASN`` stands as ``CCASN.horodate``, next to it."""

_ASSUMED_V: Final = 230


def read_frame(groups: Sequence[Group], mode: TicMode, *, is_intact: bool) -> MeterFrame:
    """What one frame says. ``is_intact``: nothing in it was refused."""
    fields = _fields(groups)
    missing = missing_labels(fields, mode)
    read = _read_historic if mode is TicMode.HISTORIC else _read_standard
    return read(fields, is_complete=is_intact and not missing, notes=_missing_note(missing))


def horodate_of(fields: Mapping[str, str], label: str) -> Horodate:
    """The horodate that came with a label; one without an instant if there was none."""
    return parse_horodate(fields.get(label + _HORODATE, ""))


def option_indices(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Historic mode: the registers of the frame's option, none if the frame does not say it."""
    return INDICES_OF_OPTION.get(_option(fields), ())


def missing_labels(fields: Mapping[str, str], mode: TicMode) -> tuple[str, ...]:
    """Which labels the frame should have had and has not."""
    if mode is TicMode.STANDARD:
        always: tuple[str, ...] = ALWAYS_STANDARD
    elif _is_short(fields):
        always = ("ADCO",)
    else:
        always = (*ALWAYS_HISTORIC, *option_indices(fields))
    return tuple(label for label in always if label not in fields)


def maximum_power_va(fields: Mapping[str, str]) -> int | None:
    """The most that the connection lets through, in VA and so at least in W: the higher of
    reference and breaking power in standard mode, the subscribed current on every phase in historic
    mode. None when the frame does not say."""
    powers_kva = [int(fields[label]) for label in ("PREF", "PCOUP") if label in fields]
    if powers_kva:
        return 1000 * max(powers_kva)
    if "ISOUSC" in fields:
        phases = 3 if "IINST1" in fields or "IMAX1" in fields else 1
        return int(fields["ISOUSC"]) * phases * _ASSUMED_V
    return None


def _fields(groups: Sequence[Group]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for group in groups:
        fields[group.label] = group.value
        if group.horodate is not None:
            fields[group.label + _HORODATE] = group.horodate
    return fields


def _read_historic(
    fields: Mapping[str, str], *, is_complete: bool, notes: Sequence[str]
) -> MeterFrame:
    indices = option_indices(fields)
    has_index = bool(indices) and all(label in fields for label in indices)
    short = (SHORT_FRAME,) if _is_short(fields) else ()
    return MeterFrame(
        kind=KINDS[TicMode.HISTORIC],
        evidence_class=EvidenceClass.B,
        meter_id=fields.get("ADCO"),
        import_wh=sum(int(fields[label]) for label in indices) if has_index else None,
        power_va=_whole(fields.get("PAPP")),
        complete=is_complete,
        fields=fields,
        notes=(*short, *notes, NOT_PRODUCER),
    )


def _read_standard(
    fields: Mapping[str, str], *, is_complete: bool, notes: Sequence[str]
) -> MeterFrame:
    status = decode_stge(fields["STGE"]) if "STGE" in fields else None
    date = horodate_of(fields, "DATE")
    is_degraded = date.is_degraded or (status is not None and status.clock_degraded)
    export_wh = _whole(fields.get("EAIT"))
    said = list(notes)
    if is_degraded:
        said.append(CLOCK_DEGRADED)
    said += _sum_notes(fields)
    if status is not None:
        said.append(stge_words(fields["STGE"]))
        if export_wh is None and not status.producer:
            said.append(NOT_PRODUCER)
    return MeterFrame(
        kind=KINDS[TicMode.STANDARD],
        evidence_class=EvidenceClass.B,
        meter_id=fields.get("ADSC"),
        import_wh=_whole(fields.get("EAST")),
        export_wh=export_wh,
        power_va=_whole(fields.get("SINSTS")),
        taken_at_s=None if is_degraded else date.trusted_s,
        complete=is_complete,
        fields=fields,
        notes=tuple(said),
    )


def _option(fields: Mapping[str, str]) -> str:
    option = fields.get("OPTARIF", "")
    return "BBR" if option.startswith("BBR") else option


def _is_short(fields: Mapping[str, str]) -> bool:
    return any(label in fields for label in ("ADIR1", "ADIR2", "ADIR3"))


def _whole(value: str | None) -> int | None:
    return None if value is None else int(value)


def _missing_note(missing: Sequence[str]) -> tuple[str, ...]:
    return (f"missing: {', '.join(missing)}",) if missing else ()


def _sum_notes(fields: Mapping[str, str]) -> tuple[str, ...]:
    offsets = offsets_of(fields)
    if offsets is None or offsets == NO_OFFSETS:
        return ()
    said = f"EAST is {offsets.words()}"
    return (f"sums_differ: {said}",)
