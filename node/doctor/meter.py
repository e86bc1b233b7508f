"""The meter: is it there, does it speak, does what it says arrive whole.

A node that runs has the port to itself; then its status page is asked. Otherwise the meter is
listened to for some seconds, just as the node would.
"""

from __future__ import annotations

import asyncio
import grp
import os
import stat
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from node.doctor.case import Case
from node.doctor.findings import Finding, error, ok, warning
from node.errors import MeterSilent
from node.meter.arrivals import Arrived
from node.meter.codec import MeterFrame
from node.meter.health import MeterState
from node.meter.lines import LINES
from node.meter.settings import MeterSettings, Way
from node.meter.sources import connect_for
from node.meter.teleinfo.frames import NOT_PRODUCER
from node.meter.vouching import CLOCK_STANDS
from node.service.rooms import meter_of
from node.units import duration_text

__all__ = ["Heard", "heard_findings", "meter_checks", "port_finding"]

LISTEN_S: Final = 5.0
"""Long enough for a frame of every meter that speaks by itself and often."""

FIRST_SHARE: Final = 0.4
"""Of that time, what the likeliest way of a serial line has, if there are several: a Linky in
standard mode needs less than half of what one in historic mode does."""

ENOUGH: Final = 2
"""Frames after which nothing more is to be learnt."""

MOST_HEARD: Final = 500

ODD_SHARE: Final = 4
"""One byte in so many that stands in no text is noise, or the wrong speed."""

_TEXT: Final = bytes(range(0x20, 0x7F)) + b"\x02\x03\x04\t\n\r"
_TEXT_KINDS: Final = frozenset({"linky", "linky-historic", "linky-standard", "dsmr-p1", "emon"})

DAMAGED_WARNING_PERCENT: Final = 1
DAMAGED_ERROR_PERCENT: Final = 20
FEW: Final = 20
"""Of fewer frames than this a share says little: the first one heard is often cut."""

STALE_PERIODS: Final = 3
CLOCK_WARNING_S: Final = 30

_TO_CONFIRM: Final = frozenset(
    {MeterState.OTHER_METER, MeterState.SWAP_TO_CONFIRM, MeterState.RESTART_TO_CONFIRM}
)

_HISTORIC: Final = "linky-historic"
_PRODUCER_STEP: Final = "ask your supplier to have the Linky put into standard and producer mode"


@dataclass(slots=True)
class Heard:
    """What came while listening. ``silence`` says for how long nothing more did, ``lost`` what kept
    the connection from being made or held. ``is_noise``: in whichever way the line was set, what
    came could not be this meter's.
    """

    frames: list[MeterFrame] = field(default_factory=list)
    rejected: int = 0
    clock_off_s: int | None = None
    silence: str = ""
    lost: str = ""
    lost_step: str = ""
    raw_bytes: int = 0
    odd_bytes: int = 0
    is_noise: bool = False

    def keep(self, chunk: bytes) -> None:
        """Count raw bytes, and those of them that stand in no text."""
        self.raw_bytes += len(chunk)
        self.odd_bytes += len(chunk.translate(None, _TEXT))

    def take(self, arrived: Arrived) -> None:
        """Note one thing that arrived; what a broker had kept may be old and says nothing."""
        if not isinstance(arrived.decoded, MeterFrame):
            self.rejected += 1
        elif not arrived.retained:
            self.frames.append(arrived.decoded)
            if arrived.decoded.taken_at_s is not None:
                self.clock_off_s = arrived.at_s - arrived.decoded.taken_at_s


async def meter_checks(case: Case) -> AsyncIterator[Finding]:
    """M001, M002, M003, M005 and T003."""
    settings = meter_of(case.config)
    port = port_finding(settings)
    yield port
    if case.page is not None:
        for finding in _shown_findings(case, settings):
            yield finding
    elif case.is_running:
        yield warning(
            "M002",
            "the node that runs has the meter to itself, and shows no page to ask",
            "set serve = true in [metrics]",
        )
    elif port.next_step == "":
        for finding in heard_findings(await _listen(case, settings), settings):
            yield finding


