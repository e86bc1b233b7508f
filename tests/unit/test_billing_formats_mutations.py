"""Whatever becomes of a file on its way: never a crash, never a row that is lost without a word."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from node.billing import importing
from node.billing.conformity import FindingClass
from node.billing.formats import json_stream, text_lines
from node.billing.formats.head import Head
from node.billing.importing import FORMATS, FileReport, detect, read_files
from node.billing.perimeter import Membership, Perimeter
from node.billing.rows import Expectations
from node.billing.series import MISSING, StepQuality
from tests.support.curve_files import prm, write_r50, write_r63, write_r63_json
from tests.support.shared import shared_path

PARIS = ZoneInfo("Europe/Paris")
SAMPLES = (
    "ENEDIS_R63_P_CdC_example_2rows.csv",
    "dataconnect_metering_data_clc_v5.json",
    "enedis_HDM_C4_PT10M_DSTspring2020.csv",
    "enedis_HDM_C5_PT30M_DSTspring2021.csv",
    "enedis_R151_C5_index.xml",
    "enedis_R15_ACC_anon.xml",
    "enedis_R50_C5_PT30M.xml",
    "enedis_SGE_ConsultationMesuresDetaillees_C5_PA.xml",
    "bad/ok_day.csv",
    "bad/mixed_step.csv",
)
MUTANTS = 60


def read(path: Path, perimeter: Perimeter | None = None) -> list[FileReport]:
    """Read a file and hold every report to what all must keep."""
    reports = list(read_files(path, Expectations(PARIS, perimeter)))
    assert reports
    for report in reports:
        assert report.rows == report.accepted + report.empty + report.refused
        assert report.refused == sum(finding.rows for finding in report.findings)
        assert report.accepted or report.empty or report.findings
        for curve in report.curves:
            for value, code in zip(curve.watt_minutes, curve.quality, strict=True):
                assert (value == MISSING) == (code == StepQuality.GAP)
                assert value >= MISSING
    return reports


def mutated(content: bytes, random_: random.Random) -> bytes:
    """The content after a few accidents."""
    changed = bytearray(content)
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(changed) + 1)
        kind = random_.randrange(6)
        if kind == 0:
            changed[at:at] = random_.randbytes(random_.randint(1, 20))
        elif kind == 1:
            del changed[at : at + random_.randint(1, 200)]
        elif kind == 2:
            changed[at:at] = random_.choice(
                [b";", b"\n", b'"', b"<", b"&x;", b"\x00", b"{", b"-", b"9" * 40, b"\xff\xfe", b","]
            )
        elif kind == 3 and at < len(changed):
            changed[at] ^= 1 << random_.randrange(8)
        elif kind == 4:
            end = random_.randrange(at, min(len(changed), at + 2_000) + 1)
            changed[end:end] = changed[at:end]  # rows told twice
        else:
            lines = bytes(changed).splitlines(keepends=True)
            random_.shuffle(lines)
            changed = bytearray(b"".join(lines)) if random_.random() < 0.3 else changed
        if not changed:
            break
    return bytes(changed)


@pytest.mark.parametrize("name", SAMPLES)
def test_mutated_files(tmp_path: Path, name: str) -> None:
    content = shared_path(f"acc/{name}").read_bytes()
    random_ = random.Random(name)
    for number in range(MUTANTS):
        path = tmp_path / f"mutant{number}"
        path.write_bytes(mutated(content, random_))
        read(path)


@pytest.mark.parametrize("write", [write_r63, write_r63_json, write_r50])
def test_mutated_files_over_the_autumn_day(tmp_path: Path, write: Callable[..., Path]) -> None:
    content = write(tmp_path / "whole", [prm(1), prm(2)], date(2025, 10, 25), 3).read_bytes()
    perimeter = Perimeter.of([Membership(prm(1), None, 0)])
    random_ = random.Random(1)
    for number in range(MUTANTS):
        path = tmp_path / f"mutant{number}"
        path.write_bytes(mutated(content, random_))
        read(path, perimeter)


def test_every_truncation_of_a_file(tmp_path: Path) -> None:
    for write in (write_r63_json, write_r50):
        content = write(tmp_path / "whole", [prm(1)], date(2025, 4, 2), 1).read_bytes().rstrip()
        for length in range(0, len(content), 101):
            path = tmp_path / "cut"
            path.write_bytes(content[:length])
            (report,) = read(path)
            assert report.accepted == 0
            assert report.findings[-1].klass is FindingClass.CORRUPT


@pytest.mark.parametrize("name", SAMPLES)
def test_one_format_recognises_a_file_and_no_other(name: str) -> None:
    head = Head.of(name, shared_path(f"acc/{name}").read_bytes())
    assert [format_ for format_ in FORMATS if format_.recognises(head)] == [detect(head)]


@pytest.mark.parametrize(
    "text",
    [
        '<?xml version="1.0"?><!DOCTYPE R50 [<!ENTITY a "aaaa">]><R50><PRM>&a;</PRM></R50>',
        '<!DOCTYPE R50 SYSTEM "file:///etc/passwd"><R50/>',
        "<R50>&undefined;</R50>",
        "<R50>" + "<a>" * 100 + "</a>" * 100 + "</R50>",
        "<R50><PRM><Id_PRM>" + "9\n" * 100_000 + "</Id_PRM></PRM></R50>",
        '<?xml version="1.0" encoding="martian"?><R50/>',
        "<R50><En_Tete_Flux/></R50>",
        '{"header": {"codeFlux": "R63"}, "mesures": ' + "[" * 5_000,
        '{"header": {"codeFlux": "R63"}, "mesures": [NaN]}',
        '{"header": {"codeFlux": "R63"}, "mesures": [1]}',
        '{"header": {"codeFlux": "R63"}, "mesures": [{"grandeur": 5}]}',
        '{"header": {"codeFlux": "R63"}, "mesures": []} x',
        '{"header": {"codeFlux": "R63"}, "mesures": [{"a": ' + "9" * 5_000 + "}]}",
        '{"meter_reading": []}',
        '{"meter_reading": {"interval_reading": []}}',
    ],
)
def test_hostile_files_are_corrupt(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hostile"
    path.write_text(text, encoding="utf-8")
    (report,) = read(path)
    assert (report.accepted, report.curves) == (0, [])
    assert report.findings[-1].klass is FindingClass.CORRUPT


def test_more_findings_than_are_told_apart_are_still_counted(tmp_path: Path) -> None:
    path = write_r63(tmp_path / "file", [prm(1)], date(2025, 4, 2), 60)
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    twice = [f"{row[: row.rindex(';B;')]}0;B;PT30M;0;0" for row in rows]
    path.write_text("\n".join([header, *rows, *twice]), encoding="utf-8")
    (report,) = read(path)
    assert (report.rows, report.accepted, report.refused) == (5_760, 0, 5_760)
    assert report.findings[-1].rule == "too_many_findings"


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "MAX_LINE_CHARS", 1_000)
    path = write_r63(tmp_path / "file", [prm(1)], date(2025, 4, 2), 1)
    with path.open("a", encoding="utf-8") as file:
        file.write("x" * 1_001)
    (report,) = read(path)
    assert (report.accepted, report.refused) == (0, 48)
    assert report.findings[-1].line == 50


def test_a_json_value_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_ELEMENT_CHARS", 1_000)
    path = write_r63_json(tmp_path / "file", [prm(1)], date(2025, 4, 2), 1)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[:-10], encoding="utf-8")
    (report,) = read(path)
    assert report.findings[-1].rule == "too_large"


class TestArchives:
    def archive(self, path: Path, members: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in members.items():
                packed.writestr(name, content)
        return path

    def test_a_bomb_is_not_opened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importing, "SMALL_BYTES", 10_000)
        (report,) = read(self.archive(tmp_path / "bomb.zip", {"a.csv": bytes(20_000_000)}))
        assert report.findings[0].rule == "archive_member"
        assert "times larger than packed" in report.findings[0].message

    def test_more_than_any_flow_is_not_opened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(importing, "MAX_FILE_BYTES", 5_000)
        (report,) = read(self.archive(tmp_path / "big.zip", {"a.csv": bytes(6_000)}))
        assert report.findings[0].rule == "too_large"

    def test_an_archive_in_an_archive_is_not_opened(self, tmp_path: Path) -> None:
        inner = self.archive(tmp_path / "inner.zip", {"a.csv": b"x"})
        (report,) = read(self.archive(tmp_path / "o.zip", {"inner.zip": inner.read_bytes()}))
        assert report.findings[0].rule == "archive_member"

    def test_damage_anywhere(self, tmp_path: Path) -> None:
        csv = write_r63(tmp_path / "file", [prm(1)], date(2025, 4, 2), 2).read_bytes()
        content = self.archive(tmp_path / "whole.zip", {"a.csv": csv, "b.csv": csv}).read_bytes()
        random_ = random.Random(2)
        for number in range(200):
            changed = bytearray(content)
            for _ in range(random_.randint(1, 3)):
                changed[random_.randrange(len(changed))] ^= 1 << random_.randrange(8)
            path = tmp_path / f"mutant{number}.zip"
            path.write_bytes(changed[: random_.choice([len(changed), len(changed) - 30])])
            read(path)

    def test_places_outside_and_members_without_name(self, tmp_path: Path) -> None:
        """What a broken directory says is damage of this file; it does not stop the next."""
        whole = self.archive(tmp_path / "whole.zip", {"a.csv": b"x"}).read_bytes()
        directory, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
        for at, size in (
            (directory + 28, 2),  # the length of the name
            (directory + 42, 4),  # where the member begins
            (end + 12, 4),  # the size of the directory
            (end + 16, 4),  # where it begins
        ):
            for filler in (b"\x00", b"\xff", b"\x7f"):
                path = tmp_path / "broken.zip"
                path.write_bytes(whole[:at] + filler * size + whole[at + size :])
                assert all(report.findings for report in read(path))

    def test_an_empty_archive_and_an_empty_file(self, tmp_path: Path) -> None:
        (report,) = read(self.archive(tmp_path / "e.zip", {"a.csv": b""}))
        assert report.findings[0].rule == "empty_file"
        empty = tmp_path / "empty.csv"
        empty.write_bytes(b"")
        (report,) = read(empty)
        assert report.findings[0].rule == "empty_file"
