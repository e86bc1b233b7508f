"""Coefficient files, out and in: French with their loss, Spanish with their exact sums."""

from __future__ import annotations

import random
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.billing.allocation import SCALE, allocate
from node.billing.coefficients import french_files, read_french_file
from node.billing.coefficients_es import (
    hours_of,
    read_spanish_file,
    spanish_fixed,
    spanish_hourly,
)
from node.billing.identifiers import cups_check_letters
from node.billing.keys import default_dynamic, full_dynamic
from node.billing.series import MISSING
from node.errors import ConfigurationError
from node.slots import parse_iso_utc
from tests.support.shared import shared_path

PARIS = ZoneInfo("Europe/Paris")
ROOF, HALL = "30000000000001", "30000000000002"
FLAT, MILL = "40000000000001", "40000000000002"
AUTUMN_S = parse_iso_utc("2026-10-25T00:00:00Z")
HALF_HOURS = [AUTUMN_S + 1_800 * step for step in range(4)]
"""From 02:00 summer time on: the hour that comes twice."""

CAU = "ES0021000000000001RK0FA000"


def cups(number: int) -> str:
    digits = f"{number:016d}"
    return f"ES{digits}{cups_check_letters(digits)}0F"


def test_a_french_file_floors_to_a_tenth_of_a_percent() -> None:
    allocation = allocate(
        default_dynamic(),
        {ROOF: [1_000, 0, 700, 1_000], HALL: [500, 0, 0, 0]},
        {FLAT: [1_000, 5, 600, 1], MILL: [2_000, 5, 300, 2]},
    )
    files = french_files(allocation, HALF_HOURS, PARIS)
    assert list(files.texts) == [f"{ROOF}.csv", f"{HALL}.csv"]
    assert files.texts[f"{ROOF}.csv"] == (
        f"Horodate;{FLAT};{MILL}\r\n"
        "2026-10-25T02:00:00+02:00;33,3;66,7\r\n"
        "2026-10-25T02:30:00+02:00;0,0;0,0\r\n"
        "2026-10-25T02:00:00+01:00;66,7;33,2\r\n"
        "2026-10-25T02:30:00+01:00;0,1;0,2\r\n"
    )
    assert files.allocated_wh == 1_500 + 700 + 3
    assert files.lost_wh == {FLAT: 1, MILL: 1}
    assert files.total_lost_wh == 2


@given(seed=st.integers(0, 2**32))
def test_the_loss_is_what_the_operator_would_allocate_less(seed: int) -> None:
    """Read the files back and allocate by them: the difference is the loss that was stated."""
    rng = random.Random(seed)
    production = {point: [rng.randint(0, 3_000) for _ in HALF_HOURS] for point in (ROOF, HALL)}
    consumption = {point: [rng.randint(0, 2_000) for _ in HALF_HOURS] for point in (FLAT, MILL)}
    allocation = allocate(default_dynamic(), production, consumption)
    files = french_files(allocation, HALF_HOURS, PARIS)
    shares = {}
    for name, text in files.texts.items():
        rows = [row.split(";")[1:] for row in text.splitlines()[1:]]
        columns = zip(*rows, strict=True)
        shares[name.removesuffix(".csv")] = {
            point: [int(cell.replace(",", "")) * 1_000 for cell in column]
            for point, column in zip((FLAT, MILL), columns, strict=True)
        }
    by_file = allocate(full_dynamic(shares), production, consumption)
    for point in consumption:
        assert (
            sum(allocation.allocated[point]) - sum(by_file.allocated[point])
            == (files.lost_wh[point])
        )


def test_a_gap_has_no_coefficients() -> None:
    allocation = allocate(default_dynamic(), {ROOF: [1, MISSING]}, {FLAT: [1, 1]})
    with pytest.raises(ConfigurationError, match=r"2026-10-25T02:30:00\+02:00 has a gap"):
        french_files(allocation, HALF_HOURS[:2], PARIS)


