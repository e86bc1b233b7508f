"""``daisee meter detect``: what speaks on the ports of this machine and behind brokers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import click

from node.cli.meter_options import COMMAND_LINE, toml_text
from node.cli.output import energy_text, example, json_option, say, say_document
from node.errors import MeterSilent
from node.meter.codec import MeterFrame
from node.meter.detect import (
    LISTEN_S,
    Finding,
    Port,
    PortVerdict,
    listen_to_ports,
    serial_ports,
)
from node.meter.detect_broker import BrokerVerdict, Device, listen_to_broker
from node.meter.settings import BrokerSettings, MeterSettings
from node.meter.teleinfo import NOT_PRODUCER, NOT_PRODUCER_FR

__all__ = ["detect"]


@click.command(
    short_help="Find meters on serial ports and brokers.",
    epilog=example(
        "daisee meter detect",
        "daisee meter detect --broker homeassistant.local --user me --password-file mqtt.password",
    ),
)
@click.option("--port", "ports", multiple=True, help="Listen to this port alone; may be repeated.")
@click.option("--broker", "brokers", multiple=True, help="Listen to this MQTT broker, too.")
@click.option("--user", help="User of the brokers.")
@click.option("--password-file", help="File with the password in its first line.")
@click.option("--tls", is_flag=True, help="Speak TLS to the brokers.")
@click.option("--ca-file", help="Certificate of a broker that the system does not know.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 600),
    default=LISTEN_S,
    show_default=True,
    help="How long to listen at each speed, and to each broker.",
)
@json_option
def detect(
    ports: tuple[str, ...],
    brokers: tuple[str, ...],
    user: str | None,
    password_file: str | None,
    ca_file: str | None,
    seconds: float,
    *,
    tls: bool,
    as_json: bool,
) -> None:
    """Find meters: what speaks on which serial port, at which speed, and which devices behind a
    broker tell energy. Prints the [meter] table to paste into the settings.

    Nothing is sent to anything. A port takes a minute at most.
    """
    more = {"user": user, "password_file": password_file, "tls": tls or None, "ca_file": ca_file}
    places = [_broker(address, more) for address in brokers]
    chosen = [Port(path, path) for path in ports]
    if not chosen and not places:
        chosen = serial_ports()
    click.echo(f"listening to {len(chosen)} ports and {len(places)} brokers ...", err=True)
    heard, surveyed = asyncio.run(_listen(chosen, places, seconds))
    if as_json:
        say_document(
            {
                "ports": [_port_document(verdict) for verdict in heard],
                "brokers": [_broker_document(verdict) for verdict in surveyed],
            }
        )
    else:
        for verdict in heard:
            _say_port(verdict)
        for survey in surveyed:
            _say_broker(survey)
    speaks = any(verdict.table for verdict in heard) or any(item.devices for item in surveyed)
    if not speaks:
        raise MeterSilent("no meter was found", next_step=_next_step(chosen))


def _next_step(chosen: Sequence[Port]) -> str:
    if chosen:
        return "check the wires; docs/meters.md says how each meter is connected"
    return "plug an adapter in, or name a broker with --broker"


def _broker(address: str, more: Mapping[str, object]) -> BrokerSettings:
    """A broker as the settings would have it, and with the same faults."""
    given = {name: value for name, value in more.items() if value is not None}
    table = {"kind": "tasmota", "broker": address, **given}
    broker = MeterSettings.from_table(table, COMMAND_LINE).broker
    assert broker is not None
    return broker


async def _listen(
    ports: Sequence[Port], brokers: Sequence[BrokerSettings], seconds: float
) -> tuple[list[PortVerdict], list[BrokerVerdict]]:
    async with asyncio.TaskGroup() as group:
        heard = group.create_task(listen_to_ports(ports, seconds), name="ports")
        surveys = [
            group.create_task(listen_to_broker(broker, seconds), name=f"broker {broker.host}")
            for broker in brokers
        ]
    return heard.result(), [survey.result() for survey in surveys]


def _notes(frame: MeterFrame) -> list[str]:
    """What the frame notes; about injection also in the language of who has a Linky."""
    notes = list(frame.notes)
    return [*notes, NOT_PRODUCER_FR] if NOT_PRODUCER in notes else notes


def _port_document(verdict: PortVerdict) -> dict[str, object]:
    document: dict[str, object] = {
        "port": verdict.port.path,
        "device": verdict.port.device,
        "description": verdict.port.description,
        "finding": verdict.finding.value,
        "heard_bytes": verdict.heard_bytes,
        "kind": verdict.kind,
        "baud": None if verdict.line is None else verdict.line.baud,
        "mode": None if verdict.line is None else verdict.line.mode.value,
        "reason": verdict.reason,
        "toml": toml_text(verdict.table) if verdict.table else None,
        "frame": None,
    }
    frame = verdict.frame
    if frame is not None:
        document["frame"] = {
            "meter_id": frame.meter_id,
            "import_wh": frame.import_wh,
            "export_wh": frame.export_wh,
            "power_w": frame.power_w,
            "power_va": frame.power_va,
            "evidence_class": frame.evidence_class.value,
            "fields": dict(frame.fields),
            "notes": _notes(frame),
        }
    return document


def _broker_document(verdict: BrokerVerdict) -> dict[str, object]:
    return {
        "broker": f"{verdict.broker.host}:{verdict.broker.port}",
        "messages": verdict.messages,
        "trouble": verdict.trouble,
        "devices": [
            {
                "kind": device.kind,
                "topic": device.topic,
                "messages": device.messages,
                "meter_id": device.meter_id,
                "import_wh": device.import_wh,
                "export_wh": device.export_wh,
                "power_w": device.power_w,
                "power_va": device.power_va,
                "names": list(device.names),
                "is_certain": device.is_certain,
                "toml": toml_text(verdict.table(device)),
            }
            for device in verdict.devices
        ],
    }


def _say_port(verdict: PortVerdict) -> None:
    name = verdict.port.path
    if verdict.port.device != name:
        name += f" ({verdict.port.device})"
    said = f"{name}: {verdict.finding}"
    if verdict.kind is not None:
        said += f", {verdict.kind} at {verdict.line}"
    say(said + (f": {verdict.reason}" if verdict.reason else ""))
    if verdict.frame is not None:
        _say_frame(verdict.frame)
    if verdict.finding is Finding.ENCRYPTED:
        say("  note: ask your network operator for the key; write it into the key file")
    _say_table(verdict.table)


def _say_frame(frame: MeterFrame) -> None:
    power = "-" if frame.power_w is None else f"{frame.power_w} W"
    if frame.power_va is not None:
        power = f"{frame.power_va} VA"
    say(
        f"  meter {frame.meter_id or 'without a name'}: import {energy_text(frame.import_wh)} kWh,"
        f" export {energy_text(frame.export_wh)} kWh, power {power}"
    )
    for note in _notes(frame):
        say(f"  note: {note}")


def _say_broker(verdict: BrokerVerdict) -> None:
    name = f"{verdict.broker.host}:{verdict.broker.port}"
    if verdict.trouble:
        say(f"{name}: {verdict.trouble}")
        return
    say(f"{name}: {verdict.messages} messages, {len(verdict.devices)} devices that tell energy")
    for device in verdict.devices:
        _say_device(verdict, device)


def _say_device(verdict: BrokerVerdict, device: Device) -> None:
    power = "-" if device.power_w is None else f"{device.power_w} W"
    say(f"  {device.kind} {device.topic}: {device.messages} messages")
    if device.is_certain:
        say(
            f"    import {energy_text(device.import_wh)} kWh,"
            f" export {energy_text(device.export_wh)} kWh, power {power}"
        )
    else:
        say(f"    names: {', '.join(device.names)}")
        say("    note: which of these are registers, and in which unit, only you know: check paths")
    _say_table(verdict.table(device))


def _say_table(table: dict[str, object]) -> None:
    if table:
        say()
        for line in toml_text(table).splitlines():
            say(f"  {line}")
        say()
