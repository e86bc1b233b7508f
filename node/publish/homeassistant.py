"""Home Assistant finds the node by itself: MQTT discovery in the device scheme (2024.11 and later).

One retained document on ``homeassistant/device/<device id>/config`` describes the device (``dev``),
who speaks for it (``o``) and its entities (``cmps``); shared keys stand beside them. State topics
hold JSON, from which each entity takes its value. A null becomes Home Assistant's *unknown*.

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from node.publish.state import Indices, NodeIdentity, PublishedState
from node.slots import iso_utc

__all__ = ["BIRTH", "STATUS_TOPIC", "Message", "Topics", "discovery", "states"]

STATUS_TOPIC: Final = "homeassistant/status"
"""Where Home Assistant says that it came up."""

BIRTH: Final = "online"

ONLINE: Final = "online"
OFFLINE: Final = "offline"

_UNITS_PER_WH_IN_EUR_PER_KWH: Final = 100_000
_UNITS_PER_EUR: Final = 10**8

_REMOVED_METERS: Final = 3
"""Of how many meters before this one the entities are removed again, in case one was missed."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something to publish."""

    topic: str
    payload: str
    retain: bool
    qos: int = 1


@dataclass(frozen=True, slots=True)
class Topics:
    """Where one node publishes."""

    device_id: str

    @property
    def base(self) -> str:
        """Under which everything of the node stands, but for discovery."""
        return f"daisee/{self.device_id}"

    @property
    def config(self) -> str:
        """The discovery document."""
        return f"homeassistant/device/{self.device_id}/config"

    @property
    def availability(self) -> str:
        """``online`` while the node is connected; the broker says ``offline`` in its place."""
        return f"{self.base}/availability"

    @property
    def meter(self) -> str:
        """``online`` while the meter speaks."""
        return f"{self.base}/meter"

    @property
    def registers(self) -> str:
        """The cumulative energies: retained, as an index is true until the next one."""
        return f"{self.base}/registers"

    @property
    def power(self) -> str:
        """The power of this moment: never retained."""
        return f"{self.base}/power"

    @property
    def market(self) -> str:
        """The last closed slot and today's trades."""
        return f"{self.base}/market"

    @property
    def health(self) -> str:
        """Whether meter and chain are well."""
        return f"{self.base}/health"


def discovery(identity: NodeIdentity, indices: Indices) -> Message:
    """The device document. It changes only with the identity and when another meter takes over."""
    topics = Topics(identity.device_id)
    document = {
        "dev": {
            "ids": [identity.device_id],
            "name": identity.name,
            "mf": "daisee",
            "mdl": "household node",
            "sw": identity.version,
        },
        "o": {"name": "daisee", "sw": identity.version},
        "availability": [{"topic": topics.availability}],
        "qos": 1,
        "cmps": _components(topics, indices.series),
    }
    return Message(topics.config, _json(document), retain=True)


