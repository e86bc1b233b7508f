"""The readings as emonhub writes them: ``emon/<node>/<name>``, one value for each topic.

emonCMS, and whatever else of OpenEnergyMonitor listens, makes feeds of them without a setting.
As with emonhub nothing is retained: a reader that comes later must not take an old value for new.
"""

from __future__ import annotations

from node.publish.homeassistant import Message
from node.publish.state import Indices, PublishedState

__all__ = ["emon_messages"]


def emon_messages(node: str, indices: Indices, state: PublishedState) -> tuple[Message, ...]:
    """What a state says on the topics of an emon node; nothing while the meter is silent."""
    if not state.meter_ok:
        return ()
    values = {
        "power_w": state.power_w,
        "power_va": state.power_va,
        "import_wh": None if state.import_wh is None else indices.import_wh,
        "export_wh": None if state.export_wh is None else indices.export_wh,
    }
    return tuple(
        Message(f"emon/{node}/{name}", str(value), retain=False, qos=0)
        for name, value in values.items()
        if value is not None
    )
