"""A share of the campaign of mutated frames; `scripts/campaign frames` has the million.

What comes through is printed (``pytest -rP``): how often is measured here, not assumed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import Final

from node.meter.codec import MeterFrame
from tests.support.frame_campaign import campaign, damaged_messages, faults, table
from tests.support.frame_streams import messages, recorded, synthesised
from tests.support.shared import shared_path

SYNTHESISED: Final = 14_000
RECORDED: Final = 6_000
MESSAGES: Final = 2_000


def frames_folder() -> Path:
    return shared_path("frames")


def test_nothing_implausible_is_counted_of_damaged_frames() -> None:
    tallies = campaign(synthesised(), SYNTHESISED, Random(20_261_122))
    sys.stdout.write(f"{table(tallies)}\n")
    assert faults(tallies) == []
    assert sum(tally.mutated for tally in tallies.values()) >= SYNTHESISED


def test_nothing_implausible_is_counted_of_damaged_recordings() -> None:
    streams = list(recorded(frames_folder()))
    assert {stream.settings.kind for stream in streams} >= {"linky-historic", "dsmr-p1", "sml"}
    tallies = campaign(streams, RECORDED, Random(7))
    sys.stdout.write(f"{table(tallies)}\n")
    assert faults(tallies) == []


def test_no_damaged_message_crashes_its_reader() -> None:
    read = damaged_messages(messages(frames_folder()), MESSAGES, Random(3))
    assert sum(read.values()) == MESSAGES
    assert set(read) >= {"tasmota", "shelly", "emon"}


def test_without_damage_everything_is_counted() -> None:
    """The campaign would notice a meter that is not read at all."""
    for stream in synthesised():
        assert all(isinstance(good, MeterFrame) for good in stream.good)
        assert len({good.import_wh for good in stream.good}) > len(stream.good) // 2