def port_finding(settings: MeterSettings) -> Finding:
    """M001: what can be said of the way to the meter without going it."""
    if settings.way not in (Way.SERIAL, Way.FILE):
        return ok("M001", f"{settings.kind} is reached over the network")
    path = Path(settings.port or str(settings.file))
    try:
        found = path.stat()
    except OSError as failure:
        return error(
            "M001",
            f"{path}: {failure.strerror}",
            "plug it in and see 'daisee meter detect' for what there is",
        )
    needed = os.R_OK | os.W_OK if stat.S_ISCHR(found.st_mode) else os.R_OK
    if not os.access(path, needed):
        group = _group_name(found.st_gid)
        return error(
            "M001",
            f"this user may not open {path}, of group {group}",
            f"sudo usermod -aG {group} USER, then log in again; the service's own user has it",
        )
    return ok("M001", str(path))


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


async def _listen(case: Case, settings: MeterSettings) -> Heard:
    """Listen as the node would, until enough was heard or the time is up."""
    heard = Heard(is_noise=True)
    for turn, listen_s in _turns(settings):
        earlier, heard = heard, Heard()
        await _listen_for(heard, case, turn, listen_s)
        if heard.frames:
            return heard  # what was no frame at another speed says nothing about this line
        heard.is_noise = earlier.is_noise and _is_noise(heard, settings)
        heard.rejected += earlier.rejected
        heard.raw_bytes += earlier.raw_bytes
    return heard


def _is_noise(heard: Heard, settings: MeterSettings) -> bool:
    """Whether what came without a frame in it cannot be this meter's. Of a line's telegram one half
    may have been heard, of a broker's messages those of other devices."""
    if settings.way in (Way.SERIAL, Way.TCP):
        is_text = settings.kind in _TEXT_KINDS and settings.key_file is None
        has_odd = is_text and heard.odd_bytes * ODD_SHARE > heard.raw_bytes
        return heard.rejected > 1 or has_odd
    topic = settings.topic
    hears_others = settings.way is Way.MQTT and (topic is None or "+" in topic or "#" in topic)
    return heard.rejected > 0 and not hears_others


def _turns(settings: MeterSettings) -> Sequence[tuple[MeterSettings, float]]:
    """Each way in which the line may be set, and how long it is listened to in it."""
    lines = LINES.get(settings.kind, ())
    if settings.way is not Way.SERIAL or settings.line is not None or len(lines) < 2:
        return [(settings, LISTEN_S)]
    first_s = FIRST_SHARE * LISTEN_S
    rest_s = (LISTEN_S - first_s) / (len(lines) - 1)
    return [
        (replace(settings, line=line), rest_s if number else first_s)
        for number, line in enumerate(lines)
    ]


async def _listen_for(heard: Heard, case: Case, settings: MeterSettings, listen_s: float) -> None:
    is_connected = False
    connect = connect_for(settings, case.clock, heard.keep)
    try:
        async with asyncio.timeout(listen_s), connect() as transport:
            is_connected = True
            async for arrived in transport.arrivals():
                heard.take(arrived)
                if len(heard.frames) >= ENOUGH or heard.rejected >= MOST_HEARD:
                    break
    except TimeoutError:
        if is_connected:
            heard.silence = f"in {LISTEN_S:.0f} s"
        else:
            heard.lost = f"no connection within {listen_s:.0f} s"
    except MeterSilent as silent:
        heard.lost, heard.lost_step = silent.message, silent.next_step


def heard_findings(heard: Heard, settings: MeterSettings) -> list[Finding]:
    """M002, M003, M005 and T003 from what was heard."""
    if not heard.frames:
        return [_nothing_heard(heard, settings)]
    registers = sum(
        frame.import_wh is not None or frame.export_wh is not None for frame in heard.frames
    )
    findings = [ok("M002", f"{len(heard.frames)} frames, {registers} with registers")]
    if not registers:
        findings = [
            warning(
                "M002",
                f"{len(heard.frames)} frames, none with a register",
                "enter the meter's PIN if it has one, or choose another kind",
            )
        ]
    findings.append(_damaged(len(heard.frames), heard.rejected))
    findings.append(_producer(settings, heard.frames))
    if heard.clock_off_s is not None:
        findings.append(_meter_clock(heard.clock_off_s))
    return findings


def _nothing_heard(heard: Heard, settings: MeterSettings) -> Finding:
    """A meter that speaks seldom may be well and silent, but not unreachable, nor garbled."""
    is_seldom = settings.period_s > LISTEN_S
    if heard.is_noise or (heard.rejected and not is_seldom):
        return error(
            "M002",
            f"{heard.rejected} pieces in {heard.raw_bytes} bytes arrived,"
            f" none of them a frame of {settings.kind}",
            "check kind, baud and mode: 'daisee meter detect' tries them all",
        )
    if heard.lost or not is_seldom:
        return error(
            "M002",
            f"nothing heard: {heard.lost or heard.silence or 'the connection ended'}",
            heard.lost_step or "check cable and power, then 'daisee meter detect'",
        )
    return warning(
        "M002",
        f"nothing of it heard {heard.silence}; it speaks every {duration_text(settings.period_s)}",
        "start the node, and ask again after that time",
    )


