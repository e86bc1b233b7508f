"""The monthly run over an inbox with files that nobody should have sent."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from click.testing import CliRunner

from node.cli.main import cli
from tests.support.curve_files import prm, write_r50, write_r63_json
from tests.support.operator_month import write_r63

HOME, ROOF = prm(1), prm(2)
OPERATION = (
    '[operation]\nname = "Mill Street"\nrules = "2025-1"\n[tariffs]\naccept = ["one_source"]\n'
    f'[[producer]]\npoint = "{ROOF}"\n[[consumer]]\npoint = "{HOME}"\n'
    f'[[price]]\nproducer = "{ROOF}"\nct_kwh = "12.00"\n'
)


def test_one_hostile_file_does_not_stop_the_month(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (tmp_path / "street.toml").write_text(OPERATION)
    october = date(2025, 10, 1)
    write_r63(inbox / "m.csv", october, 31, {HOME: lambda _: 600}, {ROOF: lambda _: 200})
    path = write_r63_json(inbox / "a.json", [HOME], october, 1)
    path.write_text(path.read_text("utf-8").replace(HOME, r"\ud800"), encoding="utf-8")
    path = write_r50(inbox / "b.xml", [HOME], october, 1)
    path.write_text(path.read_text("utf-8").replace("<PRM>", f"<PRM x='{'y' * 3_000_000}'>"))
    done = CliRunner().invoke(
        cli,
        [
            *("supplier", "month", "--operation", str(tmp_path / "street.toml")),
            *("--inbox", str(inbox), "--curves", str(tmp_path / "curves.db"), "--json"),
            *("--out", str(tmp_path / "bills"), "--at", "2025-11-02T06:00:00Z"),
        ],
    )
    assert (done.exit_code, type(done.exception)) in {(0, type(None)), (7, SystemExit)}, done.output
    (month,) = json.loads(done.stdout)["months"]
    assert month["outcome"] == "billed"
