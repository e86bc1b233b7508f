"""What Home Assistant and emonCMS are told: documents that they accept, indices that never fall."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import ConfigurationError
from node.publish.emon import emon_messages
from node.publish.homeassistant import Message, discovery, states
from node.publish.state import (
    AHEAD_WH,
    Indices,
    NodeIdentity,
    PublishedState,
    Retained,
    new_device_id,
)

PRM: Final = "01234567890123"
IDENTITY: Final = NodeIdentity("daisee_00c0ffee1234", version="1.2.3")
STATE: Final = PublishedState(
    at_s=1_465_300_000,
    meter_id=PRM,
    import_wh=12_345_678,
    export_wh=2_345,
    power_w=-321,
    power_va=330,
    meter_ok=True,
    chain_ok=True,
    slot_start_s=1_465_299_000,
    slot_import_wh=0,
    slot_export_wh=120,
    price_units_per_wh=14_250,
    day_start_s=1_465_257_600,
    bought_today_wh=300,
    sold_today_wh=900,
    amount_today_units=855_000_000,
)
# What Home Assistant's schema of each kind of entity knows (2026.10), as far as it is used here.
SENSOR_KEYS: Final = {
    "p",
    "unique_id",
    "name",
    "state_topic",
    "value_template",
    "unit_of_measurement",
    "device_class",
    "state_class",
    "last_reset_value_template",
    "availability",
    "availability_mode",
    "entity_category",
}
STATE_CLASSES: Final[dict[str | None, set[str | None]]] = {
    "energy": {"total", "total_increasing", None},
    "monetary": {"total", None},
    "power": {"measurement", None},
    "apparent_power": {"measurement", None},
    None: {"measurement", "total", "total_increasing", None},
}


def document_of(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(message.payload)
    return found


def by_topic(state: PublishedState, indices: Indices) -> dict[str, Message]:
    messages = states(IDENTITY, indices.advanced(state), state)
    return {message.topic.rpartition("/")[2]: message for message in messages}


def test_one_retained_document_introduces_the_device() -> None:
    message = discovery(IDENTITY, Indices())
    assert message.topic == "homeassistant/device/daisee_00c0ffee1234/config"
    assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", message.topic)
    assert message.retain
    document = document_of(message)
    assert set(document) == {"dev", "o", "availability", "qos", "cmps"}
    assert document["dev"]["ids"] == ["daisee_00c0ffee1234"]
    assert document["o"]["name"] == "daisee"  # the origin is mandatory


def test_every_entity_is_one_that_home_assistant_accepts() -> None:
    components = document_of(discovery(IDENTITY, Indices()))["cmps"]
    assert {"import", "export", "power", "price", "meter", "chain"} <= set(components)
    unique_ids = [component["unique_id"] for component in components.values()]
    assert len(set(unique_ids)) == len(unique_ids)
    for key, component in components.items():
        assert set(component) <= SENSOR_KEYS, key
        assert component["p"] in {"sensor", "binary_sensor"}
        if component["p"] == "sensor":
            state_class = component.get("state_class")
            assert state_class in STATE_CLASSES[component.get("device_class")], key
            # Only a "total" may say when it was reset.
            assert ("last_reset_value_template" in component) == (state_class == "total"), key


def test_every_entity_finds_its_value_in_the_state() -> None:
    components = document_of(discovery(IDENTITY, Indices()))["cmps"]
    said = {
        m.topic: document_of(m) for m in by_topic(STATE, Indices()).values() if "{" in m.payload
    }
    for key, component in components.items():
        field = re.fullmatch(r"\{\{ value_json\.(\w+) \}\}", component["value_template"])
        assert field is not None, key
        assert said[component["state_topic"]][field[1]] is not None, key


def test_indices_are_wh_that_only_rise_and_stand_after_a_restart_of_the_house() -> None:
    components = document_of(discovery(IDENTITY, Indices()))["cmps"]
    for name in ("import", "export"):
        assert components[name]["state_class"] == "total_increasing"
        assert components[name]["device_class"] == "energy"
        assert components[name]["unit_of_measurement"] == "Wh"
    messages = by_topic(STATE, Indices())
    assert messages["registers"].retain
    assert document_of(messages["registers"]) == {"import_wh": 12_345_678, "export_wh": 2_345}
    assert not messages["power"].retain
    assert document_of(messages["power"]) == {"power_w": -321, "power_va": 330}


def test_power_is_there_only_while_the_meter_speaks_but_indices_stay() -> None:
    components = document_of(discovery(IDENTITY, Indices()))["cmps"]
    assert components["power"]["availability_mode"] == "all"
    assert [row["topic"] for row in components["power"]["availability"]] == [
        "daisee/daisee_00c0ffee1234/availability",
        "daisee/daisee_00c0ffee1234/meter",
    ]
    assert "availability" not in components["import"]
    messages = by_topic(replace(STATE, meter_ok=False), Indices())
    assert messages["meter"].payload == "offline"
    assert "power" not in messages
    assert document_of(messages["registers"])["import_wh"] == 12_345_678
    assert document_of(messages["health"]) == {"meter": "OFF", "chain": "ON"}


def test_what_is_not_known_is_null_or_silent_and_never_zero() -> None:
    messages = by_topic(PublishedState(at_s=1, meter_ok=True), Indices())
    assert "registers" not in messages
    assert document_of(messages["power"]) == {"power_w": None, "power_va": None}
    assert set(document_of(messages["market"]).values()) == {None}
    one_register = by_topic(PublishedState(at_s=1, import_wh=5), Indices())
    assert document_of(one_register["registers"]) == {"import_wh": 5, "export_wh": None}


def test_money_and_price_are_in_euros() -> None:
    market = document_of(by_topic(STATE, Indices())["market"])
    assert market["price_eur_per_kwh"] == 0.1425
    assert market["amount_today_eur"] == 8.55
    assert market["today_since"] == "2016-06-07T00:00:00Z"


def test_nothing_personal_leaves_the_machine() -> None:
    indices = Indices().advanced(STATE)
    everything = [discovery(IDENTITY, indices), *states(IDENTITY, indices, STATE)]
    everything += emon_messages("daisee", indices, STATE)
    for message in everything:
        assert PRM not in message.topic + message.payload


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30), st.integers(0, 30))
def test_a_published_index_never_falls_across_restarts(
    registers: list[int], restart_after: int
) -> None:
    indices = Indices()
    last = 0
    for number, register in enumerate(registers):
        if number == restart_after:
            indices = Indices.from_text(indices.to_text())
        state = replace(STATE, import_wh=register)
        indices = indices.advanced(state)
        messages = states(IDENTITY, indices, state)
        said = next(document_of(m) for m in messages if m.topic.endswith("registers"))
        emon = {m.topic: int(m.payload) for m in emon_messages("home", indices, state)}
        assert said["import_wh"] == emon["emon/home/import_wh"] == max(registers[: number + 1])
        assert said["import_wh"] >= last
        last = said["import_wh"]


def test_another_meter_gets_entities_of_its_own_and_the_old_ones_go() -> None:
    before = Indices().advanced(STATE)
    after = before.advanced(replace(STATE, meter_id="another", import_wh=7, export_wh=0))
    assert (after.series, after.import_wh, after.export_wh) == (2, 7, 0)
    components = document_of(discovery(IDENTITY, after))["cmps"]
    assert components["import"] == {"p": "sensor"}
    assert components["import_2"]["unique_id"].endswith("_import_2")
    # A state that knows no meter does not start another series.
    assert after.advanced(PublishedState(at_s=2)) == after


def test_what_a_broker_retained_is_a_floor_once_and_within_reason() -> None:
    indices = Indices().advanced(STATE)
    assert STATE.import_wh is not None
    assert STATE.export_wh is not None
    floor = Retained(STATE.import_wh + 5, STATE.export_wh + AHEAD_WH + 1)
    raised, left = floor.under(indices, STATE)
    assert (raised.import_wh, raised.export_wh) == (STATE.import_wh + 5, STATE.export_wh)
    assert left == Retained(), "an absurd one does not become likely by waiting"
    # What the meter has not told yet waits for it.
    only_import = replace(STATE, export_wh=None)
    _, left = floor.under(Indices().advanced(only_import), only_import)
    assert left == Retained(None, floor.export_wh)
    lower, _ = Retained(1, 1).under(indices, STATE)
    assert lower == indices


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"{", b"[]", b"7", b"null", b"\xff", b'{"import_wh": "9"}'),
        *(b'{"import_wh": true}', b'{"import_wh": 1.5}', b"[" * 100_000, b"9" * 100_000),
    ],
)
def test_a_retained_message_of_somebody_else_is_no_floor(payload: bytes) -> None:
    assert Retained.from_payload(payload) == Retained()


@pytest.mark.parametrize("text", ["[]", "{}", '{"meter_id": "a"}', "null"])
def test_a_memory_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="published indices"):
        Indices.from_text(text)


def test_a_memory_with_a_figure_that_is_none_is_refused() -> None:
    text = Indices().to_text().replace('"import_wh": 0', '"import_wh": -1')
    with pytest.raises(ValueError, match="published indices"):
        Indices.from_text(text)


def test_emon_topics_carry_one_integer_each_and_stop_with_the_meter() -> None:
    messages = emon_messages("garage", Indices().advanced(STATE), STATE)
    assert {m.topic: m.payload for m in messages} == {
        "emon/garage/power_w": "-321",
        "emon/garage/power_va": "330",
        "emon/garage/import_wh": "12345678",
        "emon/garage/export_wh": "2345",
    }
    assert not any(message.retain for message in messages)
    assert emon_messages("garage", Indices(), replace(STATE, meter_ok=False)) == ()
    bare = PublishedState(at_s=1, power_w=5, meter_ok=True)
    assert [m.topic for m in emon_messages("garage", Indices(), bare)] == ["emon/garage/power_w"]


def test_a_device_id_is_random_and_fits_every_topic() -> None:
    drawn = {new_device_id(random.Random(seed)) for seed in range(50)}
    assert len(drawn) == 50
    for device_id in drawn:
        assert NodeIdentity(device_id).device_id == device_id


@pytest.mark.parametrize("device_id", ["", "a/b", "a+b", "A B", "x" * 41, "été_maison"])
def test_a_device_id_that_would_break_a_topic_is_refused(device_id: str) -> None:
    with pytest.raises(ConfigurationError):
        NodeIdentity(device_id)
