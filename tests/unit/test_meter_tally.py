"""What a person who looks on is told of a meter."""

from __future__ import annotations

from node.meter.arrivals import Arrived
from node.meter.codec import MeterFrame, Rejected
from node.meter.settings import MeterSettings
from node.meter.tally import MAX_METERS, Tally
from node.model import EvidenceClass

SETTINGS = MeterSettings("shelly", url="http://h")


def frame(import_wh: int | None = None, **more: object) -> MeterFrame:
    return MeterFrame("shelly", EvidenceClass.C, "plug", import_wh=import_wh, **more)  # type: ignore[arg-type]


def test_keeps_the_last_value_of_each_register_and_the_unit_of_the_power() -> None:
    tally = Tally(SETTINGS)
    tally.observe(Arrived(10, frame(100, fields={"a": "1"})))
    tally.observe(Arrived(20, frame(export_wh=5, power_va=300)))
    tally.observe(Arrived(30, frame(101)))
    meter = tally.meters["plug"]
    assert (meter.import_wh, meter.export_wh, meter.power_text) == (101, 5, "300 VA")
    assert (meter.frames, meter.last_at_s, tally.held) == (3, 30, 0)


def test_counts_what_a_node_would_hold() -> None:
    tally = Tally(SETTINGS)
    for at_s, import_wh in ((0, 1_000), (10, 900), (20, 1_001)):
        tally.observe(Arrived(at_s, frame(import_wh)))
    assert tally.held == 2  # the fall, and the first that agrees again


def test_what_a_broker_had_kept_is_shown_and_never_guarded() -> None:
    tally = Tally(SETTINGS)
    tally.observe(Arrived(0, frame(5), retained=True))
    tally.observe(Arrived(1, frame(1_000_000)))
    assert (tally.retained, tally.held) == (1, 0)


def test_the_share_of_what_was_refused() -> None:
    tally = Tally(SETTINGS)
    tally.observe(Arrived(0, Rejected("met in the middle", b"")))
    tally.observe(Arrived(0, frame(1)))
    for _ in range(3):
        tally.observe(Arrived(1, Rejected("damaged", b"")))
    assert (tally.accepted, tally.refused, tally.refused_ppm) == (1, 3, 750_000)
    assert tally.reasons[0] == "met in the middle"


def test_a_linky_counts_groups() -> None:
    fields = {"EAST": "1", "DATE.horodate": "H", "DATE": ""}
    tally = Tally(SETTINGS)
    tally.observe(Arrived(0, MeterFrame("linky-standard", EvidenceClass.B, "1", fields=fields)))
    assert tally.accepted == 2


def test_is_bounded() -> None:
    tally = Tally(SETTINGS)
    for number in range(2 * MAX_METERS):
        said = MeterFrame("json", EvidenceClass.C, str(number), notes=(str(number),))
        tally.observe(Arrived(0, said))
        tally.observe(Arrived(0, Rejected(str(number), b"")))
    assert len(tally.meters) == MAX_METERS
    assert len(tally.notes) <= MAX_METERS
    assert len(tally.reasons) <= 8
