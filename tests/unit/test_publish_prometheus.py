"""The exposition is text that a strict reader of the format accepts."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from node.publish.prometheus import Family, Kind, Sample, exposition, families
from node.publish.state import Counters, PublishedState

STATE: Final = PublishedState(
    at_s=1_465_300_000,
    since_s=1_465_200_000,
    import_wh=12_345,
    export_wh=0,
    power_w=-20,
    meter_ok=True,
    amount_today_units=-5,
    counters=Counters(frames=7, orders_late=2),
)
NAME: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL: Final = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE: Final = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?\d+)")


def read(text: str) -> dict[str, tuple[str, str, dict[str, int]]]:
    """The format as its specification has it: name -> (help, type, labels -> value)."""
    assert text == "" or text.endswith("\n")
    found: dict[str, tuple[str, str, dict[str, int]]] = {}
    lines = iter(text.split("\n")[:-1])
    name = ""
    for line in lines:
        if line.startswith("# HELP "):
            name, _, says = line.removeprefix("# HELP ").partition(" ")
            assert re.fullmatch(NAME, name)
            assert name not in found, f"{name} stands twice"
            type_line = next(lines)
            assert type_line.startswith(f"# TYPE {name} ")
            found[name] = (says, type_line.rpartition(" ")[2], {})
            continue
        match = SAMPLE.fullmatch(line)
        assert match is not None, line
        assert match[1] == name, "samples of a family stand together"
        samples = found[name][2]
        assert (match[2] or "") not in samples, f"{line} stands twice"
        samples[match[2] or ""] = int(match.groups()[-1])
    return found


def test_every_figure_is_read_back_with_its_type() -> None:
    found = read(exposition(families(STATE, "1.0")))
    assert found["daisee_import_wh_total"][1:] == ("counter", {"": 12_345})
    assert found["daisee_export_wh_total"][1:] == ("counter", {"": 0})
    assert found["daisee_power_w"][1:] == ("gauge", {"": -20})
    assert found["daisee_meter_up"][2] == {"": 1}
    assert found["daisee_chain_up"][2] == {"": 0}
    assert found["daisee_build_info"][2] == {'version="1.0"': 1}
    assert found["daisee_orders_total"][2]['outcome="late"'] == 2
    assert found["daisee_amount_today_units"][2] == {"": -5}


def test_counters_and_only_counters_end_with_total() -> None:
    for family in families(STATE, "1.0"):
        assert family.name.startswith("daisee_")
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER), family.name
        assert family.says.endswith(".")


def test_what_is_not_known_has_no_sample() -> None:
    found = read(exposition(families(PublishedState(at_s=1), "1.0")))
    assert "daisee_import_wh_total" not in found
    assert "daisee_power_w" not in found
    assert found["daisee_meter_up"][2] == {"": 0}


def test_the_meter_is_not_named() -> None:
    text = exposition(families(replace(STATE, meter_id="01234567890123"), "1.0"))
    assert "01234567890123" not in text


@given(st.text(), st.text())
def test_any_text_is_escaped(says: str, label: str) -> None:
    text = exposition([Family("a_b", Kind.GAUGE, says, (Sample(1, (("l", label),)),))])
    ((_, kind, samples),) = read(text).values()
    assert kind == "gauge"
    ((labels, value),) = samples.items()
    assert value == 1
    written = labels.removeprefix('l="').removesuffix('"')
    unescaped = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], written, flags=re.DOTALL)
    assert unescaped == label
