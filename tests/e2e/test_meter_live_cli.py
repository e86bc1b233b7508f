"""``daisee meter detect``, ``watch`` and ``record`` as processes, on real lines and brokers."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from click.testing import CliRunner

from node.cli.main import cli
from node.cli.meter import _LIVE, meter
from node.clock import wall_seconds
from node.meter.settings import MeterSettings
from node.meter.teleinfo import NOT_PRODUCER, NOT_PRODUCER_FR
from tests.support.broker import broker
from tests.support.p1_telegrams import telegram
from tests.support.serial_line import SerialLine, serial_line
from tests.support.shared import CHECKOUT
from tests.support.teleinfo_frames import HistoricMeter, StandardMeter

WITHIN_S = 60.0


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "node.cli.main", "meter", *arguments],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "120"},
    )


def run(*arguments: str, meanwhile: Callable[[], None] = lambda: None) -> tuple[int, str, str]:
    """Exit code, output and errors of a command; ``meanwhile`` runs again and again."""
    process = start(*arguments)
    give_up_s = wall_seconds() + WITHIN_S
    while wall_seconds() < give_up_s:
        meanwhile()
        try:
            output, errors = process.communicate(timeout=0.25)
        except subprocess.TimeoutExpired:
            continue
        return process.returncode, output, errors
    process.kill()
    output, errors = process.communicate()
    pytest.fail(f"still running after {WITHIN_S} s:\n{output}\n{errors}")


def speaking(line: SerialLine, said: bytes, speed: int) -> Callable[[], None]:
    """A meter that speaks at one speed: at every other, noise arrives."""

    def speak() -> None:
        line.say(said if line.settings()[2] == speed else b"\xf8\x00\x1e\xfe\x80" * 20)

    return speak


B1200, B9600, B115200 = 9, 13, 4098


def test_detects_a_linky_that_will_never_tell_injection() -> None:
    with serial_line() as line:
        code, output, _ = run(
            "detect",
            "--port",
            line.path,
            "--seconds",
            "2",
            meanwhile=speaking(line, HistoricMeter().frame(), B1200),
        )
    assert code == 0
    assert "linky-historic at 1200 7E1" in output
    assert "021861348497" in output
    assert NOT_PRODUCER in output
    assert NOT_PRODUCER_FR in output
    table = tomllib.loads(output[output.index("[meter]") :])["meter"]
    settings = MeterSettings.from_table(table, Path("node.toml"))
    assert (settings.kind, settings.port) == ("linky-historic", line.path)


@pytest.mark.parametrize(
    ("said", "speed", "kind", "baud"),
    [
        (StandardMeter(export_wh=5).frame(), B9600, "linky-standard", 9600),
        (telegram(), B115200, "dsmr-p1", 115200),
        (b"MSG:1,V1:234.5,P1:100,E1:5\r\n", B115200, "emon", 115200),
    ],
    ids=["standard", "p1", "emon"],
)
def test_detects_speed_and_kind(said: bytes, speed: int, kind: str, baud: int) -> None:
    with serial_line() as line:
        code, output, _ = run(
            *("detect", "--port", line.path, "--seconds", "2", "--json"),
            meanwhile=speaking(line, said, speed),
        )
    document = json.loads(output)
    (port,) = document["ports"]
    assert (code, port["finding"], port["kind"], port["baud"]) == (0, "speaks", kind, baud)
    assert port["frame"]["fields"]
    table = tomllib.loads(port["toml"])["meter"]
    assert MeterSettings.from_table(table, Path("node.toml")).port == line.path


def test_a_silent_port_and_a_noisy_one_are_told_apart() -> None:
    with serial_line() as silent, serial_line() as noisy:
        code, output, errors = run(
            *("detect", "--port", silent.path, "--port", noisy.path, "--seconds", "1", "--json"),
            meanwhile=lambda: noisy.say(b"\xf8\x00\x1e"),
        )
    ports = {port["port"]: port["finding"] for port in json.loads(output)["ports"]}
    assert ports == {silent.path: "silent", noisy.path: "not understood"}
    assert code == 4
    assert "no meter was found" in errors


async def _publish(port: int, messages: dict[str, Any]) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        for topic, payload in messages.items():
            await client.publish(topic, json.dumps(payload), qos=1)


def test_detects_the_devices_of_a_broker(tmp_path: Path) -> None:
    messages = {
        "tele/plug/SENSOR": {"ENERGY": {"Total": 1.5, "Power": 20}},
        "tele/lamp/STATE": {"POWER": "ON"},
        "home/tele/attic/SENSOR": {"ENERGY": {"Total": 2.5, "Power": 20}},
        "shellies/em-1/emeter/0/total": 100.5,
        "plus-1/status/em:0": {"id": 0, "total_act_power": 300.0},
        "emon/emonpi/E1": 1200,
        "zigbee2mqtt/meter": {"energy": 3.5, "power": 55, "linkquality": 90},
    }
    with broker(tmp_path) as server:
        address = f"127.0.0.1:{server.port}"
        code, output, _ = run(
            *("detect", "--broker", address, "--seconds", "4", "--json"),
            meanwhile=lambda: asyncio.run(_publish(server.port, messages)),
        )
    (survey,) = json.loads(output)["brokers"]
    assert code == 0
    found = {(device["kind"], device["topic"]): device for device in survey["devices"]}
    assert set(found) == {
        ("tasmota", "plug"),
        ("tasmota", "home/tele/attic/SENSOR"),
        ("shelly", "em-1"),
        ("shelly", "plus-1"),
        ("emon", "emonpi"),
        ("json", "zigbee2mqtt/meter"),
    }
    assert found["tasmota", "plug"]["import_wh"] == 1500
    for device in survey["devices"]:
        table = tomllib.loads(device["toml"])["meter"]
        settings = MeterSettings.from_table(table, Path("node.toml"))
        assert settings.topic == device["topic"]
        assert device["is_certain"] == (device["kind"] in {"tasmota", "shelly"})


def test_a_broker_that_is_not_there_is_said(tmp_path: Path) -> None:
    with broker(tmp_path) as server:
        address = f"127.0.0.1:{server.port}"
    code, output, _ = run("detect", "--broker", address, "--seconds", "1")
    assert code == 4
    assert "cannot be reached" in output


def test_watch_prints_one_document() -> None:
    """The register jumps to and fro: a node would not believe it, whichever frame comes first."""
    calm, jumped = StandardMeter(), StandardMeter().used(50_000)
    damaged = jumped.frame().replace(b"SINSTS", b"SINSTZ", 1)
    with serial_line() as line:
        code, output, _ = run(
            *("watch", "--kind", "linky", "--port", line.path, "--frames", "6", "--json"),
            meanwhile=lambda: line.say(calm.frame() + damaged),
        )
    document = json.loads(output)
    (seen,) = document["meters"]
    assert (code, document["frames"], seen["kind"]) == (0, 6, "linky-standard")
    assert seen["import_wh"] in {calm.import_wh, jumped.import_wh}
    assert seen["power_va"] == 1198
    assert "power_w" not in seen
    assert seen["held"] == document["held"] >= 1
    assert document["refused"] >= 1
    total = document["accepted"] + document["refused"]
    assert document["refused_ppm"] == document["refused"] * 1_000_000 // total


def test_watch_writes_a_line_for_each_frame_until_it_is_interrupted() -> None:
    said = HistoricMeter().frame()
    with serial_line() as line:
        process = start("watch", "--kind", "linky-historic", "--port", line.path)
        assert process.stdout is not None
        output = process.stdout.fileno()
        heard, give_up_s = b"", wall_seconds() + WITHIN_S
        while heard.count(b"2830 VA") < 2 and wall_seconds() < give_up_s:
            line.say(said)
            if select.select([output], [], [], 0.2)[0]:
                heard += os.read(output, 4096)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert heard.count(b"2830 VA") >= 2
    assert f"note: {NOT_PRODUCER}".encode() in heard
    assert "0 values held" in rest
    assert process.returncode == 0


def test_watch_of_a_silent_line_exits_with_4() -> None:
    with serial_line() as line:
        code, output, errors = run(
            *("watch", "--kind", "sml", "--port", line.path, "--seconds", "1", "--json")
        )
    assert (code, json.loads(output)["frames"]) == (4, 0)
    assert "no frame was understood" in errors


def test_watch_of_an_unplugged_line_says_what_it_had(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    with serial_line() as line:
        config.write_text(f'[meter]\nkind = "linky"\nport = "{line.path}"\n')
        beats = iter(range(1_000))

        def speak_then_pull() -> None:
            if next(beats) < 16:
                line.say(StandardMeter().frame())
            else:
                line.unplug()

        code, output, errors = run("watch", "--config", str(config), meanwhile=speak_then_pull)
    assert code == 4
    assert "1198 VA" in output
    assert "is gone" in errors


def test_a_recording_decodes_again_and_names_nobody(tmp_path: Path) -> None:
    file = tmp_path / "linky.tic"
    told = StandardMeter(export_wh=7)
    with serial_line() as line:
        code, output, errors = run(
            *("record", str(file), "--kind", "linky", "--port", line.path, "--seconds", "4"),
            meanwhile=lambda: line.say(told.frame()),
        )
    assert (code, "are replaced" in output) == (0, True), errors
    content = file.read_bytes()
    assert told.meter_id.encode() not in content
    assert b"25203473204149" not in content
    document = json.loads(CliRunner().invoke(cli, ["meter", "decode", str(file), "--json"]).stdout)
    assert document["rejected"] == []
    assert document["meter_id"] == "X" * 12
    assert {reading["import_wh"] for reading in document["readings"]} == {told.import_wh}


@pytest.mark.parametrize("kind", ["linky", "dsmr-p1"])
def test_what_cannot_be_made_nameless_is_kept_only_on_request(tmp_path: Path, kind: str) -> None:
    """Noise, or a meter that nobody understands: what people send to be helped."""
    file = tmp_path / "noise.bin"
    said = b"\x80 ADSC 061976543218 \xff" * 9
    with serial_line() as line:
        record = ("record", str(file), "--kind", kind, "--port", line.path, "--seconds", "4")
        code, _, errors = run(*record, meanwhile=lambda: line.say(said))
        assert (code, file.exists()) == (4, False)
        assert "--with-ids" in errors
        code, _, errors = run(*record, "--with-ids", meanwhile=lambda: line.say(said))
        assert code == 0, errors
    assert said in file.read_bytes()


def test_a_recording_of_a_broker_decodes_again(tmp_path: Path) -> None:
    file = tmp_path / "plug.ndjson"
    messages = {"tele/plug/SENSOR": {"ENERGY": {"Total": 1.5, "Power": 20}}}
    with broker(tmp_path) as server:
        address = f"127.0.0.1:{server.port}"
        code, output, _ = run(
            *("record", str(file), "--kind", "tasmota", "--broker", address, "--seconds", "4"),
            "--json",
            meanwhile=lambda: asyncio.run(_publish(server.port, messages)),
        )
    document = json.loads(output)
    assert (code, document["is_redacted"]) == (0, False)
    decoded = json.loads(CliRunner().invoke(cli, ["meter", "decode", str(file), "--json"]).stdout)
    assert len(decoded["readings"]) == document["frames"] > 0


def test_a_recording_never_overwrites(tmp_path: Path) -> None:
    file = tmp_path / "linky.tic"
    file.write_bytes(b"mine")
    code, _, errors = run("record", str(file), "--port", "/dev/null")
    assert (code, file.read_bytes()) == (3, b"mine")
    assert "exists already" in errors


def test_a_replayed_recording_is_watched_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "linky.tic"
    file.write_bytes(StandardMeter().frame() * 2)
    code, output, _ = run(
        "watch", "--replay", str(file), "--pace", "10", "--json", "--seconds", "9"
    )
    document = json.loads(output)
    assert (code, document["frames"]) == (0, 2)
    assert document["meters"][0]["evidence_class"] == "C"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["watch", "--port", "/dev/x", "--json"], 2, "needs --seconds or --frames"),
        (["watch", "--broker", "h", "--frames", "1"], 2, "--kind is missing"),
        (["watch", "--kind", "linky", "--broker", "h"], 3, "linky is not reached by broker"),
        (["watch", "--config", "/nowhere.toml"], 3, "cannot be read"),
        (["record", "x.bin", "--kind", "sunspec", "--url", "modbus://h"], 3, "cannot be recorded"),
        (["detect", "--broker", "h:0"], 3, "no port from 1 to 65535"),
    ],
)
def test_faults_end_with_their_code(arguments: list[str], code: int, words: str) -> None:
    result = CliRunner().invoke(cli, ["meter", *arguments])
    assert result.exit_code == code, result.output
    assert words in " ".join(result.stderr.split())


def test_the_list_of_commands_says_what_each_command_says_of_itself() -> None:
    context = meter.make_context("meter", [], resilient_parsing=True)
    for name, (_, short_help) in _LIVE.items():
        command = meter.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str() == short_help
        text = CliRunner().invoke(cli, ["meter", name, "--help"]).stdout
        assert text.count("Example:") == 1
        assert f"  daisee meter {name}" in text
        assert "--json" in text
