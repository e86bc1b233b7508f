"""How long a year takes from an operator's files to bills: ``scripts/campaign bills``.

For 10, 100 and 1,000 points at half hours: import, allocate and bill twelve months, in CPU seconds
of this process, each size in a process of its own for its peak of memory. One point of twenty
produces. Making the files is not counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

from node.billing.bill_files import bill_document
from node.billing.bill_making import bill_period
from node.billing.bills import PeriodBills
from node.billing.curve_store import CurveStore
from node.billing.importing import read_files
from node.billing.keys import default_dynamic
from node.billing.operation import Operation
from node.billing.operation_file import operation_from
from node.billing.perimeter import Membership, Perimeter
from node.billing.rows import Expectations
from node.billing.series import Direction
from node.billing.tariffs import Standing, read_tariffs
from node.cli.supplier_bills import member_curves
from node.clock import cpu_seconds
from node.store.curves import CurveDatabase
from tests.support.billing_cases import PARIS, month
from tests.support.curve_files import R63_HEADER, ends, prm, watts

SIZES: Final = (10, 100, 1_000)
POINTS_A_FILE: Final = 50
FIRST_DAY: Final = date(2025, 1, 1)
DAYS: Final = 365
MOST_CPU_S: Final = 300.0
MOST_MB: Final = 2_000


def write_points(path: Path, points: Sequence[str], producers: frozenset[str]) -> None:
    """A year of half hours of some points, as R63 CSV."""
    stamps = [end.strftime("%Y-%m-%d %H:%M:%S") for end in ends(FIRST_DAY, DAYS, 1800)]
    with path.open("w", encoding="utf-8") as file:
        file.write(R63_HEADER + "\n")
        for point in points:
            trade = "PROD" if point in producers else "CONS"
            head = f"{point};2025-01-01 00:00:00;2026-01-01 00:00:00;PA;{trade};BRUT;W;"
            values = watts(len(stamps), int(point))
            file.writelines(
                f"{head}{stamp};{value};B;PT30M;0;0\n"
                for stamp, value in zip(stamps, values, strict=True)
            )


def operation_of(producers: Sequence[str], consumers: Sequence[str]) -> Operation:
    """An operation of these points; every consumer has a shadow with four time classes."""
    return operation_from(
        {
            "operation": {"name": "Load", "rules": "1"},
            "tariffs": {"accept": [Standing.ONE_SOURCE, Standing.DOUBTFUL]},
            "producer": [{"point": point} for point in producers],
            "consumer": [
                {"point": point, "kva": 9, "turpe": "CU4_ACC", "off_peak": "22:00-06:00"}
                for point in consumers
            ],
            "price": [{"producer": point, "ct_kwh": "12"} for point in producers],
            "supply": [
                {"consumer": point, "standing_eur_year": "60", "ct_kwh": {"HP": "14", "HC": "11"}}
                for point in consumers
            ],
            "fee": [{"ct_kwh": "0.5"}],
        }
    )


def measure(size: int, folder: Path) -> dict[str, Any]:
    """Import and bill a year of so many points; CPU seconds by phase, and the peak of memory."""
    points = [prm(number) for number in range(size)]
    producers = points[:: min(20, size)]
    consumers = sorted(set(points) - set(producers))
    operation = operation_of(producers, consumers)
    of = dict.fromkeys(producers, Direction.INJECTION)
    perimeter = Perimeter.of(
        [Membership(point, of.get(point, Direction.WITHDRAWAL), 0) for point in points]
    )
    expected = Expectations(PARIS, perimeter, None, None)
    import_s = 0.0
    with CurveDatabase.open(folder / "curves.db") as kept:
        store = CurveStore(kept)
        rows = 0
        for start in range(0, size, POINTS_A_FILE):
            path = folder / f"R63-{start}.csv"
            write_points(path, points[start : start + POINTS_A_FILE], frozenset(producers))
            began_s = cpu_seconds()
            for report in read_files(path, expected):
                assert report.refused == 0, report.findings
                store.add(report, 0)
                rows += report.accepted
            import_s += cpu_seconds() - began_s
            path.unlink()
        began_s = cpu_seconds()
        bills = lines = cents = 0
        for made in year_of_bills(operation, store):
            assert made.balance_cents() == 0
            documents = [bill_document(bill) for bill in made.every]
            bills += len(documents)
            lines += sum(len(bill.lines) for bill in made.every)
            cents += made.collected_cents
        bill_s = cpu_seconds() - began_s
    return {
        "points": size,
        "values": rows,
        "import_cpu_s": round(import_s, 1),
        "allocate_and_bill_cpu_s": round(bill_s, 1),
        "cpu_s": round(import_s + bill_s, 1),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "bills": bills,
        "lines": lines,
        "collected_cents": cents,
    }


def year_of_bills(operation: Operation, store: CurveStore) -> Iterator[PeriodBills]:
    """The bills of twelve months, one month in memory at a time."""
    tariffs = read_tariffs()
    for number in range(1, 13):
        period = month(f"2025-{number:02d}")
        curves = member_curves(operation, store, period)
        assert not curves.problems, curves.problems
        yield bill_period(
            operation, tariffs, default_dynamic(), curves.production, curves.consumption, period
        )


def main() -> int:
    """Each size in a process of its own; 0 if the largest keeps within its bounds."""
    parser = argparse.ArgumentParser(prog="scripts/campaign bills", description=__doc__)
    parser.add_argument("--points", type=int, action="append", help="other sizes")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(arguments.one, Path(folder)), sort_keys=True))  # noqa: T201
        return 0
    within = True
    for size in arguments.points or SIZES:
        command = (sys.executable, "-m", "tests.support.billing_load", "--one", str(size))
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(done.stdout, end="", flush=True)  # noqa: T201
        found = json.loads(done.stdout)
        within = within and found["cpu_s"] < MOST_CPU_S and found["peak_rss_mb"] < MOST_MB
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
