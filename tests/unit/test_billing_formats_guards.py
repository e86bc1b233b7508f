"""What no file may bring in: text that nothing can keep, strangers' rows, more than fits."""

from __future__ import annotations

import os
import sqlite3
import zipfile
from array import array
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from node.billing import rows
from node.billing.curve_store import CurveStore
from node.billing.formats import xml_stream
from node.billing.importing import FileReport, read_files
from node.billing.perimeter import Membership, Perimeter
from node.billing.rows import Expectations
from node.billing.series import Direction, StepQuality
from node.billing.stamps import StampReader
from node.cli.main import cli
from node.cli.office import read_document
from node.errors import ConfigurationError
from node.slots import parse_iso_utc
from node.store.curve_upkeep import CurveUpkeep
from node.store.curves import CurveDatabase
from tests.support.curve_files import R63_HEADER, prm, r63_row, write_r63, write_r63_json

PARIS = ZoneInfo("Europe/Paris")
NOW_S = parse_iso_utc("2026-11-22T10:00:00Z")
HOME, NEIGHBOUR, STRANGER = prm(1), prm(2), prm(3)
OURS = Perimeter.of([Membership(HOME, None, 0), Membership(NEIGHBOUR, None, 0)])
CUPS = "ES0021000000000001RK"
EAN = "859182400000000002"
DAY = date(2024, 1, 2)
R64_HEADER = (
    "Identifiant PRM;Grandeur physique;Grandeur metier;Unite;Horodate;Identifiant calendrier;"
    "Identifiant classe temporelle;Valeur"
)
HDM_OF_A_STRANGER = (
    "Identifiant PRM;Type de donnees;Grandeur physique;Grandeur metier;Unite;Pas en minutes\n"
    f"{STRANGER};Courbe de charge;Energie active;Consommation;W;30\nHorodate;Valeur\n"
    "2024-01-02T00:30:00+01:00;77777;1\n"
)


