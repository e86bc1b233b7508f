"""``daisee doctor`` and ``daisee dump`` on real things: serial line, broker, chain, status page."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import aiomqtt
import pytest
from eth_account import Account

from node.chain.bootstrap import REGISTRY, Role, admit, deploy, grant
from node.chain.engines.anvil import find_anvil
from node.chain.http import http_rpc
from node.chain.keys import Key
from node.chain.rpc import Sender
from node.clock import SystemClock, wall_seconds
from node.doctor import examine
from node.errors import ConfigurationError
from node.meter.vouching import CLOCK_STANDS
from node.model import MarketRules, RegisterReading
from node.publish.state import Counters, PublishedState
from node.publish.status_http import serve_status
from node.store import NodeDatabase
from tests.support.broker import broker
from tests.support.p1_telegrams import OLD, telegram
from tests.support.serial_line import SerialLine, serial_line
from tests.support.shared import CHECKOUT
from tests.support.teleinfo_frames import HistoricMeter, StandardMeter

ALL_WITHIN_S: Final = 10.0
PASSWORD: Final = "canary-of-the-keystore"
BROKER_PASSWORD: Final = "canary-of-the-broker"
METER_ID: Final = "061976543210"
PRM: Final = "25203473204149"
FUNDER: Final = Key(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
"""The first account that every development chain of this kind funds."""

SIGNER: Final = Key(b"s" * 32)
Rows = dict[str, dict[str, Any]]


def daisee(*words: str) -> subprocess.CompletedProcess[str]:
    """The command itself, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "node.cli.main", *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def rows_of(done: subprocess.CompletedProcess[str]) -> Rows:
    """The findings of ``doctor --json`` by their ids."""
    document = json.loads(done.stdout)
    assert document["schema"] == "daisee.doctor/1"
    return {row["id"]: row for row in document["checks"]}


def severities(rows: Rows) -> dict[str, str]:
    return {check: row["severity"] for check, row in rows.items()}


def settings(folder: Path, meter: str, more: str = "") -> Path:
    file = folder / "config.toml"
    file.write_text(
        f'[meter]\n{meter}\n[storage]\ndatabase = "node.db"\n{more}\n'
        + ("" if "[metrics]" in more else "[metrics]\nserve = false\n")
    )
    return file


def on_line(line: SerialLine, more: str = "") -> str:
    return f'kind = "linky"\nport = "{line.path}"\n{more}'


@contextmanager
def again_and_again(say: Callable[[], None]) -> Iterator[None]:
    """Something that speaks all the time."""
    over = threading.Event()

    def speak() -> None:
        while not over.wait(0.2):
            say()

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()


@contextmanager
def speaking(line: SerialLine, frame: Callable[[], bytes]) -> Iterator[None]:
    """A meter that speaks all the time."""
    with again_and_again(lambda: line.say(frame())):
        yield


def frame_of_now(**more: Any) -> Callable[[], bytes]:  # noqa: ANN401 - fields of a meter
    return lambda: StandardMeter(meter_id=METER_ID, at_s=SystemClock().now_s(), **more).frame()


def test_a_node_that_is_well(tmp_path: Path) -> None:
    with serial_line() as line, speaking(line, frame_of_now(export_wh=500)):
        file = settings(tmp_path, on_line(line, "producer_expected = true"))
        done = daisee("doctor", "--config", str(file), "--json")
    rows = rows_of(done)
    assert done.returncode == 0, done.stdout
    wanted = ("P001", "C001", "C002", "D001", "D002", "D003", "D004", "M001", "M002", "M003")
    for check in (*wanted, "M005", "T003", "B001", "N001"):
        assert rows[check]["severity"] == "ok", rows[check]


def test_people_read_the_same_with_what_to_do_next(tmp_path: Path) -> None:
    with serial_line() as line, speaking(line, frame_of_now()):
        file = settings(tmp_path, on_line(line, "producer_expected = true"))
        done = daisee("doctor", "--config", str(file))
    assert done.returncode == 7
    assert re.search(r"^M005  ERROR ", done.stdout, re.MULTILINE)
    assert "your Linky is not in producer mode" in done.stdout
    assert "next: ask your supplier" in done.stdout
    assert "1 of" in done.stderr


def test_a_line_with_noise_and_a_line_with_nothing(tmp_path: Path) -> None:
    with serial_line() as line, speaking(line, lambda: os.urandom(400)):
        file = settings(tmp_path, on_line(line))
        assert severities(rows_of(daisee("doctor", "--config", str(file), "--json")))["M002"] == (
            "error"
        )
    with serial_line() as line:
        file = settings(tmp_path, on_line(line))
        began_s = wall_seconds()
        done = daisee("doctor", "--config", str(file), "--json")
        assert wall_seconds() - began_s < ALL_WITHIN_S
    assert done.returncode == 7
    assert rows_of(done)["M002"]["severity"] == "error"


