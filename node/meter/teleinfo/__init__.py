"""Linky's customer output (TIC), historic and standard, after Enedis-NOI-CPT_54E v3.

``TeleinfoCodec`` turns bytes into frames and judges each frame alone. ``TeleinfoGuard`` stands over
it and gives out only registers that several frames and the meter's own redundancy vouch for: the
checksum of a group has six bits, and every swap of two digits passes it.
"""

from node.meter.teleinfo.codec import TeleinfoCodec
from node.meter.teleinfo.frames import (
    CLOCK_DEGRADED,
    NOT_PRODUCER,
    NOT_PRODUCER_FR,
    SHORT_FRAME,
    maximum_power_va,
)
from node.meter.teleinfo.guard import Doubt, TeleinfoGuard, Vouched
from node.meter.teleinfo.horodate import Horodate, parse_horodate
from node.meter.teleinfo.labels import TicMode
from node.meter.teleinfo.load_curve import CurveCheck, Direction, LoadCurve, load_curve
from node.meter.teleinfo.status import StatusRegister, decode_stge
from node.meter.teleinfo.sums import Offsets, Relation, SumCheck

__all__ = [
    "CLOCK_DEGRADED",
    "NOT_PRODUCER",
    "NOT_PRODUCER_FR",
    "SHORT_FRAME",
    "CurveCheck",
    "Direction",
    "Doubt",
    "Horodate",
    "LoadCurve",
    "Offsets",
    "Relation",
    "StatusRegister",
    "SumCheck",
    "TeleinfoCodec",
    "TeleinfoGuard",
    "TicMode",
    "Vouched",
    "decode_stge",
    "load_curve",
    "maximum_power_va",
    "parse_horodate",
]