def french(folder: Path, text: str, name: str = f"{ROOF}.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode("utf-8"))
    return path


def test_a_french_file_is_read_back(tmp_path: Path) -> None:
    allocation = allocate(default_dynamic(), {ROOF: [900] * 4}, {FLAT: [300] * 4, MILL: [500] * 4})
    text = french_files(allocation, HALF_HOURS, PARIS).texts[f"{ROOF}.csv"]
    producer, shares = read_french_file(french(tmp_path, text), HALF_HOURS, PARIS)
    assert producer == ROOF
    assert {point: list(curve) for point, curve in shares.items()} == {
        FLAT: [333_000] * 4,
        MILL: [555_000] * 4,
    }


def test_bare_local_times_are_told_apart_by_their_order(tmp_path: Path) -> None:
    rows = ("02:00:00;1,5", "02:30:00;2,5", "02:00:00;3,5", "02:30:00;100")
    text = f"\ufeffHorodate;{FLAT}\n" + "".join(f"2026-10-25 {row}\n" for row in rows)
    _, shares = read_french_file(french(tmp_path, text), HALF_HOURS, PARIS)
    assert list(shares[FLAT]) == [15_000, 25_000, 35_000, SCALE]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"csv:1: does not begin"),
        (f"Date;{FLAT}\n", "does not begin"),
        ("Horodate;123\n", "14 digits"),
        (f"Horodate;{FLAT};{FLAT}\n", "twice"),
        (f"Horodate;{FLAT}\n2026-10-25T00:00:00Z;50.0\n", r"csv:2: '50\.0' is no percentage"),
        (f"Horodate;{FLAT}\n2026-10-25T00:00:00Z;50,01\n", "no percentage"),
        (f"Horodate;{FLAT}\n2026-10-25T00:00:00Z;\n", "no percentage"),
        (f"Horodate;{FLAT}\n2026-10-25T00:00:00Z;100,1\n", "sum to 100,1"),
        (f"Horodate;{FLAT}\n2026-10-25T00:00:00Z;1;2\n", "2 coefficients for 1"),
        (f"Horodate;{FLAT}\n2026-10-25T00:30:00Z;1\n", "belongs"),
        (f"Horodate;{FLAT}\n2026-10-25T00:00:00Z;1\n", "1 rows of the 4 steps"),
        (f"Horodate;{FLAT}\n" + "2026-10-25T00:00:00Z;1\n" * 2, "csv:3: "),
        (f"Horodate;{FLAT};{MILL}\n2026-10-25T00:00:00Z;60,0;40,1\n", "sum to 100,1 %"),
    ],
)
def test_a_french_file_that_cannot_be_used_is_refused(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_french_file(french(tmp_path, text), HALF_HOURS, PARIS)


def test_a_french_file_with_a_row_too_many_or_another_name_is_refused(tmp_path: Path) -> None:
    text = f"Horodate;{FLAT}\n2026-10-25T00:00:00Z;1\n2026-10-25T00:30:00Z;1\n"
    with pytest.raises(ConfigurationError, match="a row too many"):
        read_french_file(french(tmp_path, text), HALF_HOURS[:1], PARIS)
    with pytest.raises(ConfigurationError, match="named after it"):
        read_french_file(french(tmp_path, text, "roof.csv"), HALF_HOURS, PARIS)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_french_file(tmp_path / f"{HALL}.csv", HALF_HOURS, PARIS)
    (tmp_path / f"{MILL}.csv").write_bytes(b"Horodate;\xff\n")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        read_french_file(tmp_path / f"{MILL}.csv", HALF_HOURS, PARIS)


def test_the_spanish_sample_is_read_and_written_again() -> None:
    path = shared_path(f"acc/{CAU}_2025.txt")
    found = read_spanish_file(path)
    assert (found.cau, found.year) == (CAU, 2025)
    assert list(found.shares.values()) == [250_000, 750_000]
    assert found.text().encode() == path.read_bytes()
    assert found.file_name == path.name


def test_what_rounding_leaves_goes_to_one_named_consumer() -> None:
    weights = {cups(1): 1, cups(2): 1, cups(3): 1}
    shares = spanish_fixed(CAU, 2026, weights, residue_to=cups(2))
    assert list(shares.shares.values()) == [333_333, 333_334, 333_333]
    assert (shares.residue_to, shares.residue) == (cups(2), 1)
    assert spanish_fixed(CAU, 2026, {cups(1): 1, cups(2): 2}).residue_to == cups(2)
    assert spanish_fixed(CAU, 2026, weights).residue_to == cups(1)


@pytest.mark.parametrize(("year", "hours"), [(2025, 8_760), (2028, 8_784)])
def test_hourly_files_have_every_hour_and_come_back(year: int, hours: int, tmp_path: Path) -> None:
    assert hours_of(year) == hours
    rng = random.Random(year)
    weights = {cups(n): [rng.randint(0, 3) for _ in range(hours)] for n in (1, 2, 3)}
    for curve in weights.values():
        curve[11] = 0
    written = spanish_hourly(CAU, year, weights)
    path = tmp_path / written.file_name
    path.write_bytes(written.text().encode("ascii"))
    lines = written.text().split("\r\n")
    assert len(lines) == 3 * hours + 1
    assert lines[0].startswith(f"{cups(1)};0001;")
    assert lines[hours - 1].startswith(f"{cups(1)};{hours};")
    assert read_spanish_file(path).shares == written.shares
    columns = [share for share in written.shares.values() if not isinstance(share, int)]
    assert all(sum(hour) == SCALE for hour in zip(*columns, strict=True))


@given(
    weights=st.lists(st.integers(0, 10**6), min_size=1, max_size=9).filter(any),
    place=st.integers(0, 8),
)
def test_coefficients_always_sum_to_one(weights: list[int], place: int) -> None:
    named = cups(place % len(weights))
    written = spanish_fixed(CAU, 2026, {cups(n): w for n, w in enumerate(weights)}, named)
    shares = [share for share in written.shares.values() if isinstance(share, int)]
    assert sum(shares) == SCALE
    assert 0 <= written.residue < len(weights)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("coefficients.txt", "", "not named"),
        (f"{CAU[:18]}XX0FA000_2025.txt", "", "check letters of this CUPS are RK"),
        (f"{CAU}_2025.txt", "", "sum is 0,000000"),
        (f"{CAU}_2025.txt", f"{cups(1)};1,000000;\n", "six decimals"),
        (f"{CAU}_2025.txt", "x\n", "neither"),
        (f"{CAU}_2025.txt", "ES0021000000000001XX0F;1,000000\n", "txt:1: .*are RK"),
        (f"{CAU}_2025.txt", f"{cups(1)[:20]};1,000000\n", "all 22 characters"),
        (f"{CAU}_2025.txt", f"{cups(1)};1.000000\n", "six decimals"),
        (f"{CAU}_2025.txt", f"{cups(1)};0,500000\n{cups(1)};0,500000\n", "txt:2: .*already"),
        (f"{CAU}_2025.txt", f"{cups(1)};0,999999\n", "sum is 0,999999"),
        (f"{CAU}_2025.txt", f"{cups(1)};0002;1,000000\n", "'0002' where 0001 belongs"),
        (f"{CAU}_2025.txt", f"{cups(1)};0001;1,000000\n", "1 hours of 8760"),
        (f"{CAU}_2025.txt", f"{cups(1)};1,000000\n{cups(2)};0001;1,000000\n", "mixes"),
        (f"{CAU}_2025.txt", f"{cups(1)};0001;1,000000\n{cups(2)};1,000000\n", "mixes"),
        (
            f"{CAU}_2025.txt",
            f"{cups(1)};0001;0,500000\n{cups(2)};0001;0,500000\n{cups(1)};0002;0,500000\n",
            "already",
        ),
    ],
)
def test_a_spanish_file_that_cannot_be_used_is_refused(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="ascii")
    with pytest.raises(ConfigurationError, match=message):
        read_spanish_file(path)


def test_spanish_coefficients_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    for weights, message in (
        ({}, "nobody"),
        ({cups(1): 0}, "share nothing"),
        ({cups(1): 2, cups(2): -1}, "share nothing"),
        ({"ES1": 1}, "22 characters"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            spanish_fixed(CAU, 2026, weights)
    with pytest.raises(ConfigurationError, match="has no coefficient"):
        spanish_fixed(CAU, 2026, {cups(1): 1}, cups(2))
    with pytest.raises(ConfigurationError, match="CAU 'ES1'"):
        spanish_fixed("ES1", 2026, {cups(1): 1})
    with pytest.raises(ConfigurationError, match="has 3 hours"):
        spanish_hourly(CAU, 2026, {cups(1): [1, 2, 3]})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_spanish_file(tmp_path / f"{CAU}_2025.txt")
    (tmp_path / f"{CAU}_2025.txt").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="ASCII"):
        read_spanish_file(tmp_path / f"{CAU}_2025.txt")
