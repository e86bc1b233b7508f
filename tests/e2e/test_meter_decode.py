"""``daisee meter decode``: one document for whatever file somebody sends us."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from node.cli.main import cli
from node.meter.recording import KINDS, detect_kind
from tests.support.shared import SHARED, shared_path
from tests.support.teleinfo_frames import framed, historic_group

KIND_OF_FOLDER = {
    "citizenwatt": "citizenwatt",
    "dsmr-p1": "dsmr-p1",
    "emon": "emon",
    "linky-historic": "linky",
    "linky-standard": "linky",
    "shelly": "shelly",
    "sml": "sml",
    "tasmota": "tasmota",
}
FRAMES = sorted(
    path.relative_to(SHARED).as_posix()
    for path in (SHARED / "frames").glob("*/*")
    if not path.name.endswith(".expected.json")
)


def decode(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["meter", "decode", *arguments])


@pytest.mark.parametrize("name", FRAMES or ["frames/linky-historic/enedis-base-mono.tic"])
def test_every_recorded_file_is_recognised_and_says_something(name: str) -> None:
    path = shared_path(name)
    assert detect_kind(path.read_bytes()) == KIND_OF_FOLDER[path.parent.name]
    result = decode(str(path), "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert set(document) == {"kind", "meter_id", "readings", "rejected"}
    assert document["readings"] or document["rejected"]
    for reading in document["readings"]:
        assert {"import_wh", "export_wh", "taken_at", "fields"} <= set(reading)
        assert "power_w" in reading or "power_va" in reading
    for refusal in document["rejected"]:
        assert refusal["reason"]


def test_apparent_power_is_never_given_as_power() -> None:
    path = shared_path("frames/linky-historic/enedis-base-mono.tic")
    (reading,) = json.loads(decode(str(path), "--json").stdout)["readings"]
    assert "power_va" in reading
    assert "power_w" not in reading


def test_a_person_reads_registers_and_refusals(tmp_path: Path) -> None:
    groups = [
        historic_group("ADCO", "012345678901"),
        historic_group("OPTARIF", "BASE"),
        historic_group("BASE", "001234567"),
        b"\nPAPP 00300 !\r",
    ]
    file = tmp_path / "mine.tic"
    file.write_bytes(framed(*groups))
    result = decode(str(file))
    assert result.exit_code == 0
    assert "linky-historic, meter 012345678901: 1 readings, 1 refusals." in result.output
    assert "1234.567" in result.output
    assert "refused:" in result.output


def test_a_kind_can_be_named(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes(b"no meter ever said this\n")
    for kind in KINDS:
        result = decode(str(file), "--kind", kind, "--json")
        assert result.exit_code == 0, (kind, result.output)
        assert json.loads(result.stdout)["kind"].startswith(kind.split("-", maxsplit=1)[0])


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    result = decode(str(tmp_path / "none.tic"))
    assert result.exit_code == 3
    assert "none.tic" in result.output
