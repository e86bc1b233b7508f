from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import ConfigurationError
from node.model import MAX_ENERGY_WH
from node.slots import iso_utc, parse_iso_utc
from simulations.profiles import HomeProfile, read_community, read_home_profile, whole_slots
from tests.support.shared import shared_path

JUNE_S = parse_iso_utc("2016-06-01T00:00:00Z")
HEADER = "start,load_wh,pv_wh\n"
ROW_1 = "2016-06-01T00:00:00Z,113,0\n"
ROW_2 = "2016-06-01T00:15:00Z,120,7\n"
ROW_3 = "2016-06-01T00:30:00Z,99,12\n"
GOOD = HEADER + ROW_1 + ROW_2 + ROW_3


def csv_text(start_s: int, step_s: int, steps: int) -> str:
    rows = (f"{iso_utc(start_s + i * step_s)},{i},{2 * i}\n" for i in range(steps))
    return HEADER + "".join(rows)


def written(folder: Path, text: str | bytes, name: str = "home-01.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        read_home_profile(path)
    assert caught.value.file == path
    return caught.value


def test_a_profile_is_read_as_it_stands(tmp_path: Path) -> None:
    home = read_home_profile(written(tmp_path, GOOD, "Mas de l'Om.csv"))
    assert home.name == "Mas de l'Om"
    assert (home.start_s, home.step_s, home.end_s) == (JUNE_S, 900, JUNE_S + 2700)
    assert list(home.load_wh) == [113, 120, 99]
    assert list(home.pv_wh) == [0, 7, 12]


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
        GOOD + "\n  \n\n",
        GOOD.removesuffix("\n"),
        GOOD.replace("00:15:00Z", "02:15:00+02:00"),
        GOOD.replace(",7", ", 7 "),
        GOOD.replace("Z,120", 'Z,"120"'),
    ],
    ids=["crlf", "bom", "blank-end", "no-newline", "other-offset", "spaces", "quoted"],
)
def test_harmless_differences_of_writing_are_accepted(tmp_path: Path, text: str) -> None:
    assert list(read_home_profile(written(tmp_path, text)).load_wh) == [113, 120, 99]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "the first line is empty"),
        ("\n" + GOOD, 1, "the first line is empty"),
        (HEADER, 1, "no row below the header"),
        (HEADER + ROW_1, 2, "a single row"),
        ("start,load_wh\n" + ROW_1, 1, "the column pv_wh is missing"),
        ("start,pv_wh,load_wh\n" + ROW_1, 1, "the columns are start,pv_wh,load_wh"),
        ("start,load_wh,pv_wh,note\n" + ROW_1, 1, "the columns are"),
        ("x" * 6_000 + GOOD, 1, "the column start is missing"),
        (ROW_1 + ROW_2, 1, "the column start is missing"),
        (GOOD + "2016-06-01T00:45:00Z,1\n", 5, "2 fields instead of 3"),
        (GOOD + "2016-06-01T00:45:00Z,1,2,3\n", 5, "4 fields instead of 3"),
        (GOOD + "2016-06-01T00:45:00Z,1,\n", 5, "pv_wh is ''"),
        (HEADER + "yesterday,1,2\n", 2, "'yesterday' is no start of a step"),
        (HEADER + "x" * 6_000 + ",1,2\n", 2, "is no start of a step"),
        (HEADER + "2016-06-01T00:00:00,1,2\n", 2, "with its UTC offset"),
        (HEADER + "2016-06-01T00:00:00.5Z,1,2\n", 2, "in whole seconds"),
        (HEADER + "1816-06-01T00:00:00Z,1,2\n", 2, "before 1970"),
        (GOOD + "2016-06-01T01:00:00Z,1,2\n", 5, "a gap: 30 min"),
        (GOOD + "2016-06-01T00:40:00Z,1,2\n", 5, "unequal steps: 10 min"),
        (GOOD + ROW_3, 5, "2016-06-01T00:30:00Z stands twice"),
        (HEADER + ROW_1 + ROW_1, 3, "stands twice"),
        (GOOD + ROW_1, 5, "is before 2016-06-01T00:30:00Z"),
        (HEADER + ROW_2 + ROW_1, 3, "is before"),
        (HEADER + ROW_1 + "\n" + ROW_2, 3, "a blank line among the rows"),
        (GOOD.replace("113", "-113"), 2, "load_wh is '-113': not a whole number"),
        (GOOD.replace("12\n", "12.5\n"), 4, "pv_wh is '12.5': not a whole number"),
        (GOOD.replace("12\n", "12.0\n"), 4, "not a whole number"),
        (GOOD.replace("12\n", "1e3\n"), 4, "not a whole number"),
        (GOOD.replace("12\n", "nan\n"), 4, "not a whole number"),
        (GOOD.replace("12\n", "1_2\n"), 4, "not a whole number"),
        (GOOD.replace("12\n", "١٢\n"), 4, "not a whole number"),
        (GOOD.replace("113", str(MAX_ENERGY_WH + 1)), 2, "above 16777215 Wh"),
        (GOOD.replace("113", "9" * 6_000), 2, "above 16777215 Wh"),
        (GOOD.replace("120", '"120'), 4, "not CSV"),
        (GOOD.encode().replace(b"99", b"9\xff9"), 4, "not UTF-8"),
        (GOOD.encode("utf-16"), 1, "not UTF-8"),
    ],
)
def test_what_is_no_complete_profile_is_refused_with_its_line(
    tmp_path: Path, text: str | bytes, line: int, says: str
) -> None:
    error = refusal(written(tmp_path, text))
    assert says in error.message
    assert error.line == line
    assert len(error.message) < 400


