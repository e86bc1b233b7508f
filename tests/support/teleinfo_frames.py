"""Linky frames built by the specification, with right checksums: what no record is public of.

The builder shares no code with the codec. A meter is a value; ``dataclasses.replace`` moves it on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

STX: Final = b"\x02"
ETX: Final = b"\x03"
EOT: Final = b"\x04"

SUPPLIER_WH: Final = (15_643_112, 9_861_893, 826_037, 0, 0, 0, 0, 0, 0, 0)
DISTRIBUTOR_WH: Final = (10_028_696, 8_310_713, 2_960_408, 5_031_225)


def historic_group(label: str, value: str) -> bytes:
    """``LF label SP value SP checksum CR``; the last SP is not in the sum."""
    zone = f"{label} {value}".encode("latin-1")
    return b"\n" + zone + b" " + _checksum(zone) + b"\r"


def standard_group(label: str, value: str, horodate: str | None = None) -> bytes:
    """``LF label HT [horodate HT] value HT checksum CR``; the last HT is in the sum."""
    parts = [label, value] if horodate is None else [label, horodate, value]
    zone = ("\t".join(parts) + "\t").encode("latin-1")
    return b"\n" + zone + _checksum(zone) + b"\r"


def framed(*groups: bytes) -> bytes:
    """Groups between STX and ETX."""
    return STX + b"".join(groups) + ETX


def horodate(unix_s: int, season: str = "H") -> str:
    """``SAAMMJJhhmmss`` of an instant: one hour after UTC in winter, two in summer."""
    offset = timedelta(hours=2 if season in "Ee" else 1)
    return season + (datetime.fromtimestamp(unix_s, UTC) + offset).strftime("%y%m%d%H%M%S")


def _checksum(zone: bytes) -> bytes:
    return bytes([sum(zone) % 64 + 32])


@dataclass(frozen=True, slots=True)
class HistoricMeter:
    """A Linky in historic mode; one register for each index of its option."""

    option: str = "BBR("
    indices_wh: Mapping[str, int] = field(
        default_factory=lambda: {
            "BBRHCJB": 18_328_702,
            "BBRHPJB": 23_739_545,
            "BBRHCJW": 1_466_099,
            "BBRHPJW": 2_132_883,
            "BBRHCJR": 860_118,
            "BBRHPJR": 844_115,
        }
    )
    period: str = "HCJB"
    meter_id: str = "021861348497"
    power_va: int = 2_830
    is_three_phase: bool = False

    @property
    def import_wh(self) -> int:
        """The sum that a reader must find."""
        return sum(self.indices_wh.values())

    def used(self, energy_wh: int) -> HistoricMeter:
        """The same meter after some energy, on the first register."""
        first = next(iter(self.indices_wh))
        return replace(
            self, indices_wh={**self.indices_wh, first: self.indices_wh[first] + energy_wh}
        )

    def frame(self) -> bytes:
        """The long frame."""
        phases = ("1", "2", "3") if self.is_three_phase else ("",)
        values = {
            "ADCO": self.meter_id,
            "OPTARIF": self.option,
            "ISOUSC": "30",
            **{label: f"{index_wh:09}" for label, index_wh in self.indices_wh.items()},
            "PTEC": self.period,
            **{f"IINST{phase}": "012" for phase in phases},
            **{f"IMAX{phase}": "060" if self.is_three_phase else "090" for phase in phases},
            **({"PMAX": "07990"} if self.is_three_phase else {}),
            "PAPP": f"{self.power_va:05}",
            "HHPHC": "A",
            "MOTDETAT": "000000",
            **({"PPOT": "00"} if self.is_three_phase else {}),
        }
        return framed(*(historic_group(label, value) for label, value in values.items()))

    def short_frame(self) -> bytes:
        """What a three-phase meter sends during over-current."""
        values = {
            "ADIR1": "031",
            "ADIR2": "000",
            "ADIR3": "000",
            "ADCO": self.meter_id,
            "IINST1": "034",
            "IINST2": "012",
            "IINST3": "012",
        }
        return framed(*(historic_group(label, value) for label, value in values.items()))


@dataclass(frozen=True, slots=True)
class StandardMeter:
    """A Linky in standard mode. It is in producer mode if it has an export register.

    ``total_offset_wh`` is by how much EAST exceeds its splits; ``curves`` are the last two points
    of CCASN and CCAIN as (label, horodate, W).
    """

    at_s: int = 1_764_590_423
    supplier_wh: tuple[int, ...] = SUPPLIER_WH
    distributor_wh: tuple[int, ...] = DISTRIBUTOR_WH
    export_wh: int | None = None
    total_offset_wh: int = 0
    meter_id: str = "031776013513"
    season: str = "H"
    status_bits: int = 0x003A_0401
    is_three_phase: bool = False
    power_va: int = 1_198
    curves: tuple[tuple[str, str, int], ...] = ()

    @property
    def import_wh(self) -> int:
        """The total register."""
        return (sum(self.supplier_wh) + self.total_offset_wh) % 10**9

    def used(self, energy_wh: int, seconds: int = 1, export_wh: int = 0) -> StandardMeter:
        """The same meter after some time and energy, on the first index of both calendars."""
        return replace(
            self,
            at_s=self.at_s + seconds,
            supplier_wh=(self.supplier_wh[0] + energy_wh, *self.supplier_wh[1:]),
            distributor_wh=(self.distributor_wh[0] + energy_wh, *self.distributor_wh[1:]),
            export_wh=None if self.export_wh is None else self.export_wh + export_wh,
        )

    def frame(self) -> bytes:
        """The frame, in the order of the specification."""
        return framed(*self._registers(), *self._powers(), *self._rest())

    def _registers(self) -> list[bytes]:
        indices = {
            "EAST": self.import_wh,
            **{f"EASF{at:02}": index_wh for at, index_wh in enumerate(self.supplier_wh, 1)},
            **{f"EASD{at:02}": index_wh for at, index_wh in enumerate(self.distributor_wh, 1)},
            **({} if self.export_wh is None else {"EAIT": self.export_wh}),
            **({} if self.export_wh is None else dict.fromkeys(("ERQ1", "ERQ2"), 890)),
        }
        return [
            standard_group("ADSC", self.meter_id),
            standard_group("VTIC", "02"),
            standard_group("DATE", "", horodate(self.at_s, self.season)),
            standard_group("NGTF", "      BASE      "),
            standard_group("LTARF", "INDEX INACTIF 2 "),
            *(standard_group(label, f"{index_wh:09}") for label, index_wh in indices.items()),
        ]

    def _powers(self) -> list[bytes]:
        phases = ("1", "2", "3") if self.is_three_phase else ("1",)
        yesterday = horodate(self.at_s - 86_400, self.season)
        return [
            *(standard_group(f"IRMS{phase}", "002") for phase in phases),
            *(standard_group(f"URMS{phase}", "234") for phase in phases),
            standard_group("PREF", "12"),
            standard_group("PCOUP", "12"),
            standard_group("SINSTS", f"{self.power_va:05}"),
            *(standard_group(f"SINSTS{phase}", "00399") for phase in phases if len(phases) > 1),
            standard_group("SMAXSN", "07337", horodate(self.at_s - 60, self.season)),
            standard_group("SMAXSN-1", "05487", yesterday),
            *(
                standard_group(f"SMAXSN{phase}-1", "02196", yesterday)
                for phase in phases
                if len(phases) > 1
            ),
            *([] if self.export_wh is None else [standard_group("SINSTI", "01253")]),
            *(standard_group(label, f"{power_w:05}", at) for label, at, power_w in self.curves),
            standard_group("UMOY1", "232", horodate(self.at_s - 300, self.season)),
        ]

    def _rest(self) -> list[bytes]:
        status = self.status_bits | (0 if self.export_wh is None else 1 << 8)
        return [
            standard_group("STGE", f"{status:08X}"),
            standard_group("MSG1", "PAS DE          MESSAGE         "),
            standard_group("PRM", "25203473204149"),
            standard_group("RELAIS", "000"),
            standard_group("NTARF", "01"),
            standard_group("NJOURF", "00"),
            standard_group("NJOURF+1", "00"),
            standard_group("PJOURF+1", " ".join(["00008001", *["NONUTILE"] * 10])),
        ]
