"""Meters behind a real broker: every layout of topics, retained messages, restarts, logins, TLS."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from node.clock import SystemClock
from node.errors import ConfigurationError, MeterError, MeterSilent
from node.meter.arrivals import Arrived
from node.meter.codec import MeterFrame
from node.meter.recorded import messages_of
from node.meter.settings import MeterSettings
from node.meter.sources import connect_for
from node.meter.transports.mqtt import topics_of
from tests.support.arrivals import PATIENCE_S
from tests.support.broker import Broker, broker

Message = tuple[str, str | dict[str, Any]]


def settings(server: Broker, **more: object) -> MeterSettings:
    table = {"broker": f"127.0.0.1:{server.port}", **more}
    return MeterSettings.from_table(table, Path("node.toml"))


async def publish(port: int, messages: list[Message], *, retain: bool = False) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        for topic, said in messages:
            payload = said if isinstance(said, str) else json.dumps(said)
            await client.publish(topic, payload, qos=1, retain=retain)


async def hear(
    chosen: MeterSettings,
    count: int,
    meanwhile: Callable[[], Awaitable[None]],
    keep: Callable[[bytes], None] = lambda _: None,
) -> list[Arrived]:
    """The first things that arrive on a new connection; messages come once it stands."""
    found: list[Arrived] = []
    async with asyncio.timeout(PATIENCE_S), connect_for(chosen, SystemClock(), keep)() as transport:
        await meanwhile()
        async for arrived in transport.arrivals():
            found.append(arrived)
            if len(found) == count:
                break
    return found


def frames_of(
    folder: Path, messages: list[Message], count: int, **table: object
) -> list[MeterFrame]:
    with broker(folder) as server:
        found = asyncio.run(
            hear(settings(server, **table), count, lambda: publish(server.port, messages))
        )
    return [item.decoded for item in found if isinstance(item.decoded, MeterFrame)]


def test_tasmota(tmp_path: Path) -> None:
    said = {"Time": "2026-11-01T10:00:00", "ENERGY": {"Total": 12.345, "Power": 230}}
    messages: list[Message] = [
        ("tele/other/SENSOR", said),
        ("tele/plug/STATE", said),
        ("tele/plug/SENSOR", said),
        ("stat/plug/STATUS8", {"StatusSNS": said}),
    ]
    frames = frames_of(tmp_path, messages, 2, kind="tasmota", topic="plug")
    assert [(frame.meter_id, frame.import_wh, frame.power_w) for frame in frames] == [
        ("plug", 12_345, 230)
    ] * 2


def test_shelly_of_the_first_generation(tmp_path: Path) -> None:
    messages: list[Message] = [
        ("shellies/shellyem-1/emeter/0/total", "1234.5"),
        ("shellies/shellyem-1/emeter/0/total_returned", "99"),
        ("shellies/shellyem-1/emeter/0/power", "-50.2"),
    ]
    frames = frames_of(tmp_path, messages, 3, kind="shelly", topic="shellyem-1")
    assert [(frame.import_wh, frame.export_wh, frame.power_w) for frame in frames] == [
        (1234, None, None),
        (None, 99, None),
        (None, None, -50),
    ]


def test_shelly_changes_are_laid_over_its_last_full_status(tmp_path: Path) -> None:
    whole = {"id": 0, "apower": 5.0, "aenergy": {"total": 500.0}, "ret_aenergy": {"total": 100.0}}
    change = {
        "src": "shellyplus-1",
        "method": "NotifyStatus",
        "params": {"ts": 1_790_000_000.1, "switch:0": {"aenergy": {"total": 600.0}}},
    }
    messages: list[Message] = [
        ("shellyplus-1/status/switch:0", whole),
        ("shellyplus-1/events/rpc", change),
    ]
    frames = frames_of(tmp_path, messages, 2, kind="shelly", topic="shellyplus-1")
    assert [frame.import_wh for frame in frames] == [400, 500]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("emon/emonpi/E1", "1200"),
        ("emon/emonpi", '{"E1": 1200, "P1": 55}'),
    ],
)
def test_emonhub(tmp_path: Path, topic: str, payload: str) -> None:
    paths = [{"register": "import_wh", "path": "E1", "unit": "Wh"}]
    frames = frames_of(tmp_path, [(topic, payload)], 1, kind="emon", topic="emonpi", paths=paths)
    assert [(frame.meter_id, frame.import_wh) for frame in frames] == [("emonpi", 1200)]


def test_emonhub_lists_of_values(tmp_path: Path) -> None:
    layout = {"node": 5, "name": "tx", "names": ["P1", "E1"], "datacodes": "hl"}
    frames = frames_of(
        tmp_path,
        [("emonhub/rx/5/values", "100,1200,-61")],
        1,
        kind="emon",
        layouts=[layout],
        paths=[{"register": "import_wh", "path": "E1", "unit": "Wh"}],
    )
    assert [frame.import_wh for frame in frames] == [1200]


def test_any_json(tmp_path: Path) -> None:
    paths = [
        {"register": "import_wh", "path": "energy", "unit": "kWh"},
        {"register": "power_w", "path": "power", "unit": "W"},
    ]
    said: Message = ("zigbee2mqtt/grid meter", {"energy": 77.5, "power": -300, "linkquality": 9})
    frames = frames_of(
        tmp_path, [said], 1, kind="json", topic="zigbee2mqtt/grid meter", paths=paths
    )
    assert [(frame.import_wh, frame.power_w) for frame in frames] == [(77_500, -300)]


def test_what_the_broker_had_kept_is_marked(tmp_path: Path) -> None:
    said: list[Message] = [("tele/plug/SENSOR", {"ENERGY": {"Total": 1}})]
    with broker(tmp_path) as server:
        asyncio.run(publish(server.port, said, retain=True))
        chosen = settings(server, kind="tasmota", topic="plug")
        found = asyncio.run(hear(chosen, 2, lambda: publish(server.port, said)))
    assert [item.retained for item in found] == [True, False]


def test_messages_are_kept_as_envelopes_that_decode_again(tmp_path: Path) -> None:
    said: list[Message] = [("tele/plug/SENSOR", {"ENERGY": {"Total": 1}})]
    kept = bytearray()
    with broker(tmp_path) as server:
        chosen = settings(server, kind="tasmota", topic="plug")
        asyncio.run(hear(chosen, 1, lambda: publish(server.port, said), kept.extend))
    assert messages_of(bytes(kept)) == [("tele/plug/SENSOR", b'{"ENERGY": {"Total": 1}}')]


def test_a_restart_of_the_broker_is_silence_and_over_with_the_next_connection(
    tmp_path: Path,
) -> None:
    said: list[Message] = [("tele/plug/SENSOR", {"ENERGY": {"Total": 1}})]
    with broker(tmp_path) as server:
        chosen = settings(server, kind="tasmota", topic="plug")

        async def stop() -> None:
            await asyncio.to_thread(server.stop)

        with pytest.raises(MeterSilent, match="is lost"):
            asyncio.run(hear(chosen, 1, stop))
        with pytest.raises(MeterSilent, match="cannot be reached"):
            asyncio.run(hear(chosen, 1, stop))
        server.start()
        assert asyncio.run(hear(chosen, 1, lambda: publish(server.port, said)))


def test_login_by_user_and_password_file(tmp_path: Path) -> None:
    users = tmp_path / "users"
    program = shutil.which("mosquitto_passwd")
    assert program is not None, "it comes with mosquitto"
    subprocess.run([program, "-b", "-c", str(users), "node", "right"], check=True)
    users.chmod(0o644)
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("right\n")
    wrong.write_text("wrong\n")

    async def nothing() -> None:
        pass

    async def stay(chosen: MeterSettings) -> None:
        async with asyncio.timeout(PATIENCE_S), connect_for(chosen, SystemClock())():
            pass

    with broker(tmp_path, "allow_anonymous false", f"password_file {users}") as server:
        table = {"kind": "tasmota", "topic": "plug", "user": "node"}
        asyncio.run(stay(settings(server, **table, password_file=str(right))))
        with pytest.raises(MeterError, match="refuses user 'node'"):
            asyncio.run(stay(settings(server, **table, password_file=str(wrong))))
        with pytest.raises(MeterError, match="without a name"):
            asyncio.run(stay(settings(server, kind="tasmota")))
        with pytest.raises(ConfigurationError, match="cannot be read"):
            asyncio.run(stay(settings(server, **table, password_file=str(tmp_path / "none"))))


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_tls_needs_a_certificate_that_holds(tmp_path: Path) -> None:
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    files = ["-keyout", str(key), "-out", str(certificate), "-days", "2"]
    subprocess.run(
        [program, "req", "-x509", *curve, "-nodes", *subject, *files],
        check=True,
        capture_output=True,
    )
    key.chmod(0o644)
    said: list[Message] = [("tele/plug/SENSOR", {"ENERGY": {"Total": 1}})]
    with broker(
        tmp_path, "allow_anonymous true", f"certfile {certificate}", f"keyfile {key}"
    ) as server:

        async def publish_tls() -> None:
            parameters = aiomqtt.TLSParameters(ca_certs=str(certificate))
            async with aiomqtt.Client("127.0.0.1", server.port, tls_params=parameters) as client:
                await client.publish(said[0][0], json.dumps(said[0][1]), qos=1)

        known = settings(server, kind="tasmota", tls=True, ca_file=str(certificate))
        assert asyncio.run(hear(known, 1, publish_tls))
        unknown = settings(server, kind="tasmota", tls=True)
        with pytest.raises(MeterSilent, match="certificate"):
            asyncio.run(hear(unknown, 1, publish_tls))
        gc.collect()


def test_a_wildcard_is_the_owners_own_layout() -> None:
    assert topics_of("tasmota", "home/+/tele/SENSOR") == ("home/+/tele/SENSOR",)
    assert topics_of("tasmota", None)[0] == "tele/+/SENSOR"
