"""Files of operators, good and bad: the expected series or the expected finding."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from node.billing.conformity import Finding, FindingClass, Treatment
from node.billing.importing import FileReport, read_files
from node.billing.perimeter import Membership, Perimeter
from node.billing.rows import Expectations
from node.billing.series import MISSING, Curve, Direction, SharedPart, StepQuality
from node.slots import parse_iso_utc
from tests.support.shared import shared_path

PARIS = ZoneInfo("Europe/Paris")
MEMBER = "30000000000011"
OK_WH = 2964  # the 48 values of ok_day.csv, 100 W to 147 W for half an hour each


def read(path: Path, perimeter: Perimeter | None = None, step_s: int | None = None) -> FileReport:
    (report,) = read_files(path, Expectations(PARIS, perimeter, step_s))
    assert report.rows == report.accepted + report.empty + report.refused
    return report


def shared(name: str, *, in_perimeter: bool = False) -> FileReport:
    perimeter = Perimeter.of([Membership(MEMBER, None, 0)]) if in_perimeter else None
    return read(shared_path(f"acc/{name}"), perimeter)


def curve_of(report: FileReport) -> Curve:
    (curve,) = report.curves
    return curve


def at(curve: Curve, stamp: str) -> int:
    """The watts of the step that begins at a local stamp."""
    unix_s = int(datetime.fromisoformat(stamp).timestamp())
    value = curve.watt_minutes[(unix_s - curve.start_s) // curve.step_s]
    assert value * 60 % curve.step_s == 0
    return value * 60 // curve.step_s


def only(report: FileReport) -> Finding:
    (finding,) = report.findings
    assert finding.file == report.file
    return finding


class TestRealFiles:
    def test_r50_is_stamped_at_the_end(self) -> None:
        report = shared("enedis_R50_C5_PT30M.xml")
        curve = curve_of(report)
        assert (report.rows, report.findings, len(curve)) == (48, [], 48)
        assert (curve.point_id, curve.direction) == ("09111642617347", Direction.WITHDRAWAL)
        assert curve.start_s == parse_iso_utc("2022-02-02T00:00:00+01:00")
        assert at(curve, "2022-02-02T00:00:00+01:00") == 476
        assert at(curve, "2022-02-02T23:30:00+01:00") == 616
        assert curve.energy_wh()[0] == 238
        assert report.published_s == parse_iso_utc("2022-02-04T03:00:41+01:00")

    def test_the_historical_order_and_the_service_give_identical_series(self) -> None:
        order = curve_of(shared("enedis_HDM_C5_20220105_12_crosscheck.csv"))
        service = curve_of(shared("enedis_SGE_ConsultationMesuresDetaillees_C5_PA.xml"))
        assert len(service) == 336
        same = order.window(service.start_s, service.end_s)
        assert same.watt_minutes == service.watt_minutes
        assert same.quality == service.quality
        assert same.energy_wh() == service.energy_wh()
        assert (same.point_id, same.direction) == (service.point_id, service.direction)

    def test_a_c4_order_without_unit_is_stamped_at_the_start(self) -> None:
        report = shared("enedis_HDM_C4_PT10M_DSTspring2020.csv")
        curve = curve_of(report)
        assert report.findings == []
        assert curve.step_s == 600
        assert curve.start_s == parse_iso_utc("2020-03-28T00:00:00+01:00")
        assert curve.end_s == parse_iso_utc("2020-03-31T00:00:00+02:00")
        assert at(curve, "2020-03-28T00:50:00+01:00") == 6000
        assert at(curve, "2020-03-30T23:40:00+02:00") == 9000

    @pytest.mark.parametrize(
        ("name", "day", "after", "steps"),
        [
            ("enedis_HDM_C4_PT10M_DSTspring2020.csv", "2020-03-29+01:00", "2020-03-30+02:00", 138),
            ("enedis_HDM_C5_PT30M_DSTspring2021.csv", "2021-03-28+01:00", "2021-03-29+02:00", 46),
            ("enedis_HDM_C4_PT10M_DSTspring2020.csv", "2020-03-28+01:00", "2020-03-29+01:00", 144),
        ],
    )
    def test_the_spring_day_has_an_hour_less(
        self, name: str, day: str, after: str, steps: int
    ) -> None:
        curve = curve_of(shared(name))
        from_s = parse_iso_utc(f"{day[:10]}T00:00:00{day[10:]}")
        to_s = parse_iso_utc(f"{after[:10]}T00:00:00{after[10:]}")
        window = curve.window(from_s, to_s)
        assert len(window) == window.values == steps

    def test_the_step_that_changes_inside_the_historical_order(self) -> None:
        report = shared("enedis_HDM_C5_PT30M_DSTspring2021.csv")
        curve = curve_of(report)
        assert (report.rows, report.accepted, report.empty) == (158, 145, 13)
        assert curve.step_s == 1800
        from_s = parse_iso_utc("2021-01-07T13:00:00+01:00")
        assert list(curve.energy_wh_between(from_s, from_s + 3600)) == [531, 530]  # 1061 W, 1 h
        hour = curve.window(from_s, from_s + 3600)
        assert set(hour.quality) == {StepQuality.ESTIMATED}
        assert at(curve, "2021-03-27T00:00:00+01:00") == 170
        rules = [finding.rule for finding in report.findings]
        assert rules == ["step_changes", "gap", "gap"]
        assert report.findings[0].treatment is Treatment.REPAIR
        assert report.findings[1].line == 4

    def test_r63_example(self) -> None:
        report = shared("ENEDIS_R63_P_CdC_example_2rows.csv")
        curve = curve_of(report)
        assert report.findings == []
        assert curve.start_s == parse_iso_utc("2023-03-13T00:00:00+01:00")
        assert list(curve.energy_wh()) == [346, 642]

    def test_data_connect(self) -> None:
        report = shared("dataconnect_metering_data_clc_v5.json")
        curve = curve_of(report)
        assert curve.start_s == parse_iso_utc("2019-05-06T02:30:00+02:00")
        assert list(curve.energy_wh()) == [270]

    def test_r151_names_the_day_whose_end_it_is_of(self) -> None:
        report = shared("enedis_R151_C5_index.xml")
        assert [value.value_wh for value in report.registers] == [9_744_495, 9_744_495]
        assert {value.taken_at_s for value in report.registers} == {
            parse_iso_utc("2022-02-03T00:00:00+01:00")
        }
        assert [value.calendar for value in report.registers] == ["DI000001", "FC000165"]
        finding = only(report)
        assert (finding.klass, finding.rule) == (FindingClass.USELESS, "other_quantity")

    def test_r15_with_the_classes_of_collective_self_consumption(self) -> None:
        expected = json.loads(
            shared_path("acc/enedis_R15_ACC_anon.expected.json").read_text(encoding="utf-8")
        )[0]
        report = shared("enedis_R15_ACC_anon.xml")
        assert report.findings == []
        shares = {
            f"ea_{energy.part}_index_{energy.register.lower()}_kwh": energy.energy_wh // 1000
            for energy in report.energies
            if energy.part is not SharedPart.WHOLE
        }
        wanted = {key: value for key, value in expected.items() if key.endswith("_kwh")}
        assert shares == wanted
        assert {energy.point_id for energy in report.energies} == {expected["pdl"]}
        assert {energy.to_s for energy in report.energies} == {
            parse_iso_utc(expected["date_releve"])
        }
        (whole,) = (e for e in report.energies if e.part is SharedPart.WHOLE)
        assert whole.energy_wh == 101_000
        assert [value.value_wh for value in report.registers] == [10_160_000, 15_276_000]


class TestBadFiles:
    def test_every_bad_file_is_tested_here(self) -> None:
        expected = json.loads(shared_path("acc/bad/EXPECTED.json").read_text(encoding="utf-8"))
        assert set(expected) == {
            "ok_day.csv",
            "missing_point.csv",
            "duplicate_same.csv",
            "unknown_prm.csv",
            "prm_13_digits.csv",
            "mixed_step.csv",
            "unsorted.csv",
            "empty_value.csv",
        }

    def test_a_good_day(self) -> None:
        report = shared("bad/ok_day.csv", in_perimeter=True)
        assert (report.accepted, report.findings) == (48, [])
        assert sum(curve_of(report).energy_wh()) == OK_WH

    def test_a_missing_point_is_a_gap(self) -> None:
        report = shared("bad/missing_point.csv", in_perimeter=True)
        finding = only(report)
        assert (report.accepted, finding.rule, finding.line) == (47, "gap", 22)
        assert (finding.klass, finding.treatment) == (
            FindingClass.NON_STANDARD,
            Treatment.ESTIMATE,
        )
        assert finding.to_s == parse_iso_utc("2025-04-02T10:30:00+02:00")
        assert finding.from_s == parse_iso_utc("2025-04-02T10:00:00+02:00")
        assert MISSING in curve_of(report).energy_wh()

    def test_an_identical_duplicate_is_dropped_with_a_warning(self) -> None:
        report = shared("bad/duplicate_same.csv", in_perimeter=True)
        finding = only(report)
        assert (report.rows, report.accepted, report.refused) == (49, 48, 1)
        assert (finding.rule, finding.treatment, finding.rows) == ("duplicate", Treatment.DROP, 1)
        assert sum(curve_of(report).energy_wh()) == OK_WH

    def test_a_point_outside_the_perimeter_is_useless(self) -> None:
        report = shared("bad/unknown_prm.csv", in_perimeter=True)
        finding = only(report)
        assert report.curves == []
        assert (finding.klass, finding.treatment) == (FindingClass.USELESS, Treatment.DROP)
        assert (finding.line, finding.last_line, finding.rows) == (2, 49, 48)
        assert finding.raw == ""  # other people's data are not kept

    def test_a_prm_of_13_digits_is_refused(self) -> None:
        report = shared("bad/prm_13_digits.csv", in_perimeter=True)
        finding = only(report)
        assert (report.curves, finding.rule, finding.rows) == ([], "point_form", 48)
        assert (finding.klass, finding.treatment) == (FindingClass.NON_STANDARD, Treatment.ASK)

    def test_a_step_that_changes_inside_the_day_is_normalised_by_energy(self) -> None:
        report = shared("bad/mixed_step.csv", in_perimeter=True)
        curve, finding = curve_of(report), only(report)
        assert (report.accepted, curve.step_s, curve.values) == (96, 1800, 48)
        assert (finding.rule, finding.treatment, finding.line) == (
            "step_changes",
            Treatment.REPAIR,
            26,
        )
        assert at(curve, "2025-04-02T11:30:00+02:00") == 123
        assert at(curve, "2025-04-02T12:00:00+02:00") == (172 + 173 + 174) // 3
        halves = sum(range(100, 124)) * 30
        tens = sum(range(172, 244)) * 10
        assert sum(curve.watt_minutes) == halves + tens

    def test_the_step_of_the_operation_prevails(self) -> None:
        path = shared_path("acc/bad/mixed_step.csv")
        curve = curve_of(read(path, step_s=600))
        assert (curve.step_s, len(curve)) == (600, 144)
        assert sum(curve.watt_minutes) == sum(range(100, 124)) * 30 + sum(range(172, 244)) * 10
        assert at(curve, "2025-04-02T12:00:00+02:00") == 172

    def test_unsorted_rows_are_accepted_after_sorting(self) -> None:
        report = shared("bad/unsorted.csv", in_perimeter=True)
        assert (report.accepted, only(report).rule) == (48, "unsorted")
        good = curve_of(shared("bad/ok_day.csv"))
        assert curve_of(report).watt_minutes == good.watt_minutes

    def test_a_missing_value_is_a_gap_and_never_0(self) -> None:
        report = shared("bad/empty_value.csv", in_perimeter=True)
        finding, curve = only(report), curve_of(report)
        assert (report.accepted, report.empty) == (47, 1)
        assert (finding.rule, finding.line) == ("gap", 7)
        assert list(curve.gaps()) == [(finding.from_s, finding.to_s)]
        assert 0 not in curve.energy_wh()


def test_what_is_no_curve_file_is_corrupt_and_asked_about() -> None:
    for name in ("accise_rules.csv", "SOURCES.md", "acc_allocation_vectors.json"):
        finding = only(shared(name))
        assert (finding.klass, finding.rule) == (FindingClass.CORRUPT, "unknown_format")