def test_a_meter_that_speaks_seldom_may_be_silent_but_not_garbled(tmp_path: Path) -> None:
    with serial_line() as line:
        file = settings(tmp_path, f'kind = "dsmr-p1"\nport = "{line.path}"')
        assert asked(file)["M002"] == "warning"
        with speaking(line, lambda: os.urandom(400)):
            assert asked(file)["M002"] == "error"


@contextmanager
def host_that_says(content: bytes) -> Iterator[str]:
    """Something on the network that says one thing to whoever connects, and then nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        taken = pool.submit(server.accept)
        try:
            taken.add_done_callback(lambda done: done.result()[0].sendall(content))
            yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        finally:
            socket.create_connection(server.getsockname()).close()
            taken.result()[0].close()


@pytest.mark.parametrize(
    ("said", "word"),
    [(telegram(OLD)[200:], "warning"), (bytes(range(256)), "error"), (b"", "warning")],
    ids=["half a telegram", "noise", "nothing"],
)
def test_half_a_telegram_is_no_noise(tmp_path: Path, said: bytes, word: str) -> None:
    with host_that_says(said) as url:
        assert asked(settings(tmp_path, f'kind = "dsmr-p1"\nurl = "{url}"'))["M002"] == word


@pytest.mark.parametrize(("topic", "word"), [("plug", "error"), ("tele/+/SENSOR", "warning")])
def test_what_other_devices_of_a_broker_say_is_no_noise(
    tmp_path: Path, topic: str, word: str
) -> None:
    with broker(tmp_path) as server:
        meter = f'kind = "tasmota"\nbroker = "127.0.0.1:{server.port}"\ntopic = "{topic}"'
        file = settings(tmp_path, meter)
        with again_and_again(lambda: asyncio.run(published(server.port, "tele/plug/SENSOR"))):
            assert asked(file)["M002"] == word


async def published(port: int, topic: str) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.publish(topic, b'{"AM2301":{"Temperature":21.5}}')


@pytest.mark.parametrize("kind", ["tasmota", "shelly"])
def test_a_meter_that_speaks_seldom_needs_its_broker_all_the_same(
    tmp_path: Path, kind: str
) -> None:
    with broker(tmp_path) as server:
        meter = f'kind = "{kind}"\nbroker = "127.0.0.1:{server.port}"\nperiod_s = 300'
        file = settings(tmp_path, meter)
        assert asked(file)["M002"] == "warning"
        server.stop()
        assert asked(file)["M002"] == "error"


def test_settings_that_are_wrong_are_told_with_their_line(tmp_path: Path) -> None:
    file = settings(tmp_path, 'kind = "linky"\nport = "/dev/ttyS0"\nbauds = 9600')
    done = daisee("doctor", "--config", str(file), "--json")
    assert done.returncode == 7
    rows = rows_of(done)
    assert set(rows) == {"P001", "C001"}
    assert "config.toml:4" in rows["C001"]["evidence"]


def test_everything_that_never_answers_still_takes_less_than_ten_seconds(tmp_path: Path) -> None:
    with serial_line() as line, socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        more = (
            f'[publish]\nbroker = "127.0.0.1:{port}"\n'
            f'[chain]\nrpc = "http://127.0.0.1:{port}"\nchain_id = 1\nmarket = "0x{"1" * 40}"\n'
            f"[metrics]\nport = {port}\n"
        )
        file = settings(tmp_path, on_line(line), more)
        began_s = wall_seconds()
        done = daisee("doctor", "--config", str(file), "--json")
        took_s = wall_seconds() - began_s
    assert took_s < ALL_WITHIN_S
    found = severities(rows_of(done))
    assert (found["M002"], found["B001"], found["N001"]) == ("error", "error", "error")
    assert found["D003"] == "ok"


# The broker


def test_a_broker_that_takes_the_login_and_one_that_does_not(tmp_path: Path) -> None:
    def file_for(port: int) -> Path:
        meter = 'kind = "replay"\nfile = "home.csv"'
        return settings(tmp_path, meter, f'[publish]\nbroker = "127.0.0.1:{port}"')

    with broker(tmp_path) as server:
        assert asked(file_for(server.port))["B001"] == "ok"
        server.stop()
        assert asked(file_for(server.port))["B001"] == "error"
    closed = tmp_path / "closed"
    closed.mkdir()
    with broker(closed, "allow_anonymous false") as server:
        assert asked(file_for(server.port))["B001"] == "error"


def asked(file: Path) -> dict[str, str]:
    """The examination without a process of its own."""
    report = asyncio.run(examine(file, {}, SystemClock()))
    return {finding.check: finding.severity.word for finding in report.findings}


# A node that runs


STATE: Final = PublishedState(
    at_s=0,
    meter_id=METER_ID,
    import_wh=1_234_567,
    export_wh=0,
    meter_ok=True,
    counters=Counters(frames=10_000, frames_rejected=3),
)


def asked_beside_a_node(
    tmp_path: Path, state: PublishedState, meter: dict[str, object], selling: str = "true"
) -> dict[str, str]:
    async def scenario() -> dict[str, str]:
        more = {"meter": meter, "clock": {"meter_ahead_s": -2}}
        async with serve_status(lambda: state, version="1.0", more=lambda: more) as port:
            lines = f'kind = "linky"\nport = "/dev/null"\nproducer_expected = {selling}'
            file = settings(tmp_path, lines, f"[metrics]\nport = {port}\n")
            report = await examine(file, {}, SystemClock())
        return {finding.check: finding.severity.word for finding in report.findings}

    return asyncio.run(scenario())


def test_a_node_that_runs_is_asked_in_place_of_its_meter(tmp_path: Path) -> None:
    state = replace(STATE, last_frame_at_s=SystemClock().now_s())
    found = asked_beside_a_node(tmp_path, state, {"state": "speaking"})
    for check in ("R001", "M001", "M002", "M003", "M005", "T003"):
        assert found[check] == "ok", check


@pytest.mark.parametrize(
    ("changes", "meter", "check"),
    [
        ({"meter_ok": False}, {"state": "silent", "fault": "unplugged"}, "M002"),
        ({"meter_ok": False}, {"state": "swap to confirm"}, "M002"),
        ({}, {"state": "not in producer mode"}, "M005"),
        ({"counters": Counters(frames=100, frames_rejected=100)}, {"state": "speaking"}, "M003"),
    ],
)
def test_what_the_running_node_sees_is_what_the_doctor_says(
    tmp_path: Path, changes: dict[str, Any], meter: dict[str, object], check: str
) -> None:
    state = replace(STATE, last_frame_at_s=SystemClock().now_s(), **changes)
    assert asked_beside_a_node(tmp_path, state, meter)[check] == "error"


def test_a_meter_that_fell_silent_under_a_running_node(tmp_path: Path) -> None:
    state = replace(STATE, last_frame_at_s=SystemClock().now_s() - 900)
    assert asked_beside_a_node(tmp_path, state, {"state": "speaking"})["M002"] == "error"
    never = replace(STATE, last_frame_at_s=None, import_wh=None, export_wh=None)
    found = asked_beside_a_node(tmp_path, never, {"state": "waiting"})
    assert found["M002"] == "error"
    assert "M005" not in found


def test_a_meter_that_tells_the_import_alone_is_no_seller_s(tmp_path: Path) -> None:
    state = replace(STATE, last_frame_at_s=SystemClock().now_s(), export_wh=None)
    assert asked_beside_a_node(tmp_path, state, {"state": "speaking"})["M005"] == "warning"


def test_a_clock_of_a_meter_that_stands_still_is_told(tmp_path: Path) -> None:
    state = replace(STATE, last_frame_at_s=SystemClock().now_s())
    meter: dict[str, object] = {"state": "speaking", "notes": [CLOCK_STANDS]}
    assert asked_beside_a_node(tmp_path, state, meter)["T003"] == "warning"


def test_beside_the_node_itself(tmp_path: Path) -> None:
    """The daemon on a serial line, and the doctor who may not touch that line meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serial_line() as line, speaking(line, frame_of_now(export_wh=500)):
        more = f"[household]\nslot_s = 2\n[metrics]\nport = {port}\n"
        file = settings(tmp_path, on_line(line, "producer_expected = true"), more)
        command = [sys.executable, "-m", "node.cli.main", "node", "run", "--config", str(file)]
        with subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.DEVNULL) as node:
            try:
                found = asked_until(file, "M002", "ok")
            finally:
                node.terminate()
    assert node.returncode == 0
    for check in ("R001", "M001", "M002", "M003", "M004", "M005", "T003", "D003"):
        assert found[check] == "ok", check
    assert asked(file)["R001"] == "warning"


