"""What a household's broker and pages are told of its meter: all that it says, and never less."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.broker import Broker
from tests.support.broker import broker as running_broker
from tests.support.node_process import NodeFolder, fed_line, free_port, node_process, wait_for
from tests.support.serial_line import SerialLine, serial_line
from tests.support.shared import CHECKOUT
from tests.support.teleinfo_frames import HistoricMeter

pytestmark = pytest.mark.fault

HOUR_S = 3_600
"""Slots so long that what comes after a start is kept by nothing but a clean stop."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as broker:
        yield broker


def home_of(folder: Path, broker: Broker) -> NodeFolder:
    publish = f'[publish]\nbroker = "127.0.0.1:{broker.port}"\nevery_s = 1\n'
    return NodeFolder(folder, slot_s=HOUR_S, more=publish, metrics_port=free_port())


class House:
    """What else listens at the broker; each topic's end with all that was said there."""

    def __init__(self) -> None:
        self._heard: list[tuple[str, bytes]] = []

    def hear(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        self._heard.append((message.topic, bytes(message.payload)))

    def said(self, end: str) -> list[Any]:
        return [json.loads(said) for topic, said in self._heard if topic.endswith(end)]

    def imports(self) -> list[int]:
        """The import register, as it was told from first to last."""
        return [said["import_wh"] for said in self.said("/registers")]


@contextmanager
def listening_at(broker: Broker) -> Iterator[House]:
    house = House()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = house.hear
    client.connect("127.0.0.1", broker.port)
    client.subscribe([("daisee/+/+", 1), ("emon/#", 1)])
    client.loop_start()
    try:
        yield house
    finally:
        client.disconnect()
        client.loop_stop()


def test_no_lower_index_is_told_after_a_power_cut(tmp_path: Path, broker: Broker) -> None:
    home = home_of(tmp_path, broker)
    config = home.write()
    with listening_at(broker) as house, fed_line(home.port, frames_per_s=8.0) as line:
        with node_process(config) as node:
            node.hear("READY=1")
            wait_for(house.imports)
            assert node.stop()[0] == 0
        kept_wh = house.imports()[-1]
        with node_process(config) as node:
            node.hear("READY=1")
            wait_for(lambda: house.imports()[-1] > kept_wh + 5)
            node.kill()
        line.unplug()
        told, markets = house.imports(), len(house.said("/market"))
        with node_process(config) as node:
            node.hear("READY=1")
            # Two more states: had the first one told registers, they would be here.
            wait_for(lambda: len(house.said("/market")) >= markets + 2)
            assert house.imports() == told, "the meter has not spoken since the power came back"
            line.plug()
            wait_for(lambda: len(house.imports()) > len(told), 60)
            assert node.stop()[0] == 0
        imports = house.imports()
    assert imports == sorted(imports)


@contextmanager
def spoken(line: SerialLine, frame: bytes) -> Iterator[None]:
    """A meter that says the same again and again."""
    stop = threading.Event()

    def speak() -> None:
        while not stop.wait(0.2):
            line.say(frame)

    thread = threading.Thread(target=speak, name="meter", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_linky_s_apparent_power_is_told_and_an_export_that_it_lacks_is_not(
    tmp_path: Path, broker: Broker
) -> None:
    home, meter = home_of(tmp_path, broker), HistoricMeter()
    config = home.write()
    page_port = home.metrics_port
    with serial_line() as line:
        text = config.read_text().replace("linky-standard", "linky-historic")
        config.write_text(text.replace(str(home.port), line.path))
        with (
            listening_at(broker) as house,
            spoken(line, meter.frame()),
            node_process(config) as node,
        ):
            node.hear("READY=1")
            wait_for(lambda: house.said("/registers") and house.said("/import_wh"))
            assert house.said("/power")[-1] == {"power_va": meter.power_va, "power_w": None}
            assert house.said("/registers")[-1] == {
                "import_wh": meter.import_wh,
                "export_wh": None,
            }
            assert house.said("emon/daisee/power_va")[-1] == meter.power_va
            assert not house.said("emon/daisee/export_wh")
            with urlopen(f"http://127.0.0.1:{page_port}/status.json", timeout=5) as answer:
                page = json.load(answer)
            assert page["node"]["power_va"] == meter.power_va
            assert page["node"]["export_wh"] is None
            with urlopen(f"http://127.0.0.1:{page_port}/metrics", timeout=5) as answer:
                figures = answer.read().decode().splitlines()
            assert f"daisee_power_va {meter.power_va}" in figures
            assert not any(figure.startswith("daisee_export_wh_total") for figure in figures)
            shown = subprocess.run(
                [sys.executable, "-m", "node.cli.main", "node", "status", "--config", config],
                cwd=CHECKOUT,
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            assert f", {meter.power_va} VA" in shown.stdout
            assert node.stop()[0] == 0
