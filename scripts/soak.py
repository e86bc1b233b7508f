"""The real daemon on a standard Linky stream of 1 Hz, in real time: what it costs this machine.

Bars: RSS at most 100 MB, at most 60 CPU seconds a day, no file descriptor more at the end than half
way (the first backup leaves one, which the next one takes again). Start-up is told apart from the
steady state. What is written is told without a bar: an hour holds a day's backup. The bar on raw
readings is held by ``scripts/campaign sdcard``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from node.clock import wall_seconds
from tests.support.node_process import NodeFolder, NodeProcess, fed_line, free_port, pause

DAY_S = 86_400
WARM_S = 60
EVERY_S = 10

RSS_BAR_KB = 100_000
CPU_BAR_S_PER_DAY = 60


@dataclass(frozen=True, slots=True)
class Reading:
    """What the kernel says of a process."""

    at_s: float
    rss_kb: int
    cpu_s: float
    descriptors: int
    written_bytes: int


def read_process(pid: int) -> Reading:
    """One look at /proc."""
    folder = Path("/proc", str(pid))
    status = dict(
        line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line
    )
    # Of every thread, in nanoseconds: the ticks of "stat" are as long as a minute's work here.
    on_cpu_ns = sum(
        int((task / "schedstat").read_text().split()[0]) for task in (folder / "task").iterdir()
    )
    written = (folder / "io").read_text().partition("\nwrite_bytes: ")[2].partition("\n")[0]
    return Reading(
        wall_seconds(),
        int(status["VmRSS"].split()[0]),
        on_cpu_ns / 1e9,
        len(list((folder / "fd").iterdir())),
        int(written),
    )


def soak(minutes: float) -> dict[str, object]:
    """Run it and measure."""
    with tempfile.TemporaryDirectory() as name:
        # A port of its own, so that no other node on this machine is met.
        folder = NodeFolder(Path(name), slot_s=900, metrics_port=free_port(), baud=9_600)
        with fed_line(folder.port, frames_per_s=1.0):
            process = NodeProcess(folder.write())
            try:
                ready_s = process.hear("READY=1")
                pause(WARM_S)
                readings = [read_process(process.pid)]
                end_s = wall_seconds() + minutes * 60
                while wall_seconds() < end_s:
                    pause(EVERY_S)
                    readings.append(read_process(process.pid))
                    if len(readings) % 30 == 0:
                        print(asdict(readings[-1]), file=sys.stderr, flush=True)
                code, stop_s = process.stop()
            finally:
                process.close()
    return figures(readings, ready_s, stop_s, code)


def figures(readings: list[Reading], ready_s: float, stop_s: float, code: int) -> dict[str, object]:
    """Steady state: from the first reading, a minute after the start, to the last."""
    first, last = readings[0], readings[-1]
    days = (last.at_s - first.at_s) / DAY_S
    middle = readings[len(readings) // 2]
    most_rss_kb = max(reading.rss_kb for reading in readings)
    cpu_s_per_day = (last.cpu_s - first.cpu_s) / days
    within = {
        "rss": most_rss_kb <= RSS_BAR_KB,
        "cpu": cpu_s_per_day <= CPU_BAR_S_PER_DAY,
        "descriptors": last.descriptors <= middle.descriptors,
        "exit": code == 0,
    }
    return {
        "minutes": round((last.at_s - first.at_s) / 60, 1),
        "ready_s": round(ready_s, 2),
        "stop_s": round(stop_s, 2),
        "cpu_s_until_steady": round(first.cpu_s, 2),
        "cpu_s_per_day": round(cpu_s_per_day, 1),
        "rss_kb": most_rss_kb,
        "rss_growth_kb_second_half": last.rss_kb - middle.rss_kb,
        "descriptors": [first.descriptors, middle.descriptors, last.descriptors],
        "written_bytes": last.written_bytes - first.written_bytes,
        "within_bars": within,
    }


def main() -> int:
    """Print one document; 7 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    found = soak(parser.parse_args().minutes)
    print(json.dumps(found, indent=2, sort_keys=True))
    within = found["within_bars"]
    assert isinstance(within, dict)
    return 0 if all(within.values()) else 7


if __name__ == "__main__":
    sys.exit(main())
