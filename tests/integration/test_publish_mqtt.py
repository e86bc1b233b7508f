"""The publisher against a real broker: introductions, births, restarts, logins, TLS, farewells."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiomqtt
import pytest

from node.clock import SystemClock
from node.errors import ConfigurationError
from node.publish.broker import BrokerSettings
from node.publish.mqtt import Publisher
from node.publish.state import Indices, NodeIdentity, PublishedState
from tests.support.broker import Broker, broker

IDENTITY: Final = NodeIdentity("daisee_00c0ffee1234", version="1.0")
BASE: Final = "daisee/daisee_00c0ffee1234"
CONFIG: Final = "homeassistant/device/daisee_00c0ffee1234/config"
PRM: Final = "01234567890123"
STATE: Final = PublishedState(
    at_s=1_465_300_000,
    meter_id=PRM,
    import_wh=1_000,
    export_wh=200,
    power_w=300,
    meter_ok=True,
    chain_ok=True,
)
PATIENCE_S: Final = 15.0


class HastyClock(SystemClock):
    """The machine's clock for a test that will not wait: pauses of seconds become short ones."""

    async def sleep_until(self, unix_s: int) -> None:
        await asyncio.sleep(0.02 if unix_s > self.now_s() else 0)


class House:
    """What else listens on the household's broker."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self.heard: list[aiomqtt.Message] = []

    async def listen(self) -> None:
        async for message in self.client.messages:
            self.heard.append(message)

    def said(self, topic: str) -> list[str]:
        return [text(m) for m in self.heard if m.topic.value == topic]

    def last(self, topic: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.said(topic)[-1])
        return found


def text(message: aiomqtt.Message) -> str:
    assert isinstance(message.payload, bytes)
    return message.payload.decode()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        # What is waited for lies with the broker and its clients: no event tells of it.
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def house(
    port: int, username: str | None = None, password: str | None = None
) -> AsyncIterator[House]:
    async with aiomqtt.Client("127.0.0.1", port, username=username, password=password) as client:
        await client.subscribe("#", qos=1)
        listening = House(client)
        task = asyncio.create_task(listening.listen())
        try:
            yield listening
        finally:
            task.cancel()
            await asyncio.wait([task])


@asynccontextmanager
async def running(publisher: Publisher) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(publisher.run(), name="publisher")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_S)
        assert task.done()


def publisher_at(port: int, memory: str | None = None) -> Publisher:
    return publisher_of(BrokerSettings("127.0.0.1", port), memory)


def publisher_of(settings: BrokerSettings, memory: str | None = None) -> Publisher:
    randomness = random.Random(1)
    return Publisher(settings, IDENTITY, HastyClock(), memory=memory, randomness=randomness)


def live(folder: Path, scenario: Callable[[Broker], Awaitable[None]], *settings: str) -> None:
    """Run a scenario with a broker of its own."""

    async def run(server: Broker) -> None:
        await scenario(server)

    with broker(folder, *settings) as server:
        asyncio.run(run(server))


def test_the_house_is_introduced_to_the_node_and_hears_its_states(tmp_path: Path) -> None:
    async def scenario(server: Broker) -> None:
        publisher = publisher_at(server.port)
        publisher.update(STATE)
        async with house(server.port) as listening, running(publisher):
            await until(lambda: bool(listening.said("emon/daisee/export_wh")))
            assert listening.said(f"{BASE}/availability") == ["online"]
            assert listening.last(f"{BASE}/registers") == {"import_wh": 1_000, "export_wh": 200}
            assert listening.last(f"{BASE}/power") == {"power_w": 300, "power_va": None}
            assert listening.said("emon/daisee/import_wh") == ["1000"]
            # Nothing is said of an entity before the house was told that it exists.
            topics = [message.topic.value for message in listening.heard]
            assert topics[0] == CONFIG
            assert publisher.connected
            publisher.update(replace(STATE, import_wh=1_001))
            await until(lambda: listening.said("emon/daisee/import_wh")[-1] == "1001")
            assert all(PRM not in m.topic.value + text(m) for m in listening.heard)
        async with house(server.port) as latecomer:
            await until(lambda: bool(latecomer.said(f"{BASE}/registers")))
            await until(lambda: latecomer.said(f"{BASE}/availability") == ["offline"])
            kept = {message.topic.value for message in latecomer.heard}
            assert CONFIG in kept
            assert f"{BASE}/power" not in kept
            assert not any(topic.startswith("emon/") for topic in kept)

    live(tmp_path, scenario)


def test_a_home_assistant_that_comes_up_is_introduced_again(tmp_path: Path) -> None:
    async def scenario(server: Broker) -> None:
        publisher = publisher_at(server.port)
        async with house(server.port) as listening, running(publisher):
            publisher.update(STATE)
            await until(lambda: bool(listening.said(f"{BASE}/registers")))
            await listening.client.publish("homeassistant/status", "offline", qos=1)
            await listening.client.publish("homeassistant/status", "online", qos=1)
            await until(lambda: len(listening.said(CONFIG)) == 2)
            await until(lambda: len(listening.said(f"{BASE}/registers")) == 2)
            assert len(set(listening.said(CONFIG))) == 1

    live(tmp_path, scenario)


def test_a_node_that_dies_is_declared_offline_by_the_broker(tmp_path: Path) -> None:
    async def scenario(server: Broker) -> None:
        publisher = publisher_at(server.port)
        async with house(server.port) as listening:
            async with running(publisher) as task:
                publisher.update(STATE)
                await until(lambda: publisher.connected)
                # Another client under the same id takes over: the broker drops the first without
                # a farewell, which is how a dead connection looks to it.
                async with aiomqtt.Client("127.0.0.1", server.port, identifier=IDENTITY.device_id):
                    await until(lambda: "offline" in listening.said(f"{BASE}/availability"))
                assert not task.done()
                await until(lambda: listening.said(f"{BASE}/availability")[-1] == "online")
            assert publisher.lost_connections >= 1

    live(tmp_path, scenario)


def test_a_broker_that_restarts_is_told_everything_again_and_nothing_old(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="node.publish.mqtt")

    async def scenario(server: Broker) -> None:
        publisher = publisher_at(server.port)
        publisher.update(STATE)
        async with running(publisher):
            for life in range(1, 4):
                await until(lambda: publisher.connected)
                server.stop()
                await until(lambda: not publisher.connected)
                assert publisher.trouble
                for step in range(500):  # nothing of this piles up
                    publisher.update(replace(STATE, import_wh=life * 10_000 + step))
                server.start()
                async with house(server.port) as listening:
                    await until(lambda: bool(listening.said("emon/daisee/import_wh")))
                    assert listening.said("emon/daisee/import_wh") == [str(life * 10_000 + 499)]
                    assert listening.last(f"{BASE}/registers")["import_wh"] == life * 10_000 + 499
                    assert listening.said(CONFIG)
                    assert listening.said(f"{BASE}/availability")[-1] == "online"
            assert publisher.lost_connections == 3
            assert publisher.trouble == ""

    live(tmp_path, scenario)
    connected = [r for r in caplog.records if r.message.startswith("broker connected")]
    assert len(connected) == 4
    lost = [r for r in caplog.records if r.message.startswith("broker lost")]
    assert 3 <= len(lost) <= 9, "transitions are logged, not tries"


def test_an_index_does_not_fall_when_the_node_restarts(tmp_path: Path) -> None:
    async def scenario(server: Broker) -> None:
        async with house(server.port) as listening:
            first = publisher_at(server.port)
            async with running(first):
                first.update(STATE)
                await until(lambda: bool(listening.said("emon/daisee/import_wh")))
            second = publisher_at(server.port, first.memory)
            async with running(second):
                second.update(replace(STATE, import_wh=990))
                await until(lambda: len(listening.said("emon/daisee/import_wh")) == 2)
                second.update(replace(STATE, import_wh=1_010))
                await until(lambda: len(listening.said("emon/daisee/import_wh")) == 3)
        assert listening.said("emon/daisee/import_wh") == ["1000", "1000", "1010"]
        told = [json.loads(said)["import_wh"] for said in listening.said(f"{BASE}/registers")]
        assert told == [1000, 1000, 1010]
        assert Indices.from_text(second.memory).import_wh == 1_010

    live(tmp_path, scenario)


def test_an_index_does_not_fall_when_what_was_published_was_lost_at_home(tmp_path: Path) -> None:
    """The power failed before the memory was kept; the broker still has what it was told."""

    async def scenario(server: Broker) -> None:
        async with house(server.port) as listening:
            first = publisher_at(server.port)
            async with running(first):
                first.update(STATE)
                await until(lambda: bool(listening.said("emon/daisee/import_wh")))
            second = publisher_at(server.port)
            async with running(second):
                second.update(replace(STATE, import_wh=990, export_wh=None))
                await until(lambda: len(listening.said("emon/daisee/import_wh")) == 2)
                second.update(replace(STATE, import_wh=995, export_wh=150))
                await until(lambda: len(listening.said("emon/daisee/import_wh")) == 3)
                second.update(replace(STATE, import_wh=1_010))
                await until(lambda: len(listening.said("emon/daisee/import_wh")) == 4)
        told = [json.loads(said) for said in listening.said(f"{BASE}/registers")]
        assert [said["import_wh"] for said in told] == [1_000, 1_000, 1_000, 1_010]
        assert [said["export_wh"] for said in told] == [200, None, 200, 200]

    live(tmp_path, scenario)


def test_an_absurd_retained_index_is_nobody_s_floor(tmp_path: Path) -> None:
    async def scenario(server: Broker) -> None:
        async with house(server.port) as listening:
            forged = '{"import_wh":1000000000000,"export_wh":200}'
            await listening.client.publish(f"{BASE}/registers", forged, qos=1, retain=True)
            publisher = publisher_at(server.port)
            async with running(publisher):
                publisher.update(STATE)
                await until(lambda: bool(listening.said("emon/daisee/import_wh")))
        assert listening.last(f"{BASE}/registers") == {"import_wh": 1_000, "export_wh": 200}

    live(tmp_path, scenario)


def test_another_meter_does_not_begin_at_the_retained_index(tmp_path: Path) -> None:
    async def scenario(server: Broker) -> None:
        async with house(server.port) as listening:
            first = publisher_at(server.port)
            async with running(first):
                first.update(STATE)
                await until(lambda: bool(listening.said("emon/daisee/import_wh")))
            second = publisher_at(server.port, first.memory)
            async with running(second):
                second.update(replace(STATE, meter_id="another", import_wh=3, export_wh=0))
                await until(lambda: len(listening.said("emon/daisee/import_wh")) == 2)
        assert listening.last(f"{BASE}/registers") == {"import_wh": 3, "export_wh": 0}

    live(tmp_path, scenario)


def test_another_meter_is_introduced_before_its_lower_index_is_told(tmp_path: Path) -> None:
    async def scenario(server: Broker) -> None:
        publisher = publisher_at(server.port)
        async with house(server.port) as listening, running(publisher):
            publisher.update(STATE)
            await until(lambda: bool(listening.said("emon/daisee/import_wh")))
            publisher.update(replace(STATE, meter_id="another", import_wh=3, export_wh=0))
            await until(lambda: listening.said("emon/daisee/import_wh")[-1] == "3")
            topics = [m.topic.value for m in listening.heard]
            second = topics.index(CONFIG, topics.index(CONFIG) + 1)
            registers = [i for i, topic in enumerate(topics) if topic == f"{BASE}/registers"]
            assert registers[0] < second < registers[1]
            assert "import_2" in listening.last(CONFIG)["cmps"]

    live(tmp_path, scenario)


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def password_file(folder: Path, password: str) -> Path:
    file = folder / "broker-password"
    file.write_text(password + "\n")
    file.chmod(0o600)
    return file


def test_a_login_is_read_from_a_file_and_a_wrong_one_is_told_and_tried_again(
    tmp_path: Path,
) -> None:
    users = tmp_path / "users"
    users.write_text("house:right\n")
    subprocess.run([program("mosquitto_passwd"), "-U", users], check=True)
    file = password_file(tmp_path, "wrong")

    async def scenario(server: Broker) -> None:
        publisher = publisher_of(
            BrokerSettings("127.0.0.1", server.port, user="house", password_file=file)
        )
        publisher.update(STATE)
        async with running(publisher):
            await until(lambda: "uthori" in publisher.trouble)
            assert not publisher.connected
            password_file(tmp_path, "right")  # put right while the node runs
            await until(lambda: publisher.connected)
            async with house(server.port, username="house", password="right") as listening:
                await until(lambda: bool(listening.said(CONFIG)))

    live(tmp_path, scenario, "allow_anonymous false", f"password_file {users}")


@pytest.mark.parametrize("flaw", ["missing", "empty", "open to all"])
def test_a_password_file_that_cannot_be_used_ends_the_publisher(tmp_path: Path, flaw: str) -> None:
    file = tmp_path / "broker-password"
    if flaw != "missing":
        password_file(tmp_path, "" if flaw == "empty" else "secret")
    if flaw == "open to all":
        file.chmod(0o644)

    async def scenario(server: Broker) -> None:
        with pytest.raises(ConfigurationError, match="password") as refused:
            await publisher_of(
                BrokerSettings("127.0.0.1", server.port, user="house", password_file=file)
            ).run()
        assert "secret" not in str(refused.value)

    live(tmp_path, scenario)


def authority(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    certificate, key = folder / "broker.pem", folder / "broker.key"
    subject = ["-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(
        [program("openssl"), "req", "-x509", *curve, "-nodes", *subject, *files],
        check=True,
        capture_output=True,
    )
    return certificate, key


def test_tls_is_spoken_with_the_authority_that_is_named_and_no_other(tmp_path: Path) -> None:
    certificate, key = authority(tmp_path)

    async def scenario(server: Broker) -> None:
        stranger = publisher_of(BrokerSettings("127.0.0.1", server.port, tls=True))
        async with running(stranger):
            await until(lambda: "certificate" in stranger.trouble)
        publisher = publisher_of(
            BrokerSettings("127.0.0.1", server.port, tls=True, ca_file=certificate)
        )
        publisher.update(STATE)
        async with running(publisher):
            await until(lambda: publisher.connected and publisher.messages_sent > 5)

    settings = ("allow_anonymous true", f"certfile {certificate}", f"keyfile {key}")
    live(tmp_path, scenario, *settings)


def test_an_authority_that_cannot_be_read_ends_the_publisher(tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(ConfigurationError, match="authority"):
            await publisher_of(
                BrokerSettings("127.0.0.1", 1, tls=True, ca_file=tmp_path / "none.pem")
            ).run()

    asyncio.run(scenario())


def test_a_broker_that_accepts_and_never_answers_does_not_hold_up_the_end() -> None:
    async def scenario() -> None:
        callers: list[asyncio.StreamWriter] = []

        async def silence(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            callers.append(writer)

        server = await asyncio.start_server(silence, "127.0.0.1", 0)
        async with server:
            publisher = publisher_at(server.sockets[0].getsockname()[1])
            async with running(publisher):
                await until(lambda: len(callers) > 1)  # the second one is the library's
                assert not publisher.connected
            for caller in callers:
                caller.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))