def _damaged(frames: int, rejected: int) -> Finding:
    said = f"{rejected} of {frames + rejected} could not be used"
    few = frames + rejected < FEW
    percent = 100 * max(rejected - few, 0) / (frames + rejected)
    step = "shorten the cable, keep it away from mains; a Linky wants a resistor at its dongle"
    if percent >= DAMAGED_ERROR_PERCENT and not few:
        return error("M003", said, step)
    if percent >= DAMAGED_WARNING_PERCENT:
        return warning("M003", said, step)
    return ok("M003", said)


def _producer(settings: MeterSettings, frames: list[MeterFrame]) -> Finding:
    if not settings.producer_expected:
        return ok("M005", "this household does not sell: producer_expected is not set")
    last = frames[-1]
    if last.kind == _HISTORIC:
        return error("M005", "a Linky in historic mode never tells injection", _PRODUCER_STEP)
    if any(NOT_PRODUCER in frame.notes for frame in frames):
        return error("M005", NOT_PRODUCER, _PRODUCER_STEP)
    if all(frame.export_wh is None for frame in frames):
        return warning("M005", "no frame told an export register", _EXPORT_STEP)
    return ok("M005", "an export register is told")


_EXPORT_STEP: Final = "see docs/meters.md for what this kind of meter can prove"


def _meter_clock(off_s: int) -> Finding:
    if abs(off_s) > CLOCK_WARNING_S:
        way = "ahead of" if off_s > 0 else "behind"
        return warning(
            "T003",
            f"this machine is {abs(off_s)} s {way} the meter",
            "one of the two is wrong: see T001 and T002; a meter's clock does no harm by itself",
        )
    return ok("T003", f"{off_s} s apart")


def _shown_findings(case: Case, settings: MeterSettings) -> list[Finding]:
    """M002, M003, M005 and T003 from the page of the node that runs."""
    findings = [_shown_speaking(case, settings)]
    frames, rejected = case.figure("frames"), case.figure("frames_rejected")
    if frames is not None and rejected is not None and frames + rejected:
        findings.append(_damaged(frames, rejected))
    if not settings.producer_expected:
        findings.append(_producer(settings, []))
    elif case.part("meter").get("state") == MeterState.NOT_PRODUCER:
        findings.append(error("M005", NOT_PRODUCER, _PRODUCER_STEP))
    elif case.figure("export_wh") is not None:
        findings.append(ok("M005", "an export register is told"))
    elif case.figure("import_wh") is not None:  # without it nothing was told yet: see M002
        findings.append(warning("M005", "no export register is known", _EXPORT_STEP))
    ahead_s, notes = case.part("clock").get("meter_ahead_s"), case.part("meter").get("notes")
    if isinstance(notes, list) and CLOCK_STANDS in notes:
        findings.append(warning("T003", CLOCK_STANDS, "set the device's clock, or restart it"))
    elif type(ahead_s) is int:
        findings.append(_meter_clock(-ahead_s))
    return findings


def _shown_speaking(case: Case, settings: MeterSettings) -> Finding:
    last_s, state = case.figure("last_frame_at_s"), case.part("meter").get("state", "silent")
    silent_s = None if last_s is None else max(case.clock.now_s() - last_s, 0)
    if state in _TO_CONFIRM:
        return error(
            "M002",
            f"{state}: the node has stopped counting until its owner says what happened",
            "look at the meter; if it was replaced, 'daisee node confirm swap', if it was reset,"
            " 'daisee node confirm restart'",
        )
    limit_s = max(STALE_PERIODS * settings.period_s, int(LISTEN_S))
    if case.shown.get("meter_ok") is True and silent_s is not None and silent_s <= limit_s:
        return ok("M002", f"the node heard it {silent_s} s ago")
    last = "never" if silent_s is None else f"{silent_s} s ago"
    fault = case.part("meter").get("fault")
    return error(
        "M002",
        f"the node last heard it {last}" + (f": {fault}" if fault else ""),
        "check cable and power; journalctl -u daisee-node says what the node sees",
    )