def _components(topics: Topics, series: int) -> dict[str, dict[str, object]]:
    """Every entity. A second meter's indices are other entities: its totals are not the first's,
    whose entities go (a component with nothing but its platform is how one is removed)."""
    of_meter = _of_meter(series)
    total = {"state_class": "total_increasing", "device_class": "energy", "unit": "Wh"}
    of_today = {
        "state_class": "total",
        "last_reset_value_template": "{{ value_json.today_since or '' }}",
    }
    speaking = {
        "availability": [{"topic": topics.availability}, {"topic": topics.meter}],
        "availability_mode": "all",
    }
    rows: tuple[tuple[str, str, str, str, dict[str, object]], ...] = (
        (f"import{of_meter}", "Import", topics.registers, "import_wh", {**total}),
        (f"export{of_meter}", "Export", topics.registers, "export_wh", {**total}),
        (
            "power",
            "Power",
            topics.power,
            "power_w",
            {"state_class": "measurement", "device_class": "power", "unit": "W", **speaking},
        ),
        (
            "apparent_power",
            "Apparent power",
            topics.power,
            "power_va",
            {
                "state_class": "measurement",
                "device_class": "apparent_power",
                "unit": "VA",
                **speaking,
            },
        ),
        ("slot_import", "Slot import", topics.market, "slot_import_wh", {"unit": "Wh"}),
        ("slot_export", "Slot export", topics.market, "slot_export_wh", {"unit": "Wh"}),
        (
            "price",
            "Neighbourhood price",
            topics.market,
            "price_eur_per_kwh",
            {"state_class": "measurement", "unit": "EUR/kWh"},
        ),
        (
            "bought_today",
            "Bought from neighbours today",
            topics.market,
            "bought_today_wh",
            {"device_class": "energy", "unit": "Wh", **of_today},
        ),
        (
            "sold_today",
            "Sold to neighbours today",
            topics.market,
            "sold_today_wh",
            {"device_class": "energy", "unit": "Wh", **of_today},
        ),
        (
            "amount_today",
            "Earned today",
            topics.market,
            "amount_today_eur",
            {"device_class": "monetary", "unit": "EUR", **of_today},
        ),
    )
    components = {
        key: _sensor(topics, key, name, topic, field, more)
        for key, name, topic, field, more in rows
    }
    for gone in range(max(1, series - _REMOVED_METERS), series):
        components |= {f"{name}{_of_meter(gone)}": {"p": "sensor"} for name in ("import", "export")}
    for key, name in (("meter", "Meter"), ("chain", "Chain")):
        components[key] = {
            "p": "binary_sensor",
            "unique_id": f"{topics.device_id}_{key}",
            "name": name,
            "state_topic": topics.health,
            "value_template": f"{{{{ value_json.{key} }}}}",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
        }
    return components


def _of_meter(series: int) -> str:
    return "" if series == 1 else f"_{series}"


def _sensor(
    topics: Topics, key: str, name: str, topic: str, field: str, more: dict[str, object]
) -> dict[str, object]:
    rest = {name: value for name, value in more.items() if name != "unit"}
    return {
        "p": "sensor",
        "unique_id": f"{topics.device_id}_{key}",
        "name": name,
        "state_topic": topic,
        "value_template": f"{{{{ value_json.{field} }}}}",
        "unit_of_measurement": more["unit"],
        **rest,
    }


def states(identity: NodeIdentity, indices: Indices, state: PublishedState) -> tuple[Message, ...]:
    """What a state says on each topic. ``indices`` are those advanced by this very state: in place
    of a register below them, the last one stands again."""
    topics = Topics(identity.device_id)
    messages = [
        Message(topics.meter, ONLINE if state.meter_ok else OFFLINE, retain=True),
        Message(
            topics.health,
            _json({"meter": _on_off(on=state.meter_ok), "chain": _on_off(on=state.chain_ok)}),
            retain=True,
        ),
        Message(topics.market, _json(_market(state)), retain=True),
    ]
    registers = {
        "import_wh": None if state.import_wh is None else indices.import_wh,
        "export_wh": None if state.export_wh is None else indices.export_wh,
    }
    if registers != {"import_wh": None, "export_wh": None}:
        messages.append(Message(topics.registers, _json(registers), retain=True))
    if state.meter_ok:
        # VA are not W: a meter that tells only the one leaves the other unknown.
        power = _json({"power_w": state.power_w, "power_va": state.power_va})
        messages.append(Message(topics.power, power, retain=False, qos=0))
    return tuple(messages)


def _market(state: PublishedState) -> dict[str, object]:
    price, amount = state.price_units_per_wh, state.amount_today_units
    return {
        "slot_start": None if state.slot_start_s is None else iso_utc(state.slot_start_s),
        "slot_import_wh": state.slot_import_wh,
        "slot_export_wh": state.slot_export_wh,
        "price_eur_per_kwh": None if price is None else price / _UNITS_PER_WH_IN_EUR_PER_KWH,
        "today_since": None if state.day_start_s is None else iso_utc(state.day_start_s),
        "bought_today_wh": state.bought_today_wh,
        "sold_today_wh": state.sold_today_wh,
        "amount_today_eur": None if amount is None else amount / _UNITS_PER_EUR,
    }


def _on_off(*, on: bool) -> str:
    return "ON" if on else "OFF"


def _json(document: object) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))
