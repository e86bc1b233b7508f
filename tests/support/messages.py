"""Messages of sensors for property tests: anything at all, and documents made of real labels."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from node.meter.codec import Decoded, MeterFrame, Rejected

_NUMBERS = (
    st.integers(-(10**20), 10**20)
    | st.floats()
    | st.sampled_from([10**60, -1, 0, 1e300, -0.0005, 1700000000])
)
_TEXTS = st.text(max_size=8) | st.sampled_from(["12.5", "-3", "1e9", "nan", "000000104"])


def documents(labels: Iterable[str]) -> st.SearchStrategy[bytes]:
    """JSON documents in which these labels stand for numbers, and for everything else."""
    names = st.sampled_from(sorted(labels)) | st.text(max_size=4)
    values: st.SearchStrategy[Any] = st.recursive(
        _NUMBERS | _TEXTS | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
        max_leaves=20,
    )
    return st.dictionaries(names, values, max_size=6).map(lambda found: json.dumps(found).encode())


def payloads(labels: Iterable[str]) -> st.SearchStrategy[bytes]:
    """Documents, damaged documents and random bytes."""
    whole = documents(labels)
    damaged = st.builds(
        lambda document, at, byte: document[:at] + bytes([byte]) + document[at + 1 :],
        whole,
        st.integers(0, 80),
        st.integers(0, 255),
    )
    return whole | damaged | st.binary(max_size=200)


def frames_of(decoded: Iterable[Decoded]) -> list[MeterFrame]:
    """The frames among what was decoded."""
    return [found for found in decoded if isinstance(found, MeterFrame)]


def refusals_of(decoded: Iterable[Decoded]) -> list[Rejected]:
    """The refusals among what was decoded."""
    return [found for found in decoded if isinstance(found, Rejected)]


def assert_plausible(decoded: Iterable[Decoded]) -> None:
    """What holds for whatever comes in: whole registers that are never negative, refusals that say
    why, and never nothing of both."""
    found = list(decoded)
    assert found
    for frame in frames_of(found):
        for register in (frame.import_wh, frame.export_wh):
            assert register is None or (type(register) is int and 0 <= register <= 10**12)
        for power in (frame.power_w, frame.power_va):
            assert power is None or (type(power) is int and abs(power) <= 10**7)
        assert frame.meter_id is None or frame.meter_id.isprintable()
        assert len(frame.fields) <= 256
    for refusal in refusals_of(found):
        assert refusal.reason
        assert len(refusal.raw) <= 512
