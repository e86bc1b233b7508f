"""Meters that are asked over HTTP, against a real server on loopback."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from node.clock import ManualClock
from node.errors import MeterError, MeterSilent
from node.meter.codec import MeterFrame, Rejected
from node.meter.settings import MeterSettings
from node.meter.sources import connect_for
from tests.support.arrivals import first_arrivals, first_frames
from tests.support.shared import shared_path

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NOON_S: Final = 1_790_000_000


@asynccontextmanager
async def device(answers: dict[str, Handler]) -> AsyncIterator[str]:
    """A device that knows these paths; its address."""
    application = web.Application()
    for path, handler in answers.items():
        application.router.add_route("*", path, handler)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def says(text: str, status: int = 200) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, status=status)

    return answer


def ask(
    answers: dict[str, Handler], count: int = 1, clock: ManualClock | None = None, **table: object
) -> list[MeterFrame]:
    async def run() -> list[MeterFrame]:
        async with device(answers) as url:
            path = table.pop("path", "")
            chosen = MeterSettings.from_table({"url": f"{url}{path}", **table}, Path("node.toml"))
            return await first_frames(connect_for(chosen, clock or ManualClock(NOON_S)), count)

    return asyncio.run(run())


SWITCH: Final = (
    '{"sys": {"mac": "A1B2", "unixtime": 1790000000}, "switch:0": {"id": 0, "apower": 12.6,'
    ' "aenergy": {"total": 600.5}, "ret_aenergy": {"total": 100.0}}}'
)


def test_shelly_of_the_second_generation() -> None:
    (frame,) = ask({"/rpc/Shelly.GetStatus": says(SWITCH)}, kind="shelly")
    assert (frame.meter_id, frame.import_wh, frame.export_wh, frame.power_w) == (
        "A1B2/switch:0",
        500,
        100,
        13,
    )
    assert frame.taken_at_s == NOON_S


def test_shelly_of_the_first_generation_is_found_and_then_asked_at_once() -> None:
    status = shared_path("frames/shelly/evcc-gen1-status-1pm.json").read_text()
    asked: list[str] = []

    async def absent(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=404)

    frames = ask({"/rpc/Shelly.GetStatus": absent, "/status": says(status)}, 3, kind="shelly")
    assert [frame.import_wh for frame in frames] == [107_875] * 3
    assert asked == ["/rpc/Shelly.GetStatus"]


def test_one_of_a_devices_meters_is_chosen_by_its_name() -> None:
    other = SWITCH.replace('"switch:0": {"id": 0', '"switch:1": {"id": 1')
    both = SWITCH[:-1] + ", " + other[other.index('"switch:1"') :]
    answers = {"/rpc/Shelly.GetStatus": says(both)}
    assert {frame.meter_id for frame in ask(answers, 4, kind="shelly")} == {
        "A1B2/switch:0",
        "A1B2/switch:1",
    }
    chosen = ask(answers, 4, kind="shelly", meter_id="A1B2/switch:1")
    assert [frame.meter_id for frame in chosen] == ["A1B2/switch:1"] * 4


def test_tasmota_is_asked_for_its_sensors_then_in_the_old_way() -> None:
    said = '{"StatusSNS": {"ENERGY": {"Total": 3.5, "Power": 40}}}'
    asked: list[str] = []

    async def command(request: web.Request) -> web.Response:
        asked.append(request.query["cmnd"])
        return web.Response(text=said if request.query["cmnd"] == "Status 8" else "{}")

    frames = ask({"/cm": command}, 2, kind="tasmota")
    assert [(frame.import_wh, frame.power_w) for frame in frames] == [(3500, 40)] * 2
    assert asked == ["Status 10", "Status 8", "Status 8"]


def test_polls_at_its_own_pace() -> None:
    clock = ManualClock(NOON_S)
    ask({"/rpc/Shelly.GetStatus": says(SWITCH)}, 4, clock, kind="shelly", poll_s=7)
    assert clock.now_s() == NOON_S + 3 * 7


def test_the_base_of_citizenwatt_is_asked_with_a_form(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")

    async def measure(request: web.Request) -> web.Response:
        form = await request.post()
        is_known = (form.get("login"), form.get("password")) == ("me", "secret")
        text = '{"data": {"value": 450, "timestamp": 1790000000}}'
        return web.Response(text=text if is_known else "", status=200 if is_known else 403)

    (frame,) = ask(
        {"/api/3/get/watts/by_id/-1": measure},
        kind="citizenwatt",
        sensor=3,
        user="me",
        password_file=str(password),
    )
    assert (frame.meter_id, frame.power_va, frame.power_w) == ("citizenwatt/3", 450, None)


def test_any_json_with_a_basic_login(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")
    expected = "Basic " + base64.b64encode(b"me:secret").decode()

    async def value(request: web.Request) -> web.Response:
        is_known = request.headers.get("Authorization") == expected
        return web.Response(text='{"total": [1.5, 2]}', status=200 if is_known else 401)

    (frame,) = ask(
        {"/value": value},
        path="/value",
        kind="json",
        user="me",
        password_file=str(password),
        meter_id="grid",
        paths=[
            {"register": "import_wh", "path": "total.0", "unit": "kWh"},
            {"register": "import_wh", "path": "total.1", "unit": "kWh"},
        ],
    )
    assert (frame.meter_id, frame.import_wh) == ("grid", 3500)


def test_a_digest_login_as_newer_shellies_want_it(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")

    def digest(*parts: str) -> str:
        return hashlib.sha256(":".join(parts).encode()).hexdigest()

    async def status(request: web.Request) -> web.Response:
        said = dict(re.findall(r'(\w+)="?([^",]+)', request.headers.get("Authorization", "")))
        if said:
            secret = digest(said["username"], "shelly", "secret")
            asked = digest("GET", "/rpc/Shelly.GetStatus")
            expected = digest(secret, "abc", said["nc"], said["cnonce"], "auth", asked)
            if said["response"] == expected:
                return web.Response(text=SWITCH)
        challenge = 'Digest qop="auth", realm="shelly", nonce="abc", algorithm=SHA-256'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    (frame,) = ask(
        {"/rpc/Shelly.GetStatus": status},
        kind="shelly",
        user="admin",
        password_file=str(password),
    )
    assert frame.import_wh == 500


def test_a_device_that_wants_another_password_needs_a_person() -> None:
    with pytest.raises(MeterError, match="wants a user"):
        ask({"/rpc/Shelly.GetStatus": says("", 401)}, kind="shelly")


def test_a_device_that_is_off_is_silent() -> None:
    chosen = MeterSettings.from_table(
        {"kind": "shelly", "url": "http://127.0.0.1:9"}, Path("node.toml")
    )
    with pytest.raises(MeterSilent, match="does not answer"):
        asyncio.run(first_frames(connect_for(chosen, ManualClock()), 1))


def test_nonsense_and_floods_are_refused_and_asked_again() -> None:
    texts = iter(["<html>", "x" * 200_000, SWITCH])

    async def moody(_: web.Request) -> web.Response:
        return web.Response(text=next(texts))

    async def run() -> list[object]:
        async with device({"/rpc/Shelly.GetStatus": moody, "/status": says("", 500)}) as url:
            chosen = MeterSettings.from_table({"kind": "shelly", "url": url}, Path("node.toml"))
            found = await first_arrivals(connect_for(chosen, ManualClock(NOON_S)), 1)
            return [item.decoded for item in found]

    decoded = asyncio.run(run())
    reasons = [item.reason for item in decoded if isinstance(item, Rejected)]
    assert any("not JSON" in reason for reason in reasons)
    assert any("has 65536 at most" in reason for reason in reasons)
    assert any("/status answered 500" in reason for reason in reasons)
    assert isinstance(decoded[-1], MeterFrame)
