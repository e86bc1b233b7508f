"""Formats of which no real file was at hand, built from their descriptions; and the clock changes,
units and sides of a stamp of every format."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from node.billing.conformity import FindingClass, Treatment
from node.billing.importing import FileReport, read_files
from node.billing.perimeter import Membership, Perimeter
from node.billing.rows import Expectations
from node.billing.series import MISSING, Curve, Direction, StepQuality
from node.slots import iso_utc, parse_iso_utc
from tests.support.curve_files import R63_HEADER, ends, prm, r63_row, write_r50, write_r63
from tests.support.curve_files import write_r63_json as write_json

PARIS = ZoneInfo("Europe/Paris")
HOME = prm(1)
SPRING, NORMAL, AUTUMN = date(2025, 3, 30), date(2025, 4, 2), date(2025, 10, 26)
CUPS = "ES0021000000000001RK"

Reading = Callable[..., FileReport]


@pytest.fixture
def read(tmp_path: Path) -> Reading:
    def reading(
        text: str,
        name: str = "file",
        perimeter: Perimeter | None = None,
        direction: Direction | None = None,
    ) -> FileReport:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        (report,) = read_files(path, Expectations(PARIS, perimeter, None, direction))
        assert report.rows == report.accepted + report.empty + report.refused
        return report

    return reading


def curve_of(report: FileReport) -> Curve:
    (curve,) = report.curves
    return curve


def rules(report: FileReport) -> list[str]:
    return [finding.rule for finding in report.findings]


def r63(rows: list[str]) -> str:
    return "\n".join([R63_HEADER, *rows]) + "\n"


def local(end: datetime) -> str:
    return end.strftime("%Y-%m-%d %H:%M:%S")


def r4x(
    rows: list[tuple[str, str, str]],
    *,
    minutes: int = 10,
    unit: str = "kW",
    quantity: str = "EA",
) -> str:
    points = "".join(
        f'<Donnees_Point_Mesure Horodatage="{stamp}" Valeur_Point="{value}"'
        f' Statut_Point="{state}"/>'
        for stamp, value, state in rows
    )
    return (
        "<?xml version='1.0' encoding='UTF-8'?><Courbe><Entete><Identifiant_Flux>R4x"
        "</Identifiant_Flux><Date_Creation>2025-04-03T04:00:00+02:00</Date_Creation></Entete>"
        f"<Corps><Identifiant_PRM>{HOME}</Identifiant_PRM><Donnees_Courbe>"
        f"<Granularite>{minutes}</Granularite><Unite_Mesure>{unit}</Unite_Mesure>"
        f"<Grandeur_Metier>CONS</Grandeur_Metier><Grandeur_Physique>{quantity}</Grandeur_Physique>"
        f"{points}</Donnees_Courbe></Corps></Courbe>"
    )


class TestClockChanges:
    @pytest.mark.parametrize(("day", "steps"), [(SPRING, 46), (NORMAL, 48), (AUTUMN, 50)])
    @pytest.mark.parametrize("write", [write_r63, write_json, write_r50])
    def test_half_hours(
        self, tmp_path: Path, write: Callable[..., Path], day: date, steps: int
    ) -> None:
        path = write(tmp_path / "file", [HOME], day, 1)
        (report,) = read_files(path, Expectations(PARIS))
        curve = curve_of(report)
        assert (report.findings, len(curve), curve.values) == ([], steps, steps)
        assert curve.start_s == int(datetime.combine(day, datetime.min.time(), PARIS).timestamp())

    @pytest.mark.parametrize(("day", "steps"), [(SPRING, 138), (NORMAL, 144), (AUTUMN, 150)])
    def test_ten_minutes(self, read: Reading, day: date, steps: int) -> None:
        stamps = ends(day, 1, 600)
        starts = [(end.astimezone(UTC) - timedelta(minutes=10)).astimezone(PARIS) for end in stamps]
        report = read(r4x([(start.isoformat(), "7", "R") for start in starts]))
        curve = curve_of(report)
        assert (report.findings, len(curve), curve.values) == ([], steps, steps)
        bare = r63([r63_row(HOME, local(end), "7000", step="PT10M") for end in stamps])
        assert curve_of(read(bare)).watt_minutes == curve.watt_minutes

    def test_all_formats_of_one_meter_give_one_series(self, tmp_path: Path) -> None:
        curves = [
            curve_of(
                next(read_files(write(tmp_path / "f", [HOME], AUTUMN, 2), Expectations(PARIS)))
            )
            for write in (write_r63, write_json, write_r50)
        ]
        assert curves[0].watt_minutes == curves[1].watt_minutes == curves[2].watt_minutes

    def test_descending_rows_of_the_autumn_day(self, read: Reading) -> None:
        rows = [r63_row(HOME, local(end), str(n)) for n, end in enumerate(ends(AUTUMN, 1, 1800))]
        rising, falling = curve_of(read(r63(rows))), curve_of(read(r63(rows[::-1])))
        assert rising.watt_minutes == falling.watt_minutes

    def test_an_hour_told_once_on_the_autumn_day_is_asked_about(self, read: Reading) -> None:
        stamps = dict.fromkeys(local(end) for end in ends(AUTUMN, 1, 1800))
        report = read(r63([r63_row(HOME, stamp, "60") for stamp in stamps]))
        assert (report.rows, report.accepted, report.refused) == (48, 46, 2)
        assert {"twice_told_hour", "gap"} == set(rules(report))
        assert curve_of(report).values == 46

    def test_a_local_time_that_the_clock_skipped_is_an_error_of_the_file(
        self, read: Reading
    ) -> None:
        report = read(r63([r63_row(HOME, "2025-03-30 02:30:00", "60")]))
        assert (rules(report), report.refused, report.curves) == (["skipped_hour"], 1, [])


class TestSilentErrors:
    def test_r4x_is_in_kw_and_stamped_at_the_start(self, read: Reading) -> None:
        report = read(
            r4x(
                [
                    ("2025-04-02T00:00:00+02:00", "3", "R"),
                    ("2025-04-02T00:10:00+02:00", "", ""),
                    ("2025-04-02T00:20:00+02:00", "5", "E"),
                    ("2025-04-02T00:30:00+02:00", "6", "C"),
                ]
            )
        )
        curve = curve_of(report)
        assert curve.start_s == parse_iso_utc("2025-04-02T00:00:00+02:00")
        assert list(curve.watt_minutes) == [30_000, MISSING, 50_000, 60_000]
        assert list(curve.energy_wh()) == [500, MISSING, 833, 1000]
        assert [StepQuality(code).word for code in curve.quality] == [
            "metered",
            "gap",
            "estimated",
            "corrected",
        ]
        assert (report.empty, rules(report)) == (1, ["gap"])

    def test_reactive_energy_is_told_and_left_out(self, read: Reading) -> None:
        report = read(r4x([("2025-04-02T00:00:00+02:00", "3", "R")], quantity="ERI", unit="kWr"))
        (finding,) = report.findings
        assert (finding.klass, finding.rule, finding.rows) == (
            FindingClass.USELESS,
            "other_quantity",
            1,
        )

    @pytest.mark.parametrize(
        ("unit", "value", "wh"), [("W", "1500", 750), ("kW", "1.5", 750), ("Wh", "750", 750)]
    )
    def test_the_unit_is_that_of_the_row(
        self, read: Reading, unit: str, value: str, wh: int
    ) -> None:
        row = r63_row(HOME, "2025-04-02 00:30:00", value).replace(";W;", f";{unit};")
        assert list(curve_of(read(r63([row]))).energy_wh()) == [wh]

    @pytest.mark.parametrize("unit", ["", "MW", "VAR", "w/h"])
    def test_another_unit_is_refused(self, read: Reading, unit: str) -> None:
        row = r63_row(HOME, "2025-04-02 00:30:00", "1").replace(";W;", f";{unit};")
        report = read(r63([row]))
        assert (rules(report), report.findings[0].treatment) == (["unit"], Treatment.ASK)

    @pytest.mark.parametrize("value", ["-5", "1,5", "1e3", "NaN", "٣", "12 000", "9" * 30, "0x1"])
    def test_a_number_of_another_form_is_refused_not_guessed(
        self, read: Reading, value: str
    ) -> None:
        report = read(r63([r63_row(HOME, "2025-04-02 00:30:00", value)]))
        assert (rules(report), report.refused) == (["number"], 1)

    @pytest.mark.parametrize("step", ["", "PT7M", "30", "PT0M", "P1D"])
    def test_a_step_that_nobody_publishes_is_refused(self, read: Reading, step: str) -> None:
        report = read(r63([r63_row(HOME, "2025-04-02 00:30:00", "1", step=step)]))
        assert (rules(report), report.refused) == (["step"], 1)

    def test_letter_and_step_tell_the_side_of_the_stamp(self, read: Reading) -> None:
        linky = read(r63([r63_row(HOME, "2025-04-02 00:10:00", "60", nature="B", step="PT10M")]))
        other = read(r63([r63_row(HOME, "2025-04-02 00:10:00", "60", nature="R", step="PT10M")]))
        assert iso_utc(curve_of(linky).start_s) == "2025-04-01T22:00:00Z"
        assert iso_utc(curve_of(other).start_s) == "2025-04-01T22:10:00Z"

    def test_a_side_that_does_not_show_is_asked_about_unless_the_perimeter_tells(
        self, read: Reading
    ) -> None:
        text = r63([r63_row(HOME, "2025-04-02 00:30:00", "60", nature="C")])
        assert rules(read(text)) == ["stamp_side"]
        for segment, start in (("C5", "2025-04-01T22:00:00Z"), ("C4", "2025-04-01T22:30:00Z")):
            perimeter = Perimeter.of([Membership(HOME, None, 0, segment=segment)])
            assert iso_utc(curve_of(read(text, perimeter=perimeter)).start_s) == start

    def test_a_letter_against_the_segment_is_asked_about(self, read: Reading) -> None:
        perimeter = Perimeter.of([Membership(HOME, None, 0, segment="C4")])
        text = r63([r63_row(HOME, "2025-04-02 00:30:00", "60")])
        assert rules(read(text, perimeter=perimeter)) == ["stamp_side"]

    def test_an_order_whose_unit_and_step_contradict_is_asked_about(self, read: Reading) -> None:
        head = (
            "Identifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;"
            "Grandeur metier;Etape metier;Unite;Pas en minutes\n"
            f"{HOME};Courbe de charge;;;Energie active;Consommation;Comptage Brut;;\n"
            "Horodate;Valeur\n"
        )
        rows = "".join(f"2025-04-02T0{hour}:00:00+02:00;60\n" for hour in range(6))
        assert rules(read(head + rows)) == ["stamp_side"]

    def test_missing_rows_of_an_order_without_step_are_a_gap_not_a_longer_step(
        self, read: Reading
    ) -> None:
        head = (
            "Identifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;"
            "Grandeur metier;Etape metier;Unite;Pas en minutes\n"
            f"{HOME};Courbe de charge;;;Energie active;Consommation;Comptage Brut;W;\n"
            "Horodate;Valeur\n"
        )
        stamps = [end.isoformat() for end in ends(NORMAL, 1, 1800)]
        kept = [stamp for number, stamp in enumerate(stamps) if number not in {10, 20, 21}]
        report = read(head + "".join(f"{stamp};600\n" for stamp in kept))
        curve = curve_of(report)
        assert rules(report) == ["gap", "gap"]
        assert (curve.step_s, curve.values, sum(curve.energy_wh()) + 3) == (1800, 45, 45 * 300)

    def test_ten_minutes_of_power_lose_no_wh(self, read: Reading) -> None:
        stamps = [local(end) for end in ends(NORMAL, 1, 600)]
        report = read(r63([r63_row(HOME, stamp, "500", step="PT10M") for stamp in stamps]))
        assert sum(curve_of(report).energy_wh()) == 500 * 24


class TestRows:
    def test_two_values_for_one_step_are_a_conflict_and_neither_wins(self, read: Reading) -> None:
        report = read(
            r63(
                [
                    r63_row(HOME, "2025-04-02 00:30:00", "60"),
                    r63_row(HOME, "2025-04-02 01:00:00", "60"),
                    r63_row(HOME, "2025-04-02 01:00:00", "61"),
                    r63_row(HOME, "2025-04-02 01:30:00", "60"),
                ]
            )
        )
        assert rules(report) == ["conflict", "conflict", "gap"]
        assert [finding.line for finding in report.findings[:2]] == [3, 4]
        assert list(curve_of(report).energy_wh()) == [30, MISSING, 30]

    def test_a_correction_in_the_same_file_goes_before_the_raw_value(self, read: Reading) -> None:
        raw = r63_row(HOME, "2025-04-02 00:30:00", "60")
        corrected = r63_row(HOME, "2025-04-02 00:30:00", "80").replace(";BRUT;", ";CORRIGE;")
        report = read(r63([raw, corrected]))
        assert rules(report) == ["superseded"]
        assert list(curve_of(report).energy_wh()) == [40]

    def test_rows_outside_the_dates_of_the_perimeter_are_useless(self, read: Reading) -> None:
        until_s = parse_iso_utc("2025-04-02T12:00:00+02:00")
        perimeter = Perimeter.of([Membership(HOME, Direction.WITHDRAWAL, 0, until_s)])
        rows = [r63_row(HOME, local(end), "60") for end in ends(NORMAL, 1, 1800)]
        report = read(r63(rows), perimeter=perimeter)
        (finding,) = report.findings
        assert (report.accepted, finding.rows) == (24, 24)
        assert (finding.klass, finding.rule) == (FindingClass.USELESS, "outside_dates")

    def test_a_value_beyond_the_subscribed_power_is_doubtful(self, read: Reading) -> None:
        perimeter = Perimeter.of([Membership(HOME, None, 0, kva=9)])
        report = read(r63([r63_row(HOME, "2025-04-02 00:30:00", "10801")]), perimeter=perimeter)
        assert rules(report) == ["above_subscribed_power"]
        assert list(curve_of(report).quality) == [StepQuality.DOUBTFUL]

    def test_headers_without_accents_or_with_broken_ones(self, read: Reading) -> None:
        row = r63_row(HOME, "2025-04-02 00:30:00", "60")
        for header in (
            R63_HEADER.replace("é", "e"),
            R63_HEADER.replace("é", "\ufffd"),
            R63_HEADER.replace("é", "Ã©"),
            "\ufeff" + R63_HEADER,
        ):
            assert list(curve_of(read(f"{header}\n{row}\n")).energy_wh()) == [30]

    def test_a_row_with_another_number_of_columns(self, read: Reading) -> None:
        rows = [r63_row(HOME, local(end), "60") for end in ends(NORMAL, 1, 1800)]
        report = read(r63([*rows[:10], rows[10] + ";x", *rows[11:40], rows[40][:30]]))
        assert (report.rows, report.accepted, report.refused) == (41, 39, 2)
        assert [f.line for f in report.findings if f.rule == "columns"] == [12, 42]


class TestOtherFlows:
    def test_r64_json_and_csv(self, read: Reading) -> None:
        values = [{"d": "2025-04-02 00:00:00", "v": 123456, "iv": 0}]
        register = {"idClasseTemporelle": "HP", "valeur": values}
        calendar = {
            "idCalendrier": "DI1",
            "libelleCalendrier": "H\ufffd",
            "classeTemporelle": [register],
        }
        quantity = {
            "grandeurMetier": "CONS",
            "grandeurPhysique": "EA",
            "unite": "Wh",
            "calendrier": [calendar],
            "cadranTotalisateur": {"codeCadran": "T", "valeur": values},
        }
        measure = {"idPrm": HOME, "contexte": [{"etapeMetier": "BRUT", "grandeur": [quantity]}]}
        text = json.dumps({"header": {"codeFlux": "R64"}, "mesures": [measure]})
        from_json = read(text)
        assert [v.register for v in from_json.registers] == ["HP", "T"]
        assert {iso_utc(v.taken_at_s) for v in from_json.registers} == {"2025-04-01T22:00:00Z"}
        header = (
            "Identifiant PRM;Grandeur physique;Grandeur métier;Unité;Horodate;"
            "Identifiant calendrier;Identifiant classe temporelle;Valeur;Indice de vraisemblance"
        )
        from_csv = read(f"{header}\n{HOME};EA;CONS;Wh;2025-04-02 00:00:00;DI1;HP;123456;1\n")
        (value,) = from_csv.registers
        assert (value.value_wh, value.quality) == (123_456, StepQuality.DOUBTFUL)

    def test_r171_takes_active_energy(self, read: Reading) -> None:
        def series(quantity: str, unit: str) -> str:
            return (
                f"<serieMesuresDatees><prmId>{HOME}</prmId><type>INDEX</type>"
                f"<grandeurMetier>CONS</grandeurMetier><grandeurPhysique>{quantity}"
                "</grandeurPhysique><typeCalendrier>D</typeCalendrier><codeClasseTemporelle>HPH"
                f"</codeClasseTemporelle><unite>{unit}</unite><mesuresDateesListe><mesureDatee>"
                "<dateFin>2025-03-01T00:51:11</dateFin><valeur>1320</valeur></mesureDatee>"
                "</mesuresDateesListe></serieMesuresDatees>"
            )

        report = read(
            '<ns2:R171 xmlns:ns2="http://www.enedis.fr/stm/R171"><entete><flux>R171</flux></entete>'
            f"<serieMesuresDateesListe>{series('EA', 'Wh')}{series('PMA', 'VA')}"
            "</serieMesuresDateesListe></ns2:R171>"
        )
        (value,) = report.registers
        assert (value.value_wh, iso_utc(value.taken_at_s)) == (1320, "2025-02-28T23:51:11Z")
        assert rules(report) == ["other_quantity"]

    def test_sge_v3_and_a_fault(self, read: Reading) -> None:
        point = "<points><v>60</v><d>2025-04-02 00:30:00</d><p>PT30M</p><n>B</n></points>"
        body = (
            '<s:Envelope xmlns:s="x"><s:Body><consulterMesuresDetailleesResponseV3>'
            f"<pointId>{HOME}</pointId><grandeur><grandeurMetier>PROD</grandeurMetier>"
            f"<grandeurPhysique>PA</grandeurPhysique><unite>W</unite>{point}</grandeur>"
            "</consulterMesuresDetailleesResponseV3></s:Body></s:Envelope>"
        )
        curve = curve_of(read(body))
        assert (curve.direction, list(curve.energy_wh())) == (Direction.INJECTION, [30])
        fault = '<s:Envelope xmlns:s="x"><s:Body><s:Fault><faultstring>SGT589</faultstring>'
        report = read(fault + "</s:Fault></s:Body></s:Envelope>")
        assert rules(report) == ["unreadable"]
        assert "SGT589" in report.findings[0].message

    def test_data_connect_does_not_say_which_direction_it_is_of(self, read: Reading) -> None:
        item = {"value": "60", "date": "2025-04-02 00:30:00", "interval_length": "PT30M"}
        text = json.dumps(
            {
                "meter_reading": {
                    "usage_point_id": HOME,
                    "reading_type": {"unit": "W"},
                    "interval_reading": [item],
                }
            }
        )
        both = Perimeter.of([Membership(HOME, None, 0)])
        producer = Perimeter.of([Membership(HOME, Direction.INJECTION, 0)])
        assert rules(read(text, perimeter=both)) == ["direction"]
        assert curve_of(read(text, perimeter=producer)).direction is Direction.INJECTION
        stated = read(text, perimeter=both, direction=Direction.INJECTION)
        assert curve_of(stated).direction is Direction.INJECTION

    def test_data_connect_daily_energy(self, read: Reading) -> None:
        reading = {
            "usage_point_id": HOME,
            "reading_type": {"unit": "Wh"},
            "interval_reading": [{"value": "11776", "date": "2025-03-30"}],
        }
        (energy,) = read(json.dumps({"meter_reading": reading})).energies
        assert energy.from_s is not None
        assert (energy.energy_wh, energy.to_s - energy.from_s) == (11_776, 23 * 3600)

    @pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (NORMAL, 24), (AUTUMN, 25)])
    def test_datadis_counts_the_hours_of_the_day(
        self, read: Reading, day: date, hours: int
    ) -> None:
        rows = "".join(
            f"{CUPS};{day:%Y/%m/%d};{hour:02d}:00;0,{hour:03d};Real\n"
            for hour in range(1, hours + 1)
        )
        report = read(f"cups;fecha;hora;consumo_kWh;metodo\n{rows}")
        curve = curve_of(report)
        assert (report.findings, list(curve.energy_wh())) == ([], list(range(1, hours + 1)))
        assert curve.step_s == 3600

    @pytest.mark.parametrize("day", [SPRING, AUTUMN])
    def test_datadis_by_the_clock(self, read: Reading, day: date) -> None:
        labels = [1, 2, 4] if day == SPRING else [1, 2, 3, 3, 4]
        labels += range(5, 25)
        rows = "".join(f"{CUPS};{day:%d/%m/%Y};{hour};0,1;E\n" for hour in labels)
        report = read(f"CUPS;Fecha;Hora;Consumo_kWh;Metodo_obtencion\n{rows}")
        curve = curve_of(report)
        assert report.findings == []
        assert set(curve.energy_wh()) == {100}
        assert len(curve) == len(labels)
        assert set(curve.quality) == {StepQuality.ESTIMATED}

    def test_datadis_days_of_the_change_that_could_be_either_are_asked_about(
        self, read: Reading
    ) -> None:
        rows = "".join(f"{CUPS};2025/10/26;{hour:02d}:00;0,1;Real\n" for hour in range(1, 25))
        report = read(f"cups;fecha;hora;consumo_kWh;metodo\n{rows}")
        assert (report.accepted, report.refused) == (2, 22)

    def test_datadis_refuses_hour_0_and_wrong_check_letters(self, read: Reading) -> None:
        text = f"cups;fecha;hora;consumo_kWh;metodo\n{CUPS};2025/04/02;00:00;0,1;Real\n"
        assert rules(read(text)) == ["hour"]
        assert rules(read(text.replace("RK", "RT").replace("00:00", "01:00"))) == ["point_form"]

    def test_the_czech_sharing_file(self, read: Reading) -> None:
        roof, home = "859182400000000001", "859182400000000002"
        text = (
            f"Datum;Cas od;Cas do;IN-{roof}-D;OUT-{roof}-D;IN-{home}-O;OUT-{home}-O\n"
            "05.02.2025;11:00;11:15;0,83;0,14;-0,74;-0,05;\n"
            "05.02.2025;11:15;11:30;0,0;0,0;-0,1;;\n"
        )
        report = read(text)
        curves = {(curve.point_id, curve.direction): curve for curve in report.curves}
        assert {key: list(curve.energy_wh()) for key, curve in curves.items()} == {
            (roof, Direction.INJECTION): [830, 0],
            (roof, Direction.SURPLUS): [140, 0],
            (home, Direction.WITHDRAWAL): [740, 100],
            (home, Direction.RESIDUAL): [50, MISSING],
        }
        assert {curve.start_s for curve in report.curves} == {parse_iso_utc("2025-02-05T10:00:00Z")}
        assert (report.rows, report.empty, rules(report)) == (8, 1, ["gap"])
        assert rules(read(text.replace("0,83", "-0,83"))) == ["sign", "gap"]

    def test_a_czech_column_of_two_signs_is_asked_about(self, read: Reading) -> None:
        home = "859182400000000002"
        text = (
            f"Datum;Cas od;Cas do;IN-{home}-O\n05.02.2025;11:00;11:15;-0,74\n"
            "05.02.2025;11:15;11:30;0,74\n05.02.2025;11:30;11:46;-0,1\n"
        )
        assert rules(read(text)) == ["sign", "step"]

    @pytest.mark.parametrize(("day", "steps"), [(SPRING, 92), (AUTUMN, 100)])
    def test_the_czech_clock_changes(self, read: Reading, day: date, steps: int) -> None:
        prague = ZoneInfo("Europe/Prague")
        rows = []
        for end in ends(day, 1, 900, prague):
            start = (end.astimezone(UTC) - timedelta(minutes=15)).astimezone(prague)
            rows.append(f"{start:%d.%m.%Y;%H:%M};{end:%H:%M};-0,25;")
        text = "Datum;Cas od;Cas do;IN-859182400000000002-O\n" + "\n".join(rows)
        report = read(text)
        assert (report.findings, len(curve_of(report))) == ([], steps)