def test_the_largest_energy_is_accepted(tmp_path: Path) -> None:
    text = GOOD.replace("113", f"000{MAX_ENERGY_WH}")
    assert read_home_profile(written(tmp_path, text)).load_wh[0] == MAX_ENERGY_WH


def test_a_file_that_cannot_be_opened_is_a_configuration_error(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "missing.csv").message
    (tmp_path / "folder.csv").mkdir()
    assert "cannot be read" in refusal(tmp_path / "folder.csv").message


@given(
    start_s=st.integers(0, 4_000_000_000),
    step_s=st.integers(1, 86_400),
    energies=st.lists(
        st.tuples(st.integers(0, MAX_ENERGY_WH), st.integers(0, MAX_ENERGY_WH)),
        min_size=2,
        max_size=40,
    ),
)
def test_what_is_written_is_what_is_read(
    start_s: int, step_s: int, energies: list[tuple[int, int]]
) -> None:
    rows = (
        f"{iso_utc(start_s + i * step_s)},{load},{pv}\n" for i, (load, pv) in enumerate(energies)
    )
    with tempfile.TemporaryDirectory() as folder:
        home = read_home_profile(written(Path(folder), HEADER + "".join(rows)))
    assert (home.start_s, home.step_s) == (start_s, step_s)
    assert list(zip(home.load_wh, home.pv_wh, strict=True)) == energies


def test_a_community_is_cut_to_the_time_that_all_homes_cover(tmp_path: Path) -> None:
    written(tmp_path, csv_text(JUNE_S, 900, 8), "b.csv")
    written(tmp_path, csv_text(JUNE_S + 1800, 900, 8), "a.csv")
    written(tmp_path, csv_text(JUNE_S + 900, 900, 8), "c.csv")
    written(tmp_path, "not a home", "readme.txt")
    written(tmp_path, b"\x00\x05", "._a.csv")
    homes = read_community(tmp_path)
    assert [home.name for home in homes] == ["a", "b", "c"]
    assert {(home.start_s, home.steps) for home in homes} == {(JUNE_S + 1800, 6)}
    assert [list(home.load_wh) for home in homes] == [
        [0, 1, 2, 3, 4, 5],
        [2, 3, 4, 5, 6, 7],
        [1, 2, 3, 4, 5, 6],
    ]
    assert list(homes[1].pv_wh) == [4, 6, 8, 10, 12, 14]


def test_a_folder_without_homes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no home profile"):
        read_community(tmp_path)
    with pytest.raises(ConfigurationError, match="no such folder"):
        read_community(tmp_path / "missing")
    with pytest.raises(ConfigurationError, match="no such folder"):
        read_community(written(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (csv_text(JUNE_S, 1800, 8), "steps of 30 min, but home-01.csv has steps of 15 min"),
        (csv_text(JUNE_S + 300, 900, 8), "lie across those of home-01.csv"),
        (csv_text(JUNE_S + 7200, 900, 8), "do not overlap in time"),
    ],
)
def test_homes_that_do_not_go_together_are_refused(tmp_path: Path, other: str, says: str) -> None:
    written(tmp_path, csv_text(JUNE_S, 900, 8), "home-01.csv")
    path = written(tmp_path, other, "home-02.csv")
    with pytest.raises(ConfigurationError, match=says) as caught:
        read_community(tmp_path)
    assert caught.value.file == path


def profile(start_s: int, step_s: int, steps: int) -> HomeProfile:
    return HomeProfile("home-01", start_s, step_s, tuple(range(steps)), (0,) * steps)


def test_partial_slots_at_the_ends_are_dropped() -> None:
    home = whole_slots(profile(JUNE_S + 900, 900, 12), 3600)
    assert (home.start_s, home.end_s) == (JUNE_S + 3600, JUNE_S + 10_800)
    assert home.load_wh == tuple(range(3, 11))


def test_a_profile_of_whole_slots_stays_as_it_is() -> None:
    home = profile(JUNE_S, 900, 4)
    assert whole_slots(home, 900) is home
    assert whole_slots(home, 3600) is home


@pytest.mark.parametrize(
    ("home", "slot_s", "says"),
    [
        (profile(JUNE_S, 3600, 4), 900, "slots of 15 min are shorter"),
        (profile(JUNE_S, 600, 4), 900, "no multiple"),
        (profile(JUNE_S + 300, 900, 8), 1800, "run across the boundaries"),
        (profile(JUNE_S + 900, 900, 4), 3600, "covers no whole slot of 1 h"),
    ],
)
def test_slots_that_the_steps_do_not_fill_are_refused(
    home: HomeProfile, slot_s: int, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        whole_slots(home, slot_s)


def test_a_profile_without_steps_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="0 steps"):
        HomeProfile("home-01", 0, 900, (), ())
    with pytest.raises(ValueError, match="1 steps of load, 2 of PV"):
        HomeProfile("home-01", 0, 900, (1,), (1, 2))
    with pytest.raises(ValueError, match="steps of 0 s"):
        HomeProfile("home-01", 0, 0, (1,), (1,))


def test_a_year_of_seventeen_homes_is_read_to_the_wh() -> None:
    homes = read_community(shared_path("data/fontana17"))
    assert [(home.steps, home.step_s) for home in homes] == [(8_760, 3600)] * 17
    assert sum(sum(home.load_wh) for home in homes) == 169_643_911
    assert sum(sum(home.pv_wh) for home in homes) == 103_425_584