@dataclass
class Office:
    """A database of curves, and what it is filled with."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "curves.db"

    def take(
        self, content: str | bytes, perimeter: Perimeter | None = None, name: str = "file"
    ) -> FileReport:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        (report,) = read_files(path, Expectations(PARIS, perimeter))
        assert report.rows == report.accepted + report.empty + report.refused
        self.keep(report)
        return report

    def keep(self, report: FileReport, now_s: int = NOW_S) -> None:
        with CurveDatabase.open(self.database) as kept:
            CurveStore(kept).add(report, now_s)

    def holds(self, text: str) -> bool:
        return text.encode() in self.database.read_bytes()

    def retain(self, before: str) -> int:
        with CurveUpkeep.open(self.database) as kept:
            return kept.coarsen(parse_iso_utc(before))

    def findings(self) -> list[tuple[str, str, str]]:
        """(rule, point, raw) of each that is kept."""
        with closing(sqlite3.connect(self.database)) as kept:
            return kept.execute("SELECT rule, point_id, raw FROM finding").fetchall()


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.fixture
def good(tmp_path: Path) -> Iterator[list[str]]:
    """The lines of a good R63 CSV of two days in January 2024."""
    path = write_r63(tmp_path / "good", [HOME], DAY, 2)
    yield path.read_text("utf-8").splitlines()
    path.unlink()


def rules(report: FileReport) -> list[str]:
    return [finding.rule for finding in report.findings]


class TestTextThatNothingCanKeep:
    """Half a character, bytes that are no UTF-8, control characters."""

    def test_half_a_character_in_json_is_a_finding(self, office: Office) -> None:
        text = write_r63_json(office.folder / "x", [HOME], DAY, 1).read_text("utf-8")
        (line,) = {number for number, row in enumerate(text.splitlines(), 1) if HOME in row}
        for half in (r"\ud800", r"3000\udfff"):
            report = office.take(text.replace(HOME, half), name=f"f{half[-4:]}.json")
            assert (report.accepted, rules(report)) == (0, ["unreadable"])
            assert report.findings[0].line == line
        whole = office.take(text.replace(HOME, r"\ud83d\ude00"))
        assert rules(whole) == ["point_form"], "two halves are a character, if no identifier"

    @pytest.mark.parametrize("field", ["idPrm", "d", "v", "n", "p", "unite", "grandeurMetier"])
    def test_whichever_field_it_is_in(self, office: Office, field: str) -> None:
        text = write_r63_json(office.folder / "x", [HOME], DAY, 1).read_text("utf-8")
        start = text.index(f'"{field}"') + len(field) + 2
        opening = text.index('"', start) + 1
        report = office.take(text[:opening] + r"\ud800" + text[opening:])
        assert rules(report) == ["unreadable"]

    def test_commands_tell_it_instead_of_failing(self, office: Office) -> None:
        path = write_r63_json(office.folder / "x.json", [HOME], DAY, 1)
        path.write_text(path.read_text("utf-8").replace(HOME, r"\ud800"), encoding="utf-8")
        database = ["--database", str(office.database)]
        for words in (["check"], ["check", "--json"], ["import", *database]):
            done = CliRunner().invoke(cli, ["dso", *words, str(path)])
            assert (done.exit_code, type(done.exception)) == (7, SystemExit), done.output

    def test_bytes_that_are_no_text_refuse_their_row_only(
        self, office: Office, good: list[str]
    ) -> None:
        good[3] = good[3].replace(HOME, "3000000000\udcff\udcfe11")
        good[5] = good[5].replace("PT30M", "PT\udcff")
        good[7] = good[7].replace(";W;", ";\udcff;")
        content = "\n".join(good).encode("utf-8", "surrogateescape")
        report = office.take(content)
        assert (report.accepted, report.refused) == (96 - 3, 3)
        assert ("point_form", r"3000000000\udcff\udcfe11", "") in [
            (rule, point, "") for rule, point, _ in office.findings()
        ]

    @pytest.mark.parametrize("place", [5, 6])
    def test_names_of_registers_are_guarded_too(self, office: Office, place: int) -> None:
        cells = [HOME, "EA", "CONS", "Wh", "2024-01-02 00:00:00", "DI1", "HP", "100"]
        good, broken, endless = list(cells), list(cells), list(cells)
        broken[place], endless[place] = "\udcff", "H" * 300
        text = "\n".join([R64_HEADER, *(";".join(row) for row in (good, broken, endless))])
        report = office.take(text.encode("utf-8", "surrogateescape"))
        assert (len(report.registers), rules(report)) == (1, ["register"])
        assert report.findings[0].rows == 2

    def test_a_header_of_bytes(self, office: Office) -> None:
        text = f"cups;fecha;hora;consumo_kWh;\udcff\n{CUPS};2024/01/02;01:00;0,1;Real\n"
        report = office.take(text.encode("utf-8", "surrogateescape"))
        assert (report.accepted, rules(report)) == (1, ["columns_left_out"])

    def test_names_of_files(self, office: Office, good: list[str]) -> None:
        content = "\n".join(good)
        report = office.take(content, name=os.fsdecode(b"r63-\xff.csv"))
        assert (report.file, report.accepted) == (r"r63-\udcff.csv", 96)
        path = office.folder / "r63.zip"
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("r63-é\x1b[2J.csv", content)
        (member,) = read_files(path, Expectations(PARIS))
        assert (member.file, member.accepted) == (r"r63.zip:r63-é\x1b[2J.csv", 96)
        path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xff"))
        (broken,) = read_files(path, Expectations(PARIS))
        assert rules(broken) == ["broken_archive"]
        office.keep(broken)

    def test_documents_of_the_office(self, office: Office) -> None:
        path = office.folder / "claim.json"
        path.write_text(r'{"text": "\ud800"}')
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read_document(path)
        path.write_text(r'{"text": "\ud83d\ude00"}')
        assert read_document(path) == {"text": "\N{GRINNING FACE}"}


class TestRowsOfNobody:
    def test_a_row_that_says_not_whose_it_is_is_not_kept(
        self, office: Office, good: list[str]
    ) -> None:
        broken = f"{HOME};2024-01-01;PA;CONS;2024-01-01 03:00:00;300;B;PT30M"
        report = office.take("\n".join([*good, broken]))
        (finding,) = report.findings
        assert (finding.rule, finding.line) == ("columns", 98)
        assert finding.raw == f"{len(broken)} characters, not kept"
        assert not office.holds("2024-01-01 03:00:00;300")

    @pytest.mark.parametrize(
        "text",
        [
            f"{R64_HEADER}\n{HOME};EA;CONS;Wh;2024-01-01;77777\n",
            f"cups;fecha;hora;consumo_kWh;metodo\n{CUPS};2024/01/02;77777\n",
            f"Datum;Cas od;Cas do;IN-{EAN}-O\n05.02.2024;11:00;11:15;77777;1\n",
            f"{R63_HEADER}\n{r63_row(HOME[1:], '2024-01-02 00:30:00', '77777x')}\n",
            "<R50><En_Tete_Flux/><PRM><PDC><H>x</H><V>77777</V></PDC></PRM></R50>",
        ],
    )
    def test_of_any_format(self, office: Office, text: str) -> None:
        assert office.take(text).refused == 1
        assert not office.holds("77777")

    @pytest.mark.parametrize(
        "text",
        [
            f"{R64_HEADER}\n{STRANGER};EA;CONS;Wh;yesterday;DI;HP;77777\n",
            f"{R64_HEADER}\n{STRANGER};EA;CONS;Wh;2024-01-02 00:00:00;DI;HP;77777x\n",
            f"{R64_HEADER}\n{STRANGER};EA;CONS;Wx;2024-01-02 00:00:00;DI;HP;77777\n",
            HDM_OF_A_STRANGER,
        ],
    )
    def test_of_a_stranger_there_is_no_content(self, office: Office, text: str) -> None:
        """Even where its row is faulty in another way than being a stranger's."""
        assert office.take(text, OURS).refused == 1
        assert not office.holds("77777")

    def test_a_member_s_faulty_row_is_kept_under_its_point(self, office: Office) -> None:
        row = r63_row(HOME, "2024-01-02 00:30:00", "77777x")
        office.take(f"{R63_HEADER}\n{row}\n", OURS)
        assert office.holds("77777x")
        rows_ = "".join(f"{CUPS};2024/10/27;{hour:02d}:00;7,777;R\n" for hour in range(1, 25))
        office.take(f"cups;fecha;hora;consumo_kWh;metodo\n{rows_}", name="es")
        found = [(point, raw) for rule, point, raw in office.findings() if "twice" in rule]
        assert [(point, "7,777" in raw) for point, raw in found] == [(CUPS, True)]

    def test_erasure_finds_what_older_versions_kept(self, office: Office, good: list[str]) -> None:
        office.take("\n".join(good))
        row = f"{HOME};2024-01-01 03:00:00;300;B;PT30M"
        with CurveDatabase.open(office.database) as kept:
            version = kept.begin_import(("old", "d" * 64, "r63-csv", None, 0, 2, 0, 0, 2))
            for point, message, raw in (
                ("", "columns", row),
                (f"'{HOME}", "a PRM has 14 digits", ""),
                ("", f"the column 'in-{HOME}-x' is unknown", ""),
                (NEIGHBOUR, "columns", "its own"),
            ):
                kept.add_findings(
                    version,
                    [("corrupt", "ask", "x", message, 1, 1, point, 1, None, None, raw)],
                )
        with CurveUpkeep.open(office.database) as upkeep:
            upkeep.forget([HOME])
        assert not office.holds(HOME)
        assert [raw for _, _, raw in office.findings()] == ["its own"]