def asked_until(file: Path, check: str, word: str) -> dict[str, str]:
    """Ask until the node has come so far."""
    give_up_s = wall_seconds() + 40
    found = asked(file)
    while (found.get(check), found["R001"]) != (word, "ok") and wall_seconds() < give_up_s:
        found = asked(file)
    return found


# The chain


@dataclass(frozen=True, slots=True)
class Live:
    """A chain with a market on it, one household in good standing and one suspended."""

    url: str
    chain_id: int
    market: str
    registry: str
    member: int
    suspended: int

    def section(self, **changes: object) -> str:
        values = {"rpc": self.url, "chain_id": self.chain_id, "market": self.market} | changes
        # JSON's text, numbers and switches are TOML's too.
        return "[chain]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items())


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    try:
        program = find_anvil()
    except ConfigurationError:
        pytest.skip("anvil is not installed (npm ci)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(program), "--port", str(port), "--hardfork", "london", "--silent"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as chain:
        try:
            wait_for(port)
            yield asyncio.run(build(f"http://127.0.0.1:{port}"))
        finally:
            chain.terminate()


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    pytest.fail("anvil did not listen")


async def build(url: str) -> Live:
    async with http_rpc(url) as rpc:
        sender = Sender(rpc, FUNDER, gas_price=2 * 10**9)
        deployment = await deploy(rpc, sender, MarketRules())
        await grant(sender, deployment, Role.OPERATOR, FUNDER.address)
        limits = {"import_limit_wh": 9_000, "export_limit_wh": 9_000}
        numbers = [
            await admit(rpc, sender, deployment, Key(owner * 32), SIGNER.address, **limits)
            for owner in (b"o", b"p")
        ]
        await sender.send(deployment.registry, REGISTRY, "suspend", numbers[1])
        return Live(url, rpc.chain_id, deployment.market, deployment.registry, *numbers)


def key_section(folder: Path, key: Key = SIGNER, password: str = PASSWORD) -> str:
    """A keystore that opens at once, which a real one must not."""
    content = Account.encrypt(key.secret, PASSWORD, kdf="pbkdf2", iterations=2)
    for name, text in (("key.json", json.dumps(content)), ("password", password)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    return '[key]\nkeystore = "key.json"\npassword_file = "password"\n'


def on_chain(folder: Path, live: Live, more: str = "", **chain: object) -> dict[str, str]:
    member = "" if "[household]" in more else f"[household]\nnumber = {live.member}\n"
    meter = 'kind = "replay"\nfile = "home.csv"'
    return asked(settings(folder, meter, live.section(**chain) + member + more))


CHAIN_CHECKS: Final = ("N001", "N002", "N003", "T002", "N004", "K001", "K002", "K003")


def test_a_member_that_trades_is_well(tmp_path: Path, live: Live) -> None:
    found = on_chain(tmp_path, live, key_section(tmp_path), trade=True)
    assert {check: found[check] for check in CHAIN_CHECKS} == dict.fromkeys(CHAIN_CHECKS, "ok")


def test_on_paper_no_key_is_needed(tmp_path: Path, live: Live) -> None:
    found = on_chain(tmp_path, live)
    assert (found["K001"], found["K002"]) == ("ok", "ok")
    assert "K003" not in found


def test_a_key_that_is_not_the_signer(tmp_path: Path, live: Live) -> None:
    more = key_section(tmp_path, Key(b"z" * 32))
    assert on_chain(tmp_path, live, more, trade=True)["K002"] == "error"


def test_a_password_that_is_not_the_key_s(tmp_path: Path, live: Live) -> None:
    found = on_chain(tmp_path, live, key_section(tmp_path, password="another"), trade=True)
    assert found["K001"] == "error"
    assert "K002" not in found


@pytest.mark.parametrize("number", ["suspended", "unknown"])
def test_a_household_that_may_not_order(tmp_path: Path, live: Live, number: str) -> None:
    household = live.suspended if number == "suspended" else 999
    more = f"[household]\nnumber = {household}\n"
    assert on_chain(tmp_path, live, more)["K002"] == "error"


def test_another_chain_ends_the_questions(tmp_path: Path, live: Live) -> None:
    found = on_chain(tmp_path, live, chain_id=live.chain_id + 1)
    assert found["N002"] == "error"
    assert not found.keys() & {"N003", "N004", "K001", "K002"}


@pytest.mark.parametrize("place", ["nothing", "registry"])
def test_a_market_that_is_none(tmp_path: Path, live: Live, place: str) -> None:
    market = live.registry if place == "registry" else "0x" + "12" * 20
    found = on_chain(tmp_path, live, market=market)
    assert found["N004"] == "error"
    assert "K002" not in found


# What is sent to helpers


def test_a_dump_says_how_the_node_is_and_not_whose_it_is(tmp_path: Path, live: Live) -> None:
    """Canaries: whatever is private stands in the settings, the database, a file or a fault."""
    host = socket.gethostname()
    secret = tmp_path / "broker-password"
    secret.write_text(BROKER_PASSWORD)
    secret.chmod(0o600)
    with NodeDatabase.open(tmp_path / "node.db") as database:
        database.add_reading(RegisterReading(METER_ID, 900, 123_456_789, 5))
        database.set_meter_state("meter", json.dumps({"prm": PRM}))
    state = replace(STATE, last_frame_at_s=SystemClock().now_s(), power_w=4_321)
    fault = f"meter {METER_ID} at {PRM} on {host} ({live.url}) said no to alice@example.org"
    more: dict[str, object] = {
        "meter": {"state": "silent", "fault": fault, "power_w": 4_321},
        "troubles": [{"message": fault, "next_step": f"ask {host}", "since_s": 5}],
        "today": {"import_wh": 123_456_789},
    }
    text = asyncio.run(dump_beside_a_node(tmp_path, state, more, live))
    document = json.loads(text)
    assert document["schema"] == "daisee.dump/1"
    assert document["settings"]["meter.kind"] == "json"
    assert document["settings"]["storage.keep_backups"] == 7
    assert document["status"]["node"]["counters"]["frames"] == 10_000
    assert document["status"]["meter"]["state"] == "silent"
    assert {row["id"] for row in document["doctor"]["checks"]} >= {"C001", "M002", "N001", "K002"}
    canaries = {
        "the key": SIGNER.secret.hex(),
        "its address": SIGNER.address,
        "its password": PASSWORD,
        "the broker's password": BROKER_PASSWORD,
        "the delivery point": PRM,
        "the meter": METER_ID,
        "this machine": host,
        "the broker": "mqtt.maison-dupont.example",
        "the RPC": live.url,
        "the RPC's port": live.url.rpartition(":")[2],
        "the market": live.market,
        "the household": "Dupont",
        "the user of the broker": "marie.dupont",
        "the topic": "chez-dupont",
        "a folder": str(tmp_path),
        "an e-mail address": "alice@example.org",
        "energy": "123456789",
        "power": "4321",
    }
    for what, canary in canaries.items():
        # By itself or as a part of anything but a longer number or word.
        alone = rf"(?<![0-9a-z]){re.escape(canary.lower())}(?![0-9a-z])"
        assert re.search(alone, text.lower()) is None, what


async def dump_beside_a_node(
    folder: Path, state: PublishedState, more: dict[str, object], live: Live
) -> str:
    async with serve_status(lambda: state, version="1.0", more=lambda: more) as port:
        meter = (
            'kind = "json"\nbroker = "mqtt.maison-dupont.example"\ntopic = "chez-dupont/compteur"\n'
            f'meter_id = "{METER_ID}"\n'
            'paths = [{register = "import_wh", path = "Dupont.total", unit = "kWh"}]'
        )
        sections = (
            live.section(trade=True)
            + f'[household]\nname = "Famille Dupont"\nnumber = {live.member}\n'
            + key_section(folder)
            + '[publish]\nbroker = "mqtt.maison-dupont.example"\nuser = "marie.dupont"\n'
            + 'password_file = "broker-password"\nname = "Chez Dupont"\n'
            + f"[metrics]\nport = {port}\n"
        )
        file = settings(folder, meter, sections)
        done = await asyncio.to_thread(daisee, "dump", "--config", str(file))
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("slip", ["in a room", "in a section"])
def test_settings_that_are_wrong_leave_nothing_behind_either(tmp_path: Path, slip: str) -> None:
    wrong = 'bauds = "hunter2-canary"'
    lines = f'kind = "linky"\nport = "/dev/serial/by-id/usb-{METER_ID}"\n'
    broken = f"[chian]\n{wrong}\n" if slip == "in a section" else ""
    lines += "" if broken else wrong
    file = settings(tmp_path, lines, f'{broken}[publish]\nbroker = "mqtt.maison-dupont.example"')
    done = daisee("dump", "--config", str(file))
    document = json.loads(done.stdout)
    assert (document["settings"] is None) == bool(broken)
    assert document["doctor"]["worst"] == "error"
    for canary in (METER_ID, "hunter2", "dupont", str(tmp_path)):
        assert canary not in done.stdout


def test_a_linky_in_historic_mode_is_heard_too(tmp_path: Path) -> None:
    with serial_line() as line, speaking(line, HistoricMeter().frame):
        found = asked(settings(tmp_path, on_line(line)))
    assert (found["M002"], found["M003"]) == ("ok", "ok")