class TestRetention:
    """What is of no step goes with the last step of its file, or with the file's age."""

    def faulty(self, good: list[str]) -> str:
        number = good[4].split(";")
        stamp = good[40].split(";")
        number[8], stamp[7] = "77777x", "77777"
        return "\n".join([*good, ";".join(number), ";".join(stamp), f"{HOME};77777"])

    def test_rows_of_an_old_file_go(self, office: Office, good: list[str]) -> None:
        report = office.take(self.faulty(good), OURS)
        assert sorted(rules(report)) == ["columns", "number", "stamp"]
        assert {finding.to_s for finding in report.findings} == {None}
        assert office.holds("77777")
        assert office.retain("2024-01-03T22:00:00Z") < 3
        assert len(office.findings()) == 3, "its last day is not over yet"
        office.retain("2025-09-22T00:00:00Z")
        assert office.findings() == []
        assert not office.holds("77777")

    def test_a_file_of_which_nothing_was_taken_goes_by_its_own_age(self, office: Office) -> None:
        text = f"{R63_HEADER}\n{r63_row(HOME, '2024-01-02 00:30:00', '77777x')}\n"
        office.take(text, OURS)
        office.take(text, OURS, "Enedis_R63B_M_CdC_1_2_20240201000000.csv")
        office.retain("2025-09-22T00:00:00Z")
        assert len(office.findings()) == 1
        office.retain("2026-11-22T09:59:59Z")
        assert len(office.findings()) == 1
        office.retain("2026-11-22T10:00:00Z")
        assert office.findings() == []

    def test_findings_of_newer_files_stay(self, office: Office, good: list[str]) -> None:
        newer = [row.replace("2024-01-0", "2026-10-0") for row in good]
        office.take(self.faulty(newer), OURS)
        office.retain("2025-09-22T00:00:00Z")
        assert len(office.findings()) == 3


class TestSpain:
    def of(self, office: Office, header: str, method: str) -> set[int]:
        rows_ = "".join(f"{CUPS};2024/01/02;{hour:02d}:00;0,1{method}\n" for hour in range(1, 25))
        report = office.take(f"{header}\n{rows_}")
        assert report.findings == []
        (curve,) = report.curves
        return set(curve.quality)

    @pytest.mark.parametrize(
        "name", ["metodoObtencion", "Metodo_obtencion", "Método obtención", "metodo"]
    )
    def test_an_estimate_is_an_estimate_whatever_its_column_is_called(
        self, office: Office, name: str
    ) -> None:
        header = f"cups;fecha;hora;consumo_kWh;{name}"
        assert self.of(office, header, ";Estimada") == {StepQuality.ESTIMATED}
        assert self.of(office, header, ";Real") == {StepQuality.METERED}
        assert self.of(office, header, ";") == {StepQuality.DOUBTFUL}

    def test_without_the_column_nothing_is_metered(self, office: Office) -> None:
        assert self.of(office, "cups;fecha;hora;consumo_kWh", "") == {StepQuality.DOUBTFUL}

    @pytest.mark.parametrize("day", [date(2024, 3, 31), date(2024, 10, 27)])
    def test_a_sorted_file_around_the_clock_change_is_in_order(
        self, office: Office, day: date
    ) -> None:
        changed = 23 if day.month == 3 else 25
        hours = [(day.day - 1, 24), (day.day, changed), (day.day + 1, 24)]
        lines = [
            f"{CUPS};{day.replace(day=number) if number < 32 else date(2024, 4, 1):%Y/%m/%d};"
            f"{hour:02d}:00;0,{place}{hour:02d};Real"
            for place, (number, length) in enumerate(hours)
            for hour in range(1, length + 1)
        ]
        header = "cups;fecha;hora;consumo_kWh;metodoObtencion"
        report = office.take("\n".join([header, *lines]))
        (curve,) = report.curves
        assert report.findings == []
        assert list(curve.energy_wh()) == [
            100 * place + hour
            for place, (_, length) in enumerate(hours)
            for hour in range(1, length + 1)
        ]
        mixed = office.take("\n".join([header, *lines[30:], *lines[:30]]))
        assert rules(mixed) == ["unsorted"]
        assert mixed.curves[0].watt_minutes == curve.watt_minutes


class TestBounds:
    def test_indexes_have_a_bound_of_their_own(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row = f"{HOME};EA;CONS;Wh;2024-01-02 00:00:00;DI1;HP;"
        text = "\n".join([R64_HEADER, *(f"{row}{value}" for value in range(100))])
        assert len(office.take(text).registers) == 100
        monkeypatch.setattr(rows, "MAX_OTHERS", 99)
        report = office.take(text, name="again")
        assert (report.registers, rules(report)) == ([], ["too_large"])
        assert rows.MAX_OTHERS < rows.MAX_ROWS

    @pytest.mark.parametrize("tag", ['<PRM a="{}"/>', "<!--{}-->", "<?a {}?>", "<PRM {}/>"])
    def test_a_tag_without_end(
        self, office: Office, monkeypatch: pytest.MonkeyPatch, tag: str
    ) -> None:
        monkeypatch.setattr(xml_stream, "MAX_TAG_BYTES", 10_000)
        monkeypatch.setattr(xml_stream, "_CHUNK_BYTES", 1_000)
        report = office.take("<R50>" + tag.format("x" * 50_000) + "</R50>")
        assert rules(report) == ["too_large"]
        assert "10000 bytes" in report.findings[0].message

    def test_stamps_that_are_none_are_not_remembered(self) -> None:
        reader = StampReader(PARIS)
        for number in range(10):
            assert reader.read(f"{number}" * 1_000) == 0
        assert reader.read("2024-01-02 00:00:00") == parse_iso_utc("2024-01-01T23:00:00Z")

    def test_rows_go_back_where_they_stood(self) -> None:
        later = rows.Rows(HOME, Direction.WITHDRAWAL)
        later.starts, later.lines = array("q", [30, 10, 20]), array("I", [3, 1, 2])
        later.steps_s, later.watt_minutes = array("H", [9, 7, 8]), array("q", [6, 4, 5])
        later.quality = bytearray(b"\3\1\2")
        later.in_order_of_the_file()
        assert [list(part) for part in (later.starts, later.steps_s, later.watt_minutes)] == [
            [10, 20, 30],
            [7, 8, 9],
            [4, 5, 6],
        ]
        assert (list(later.lines), bytes(later.quality)) == ([1, 2, 3], b"\1\2\3")
