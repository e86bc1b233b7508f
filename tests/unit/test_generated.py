from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from node.errors import ConfigurationError
from node.slots import parse_iso_utc
from simulations.generated import (
    PRATS_DE_MOLLO,
    GeneratedSpan,
    Place,
    generate_community,
    home_name,
)
from simulations.profiles import HomeProfile

pytest.importorskip("pvlib", reason="the simulator extra is not installed")
pytest.importorskip("demandlib", reason="the simulator extra is not installed")

# After importorskip: these need the libraries.
import numpy as np

from simulations.generated.home import Home, draw_home
from simulations.generated.load import bursts, french_holidays
from simulations.generated.model import HomeEnergies, generate

JUNE_S = parse_iso_utc("2026-06-15T00:00:00Z")
NEW_YEAR_S = parse_iso_utc("2026-01-01T00:00:00Z")
DAY_S = 86_400
JUNE = GeneratedSpan(homes=8, start_s=JUNE_S, days=2, step_s=900, seed=7, place=PRATS_DE_MOLLO)


def generated(span: GeneratedSpan) -> list[HomeEnergies]:
    return list(generate(span))


def numbers(homes: list[HomeEnergies]) -> list[tuple[list[int], list[int]]]:
    return [(home.load_wh.tolist(), home.pv_wh.tolist()) for home in homes]


def homes_of(seed: int, count: int = 8) -> Iterator[Home]:
    return (draw_home(seed, number, northern=True) for number in range(1, count + 1))


@pytest.fixture(scope="module")
def june() -> list[HomeProfile]:
    return generate_community(8, JUNE_S, 2, 900, seed=7)


@pytest.fixture(scope="module")
def year() -> list[HomeEnergies]:
    return generated(replace(JUNE, start_s=NEW_YEAR_S, days=365))


def test_a_community_has_named_homes_with_every_step(june: list[HomeProfile]) -> None:
    assert [home.name for home in june] == [f"home-0{number}" for number in range(1, 9)]
    assert {(home.start_s, home.step_s, home.steps) for home in june} == {(JUNE_S, 900, 192)}
    assert min(min(home.load_wh) for home in june) >= 0
    assert min(min(home.pv_wh) for home in june) == 0


def test_the_process_apart_gives_what_the_model_gives(june: list[HomeProfile]) -> None:
    apart = [(list(home.load_wh), list(home.pv_wh)) for home in june]
    assert apart == numbers(generated(JUNE))


def test_another_seed_makes_another_community() -> None:
    assert numbers(generated(JUNE)) != numbers(generated(replace(JUNE, seed=8)))


def test_a_home_does_not_depend_on_how_many_there_are() -> None:
    assert numbers(generated(replace(JUNE, homes=3))) == numbers(generated(JUNE))[:3]


def test_a_shorter_span_is_the_beginning_of_a_longer_one() -> None:
    longer = numbers(generated(replace(JUNE, days=5)))
    assert numbers(generated(JUNE)) == [(load[:192], pv[:192]) for load, pv in longer]


def test_a_day_is_the_same_wherever_the_span_starts() -> None:
    # But for the part of a Wh that is carried over midnight.
    whole = generated(replace(JUNE, start_s=JUNE_S - 3 * DAY_S, days=4))
    for home, later in zip(whole, generated(replace(JUNE, days=1)), strict=True):
        assert abs(home.load_wh[288:] - later.load_wh).max() <= 1
        assert abs(home.pv_wh[288:] - later.pv_wh).max() <= 1


@pytest.mark.parametrize("step_s", [10, 60, 600, 3600])
def test_no_energy_is_lost_between_step_lengths(step_s: int) -> None:
    for home, other in zip(
        generated(replace(JUNE, homes=4)),
        generated(replace(JUNE, homes=4, step_s=step_s)),
        strict=True,
    ):
        assert len(other.load_wh) == 2 * DAY_S // step_s
        # J of each step are whole numbers too, so the sums differ by at most half a J per step.
        assert abs(int(home.load_wh.sum()) - int(other.load_wh.sum())) <= 3
        assert abs(int(home.pv_wh.sum()) - int(other.pv_wh.sum())) <= 3


def test_seconds_show_an_appliance_at_its_power() -> None:
    (home,) = generated(replace(JUNE, homes=1, step_s=10))
    kettle_wh = 2_000 * 10 / 3600
    assert home.load_wh.max() >= kettle_wh


@pytest.mark.parametrize("seed", range(5))
def test_five_homes_of_eight_have_panels_and_the_first_two_can_trade(seed: int) -> None:
    homes = list(homes_of(seed, 16))
    assert [sum(home.roof is not None for home in homes[i : i + 8]) for i in (0, 8)] == [5, 5]
    assert homes[0].roof is not None
    assert homes[1].roof is None
    for home in homes:
        assert 2_000_000 <= home.annual_wh < 6_500_000
        assert home.roof is None or 2_000 <= home.roof.peak_w <= 6_000


def test_a_year_of_load_is_near_each_homes_nominal_one(year: list[HomeEnergies]) -> None:
    for energies, home in zip(year, homes_of(JUNE.seed), strict=True):
        assert 0.94 < energies.load_wh.sum() / home.annual_wh < 1.06


def test_a_year_of_sun_is_one_of_southern_france(year: list[HomeEnergies]) -> None:
    for energies, home in zip(year, homes_of(JUNE.seed), strict=True):
        if home.roof is None:
            assert energies.pv_wh.max() == 0
            continue
        of_day_kwh_per_kwp = energies.pv_wh.reshape(365, 96).sum(axis=1) / home.roof.peak_w
        assert 900 < of_day_kwh_per_kwp.sum() < 1_500
        assert 5 < of_day_kwh_per_kwp[151:212].max() < 6.6
        assert of_day_kwh_per_kwp[:31].max() < 4.2
        assert energies.pv_wh.max() * 4 <= home.roof.peak_w
        night = energies.pv_wh.reshape(365, 96)[:, :12]
        assert night.max() == 0


def test_all_homes_are_under_one_sky(year: list[HomeEnergies]) -> None:
    daily = [
        home.pv_wh.reshape(365, 96).sum(axis=1)[151:212] for home in year if home.pv_wh.max() > 0
    ]
    dull, bright = daily[0].argmin(), daily[0].argmax()
    for other in daily[1:]:
        assert other[dull] < other[bright] / 2


def test_households_draw_most_in_the_evening_and_more_in_winter(year: list[HomeEnergies]) -> None:
    by_quarter = np.sum([home.load_wh for home in year], axis=0).reshape(365, 96)
    by_hour = by_quarter[151:212].mean(axis=0).reshape(24, 4).sum(axis=1)
    assert by_hour[17] > 2 * by_hour[2]  # 19 h and 4 h of summer time
    assert by_quarter[:59].mean() > 1.1 * by_quarter[151:212].mean()


def test_a_night_event_follows_the_local_clock() -> None:
    zone = ZoneInfo("Europe/Paris")
    home = next(home for home in homes_of(1, 64) if home.water_heater)
    for start_s, offset_s in ((NEW_YEAR_S, 3600), (JUNE_S, 7200)):
        heats = [
            burst
            for burst in bursts(home, zone, start_s, start_s + 3 * DAY_S, seed=1)
            if burst.power_w == 2_200
        ]
        assert {(burst.start_s + offset_s) % DAY_S for burst in heats} == {home.offpeak_s % DAY_S}
        assert len(heats) == 5


def test_holidays_are_the_french_ones() -> None:
    of_2026 = french_holidays(2026)
    assert len(of_2026) == 11
    for day in (date(2026, 4, 6), date(2026, 5, 14), date(2026, 5, 25), date(2026, 7, 14)):
        assert day in of_2026
    easter_mondays = {2016: date(2016, 3, 28), 2024: date(2024, 4, 1), 2038: date(2038, 4, 26)}
    for year, monday in easter_mondays.items():
        assert monday in french_holidays(year)


@pytest.mark.parametrize(
    ("latitude_deg", "longitude_deg", "timezone"),
    [(-33.9, 18.4, "Africa/Johannesburg"), (64.9, -18.1, "Atlantic/Reykjavik"), (0.0, 0.0, "UTC")],
)
def test_other_places_have_their_own_noon(
    latitude_deg: float, longitude_deg: float, timezone: str
) -> None:
    place = Place("elsewhere", latitude_deg, longitude_deg, 10.0, timezone)
    (home,) = generated(replace(JUNE, homes=1, start_s=NEW_YEAR_S, days=4, place=place))
    by_hour = home.pv_wh.reshape(4, 24, 4).sum(axis=(0, 2))
    solar_noon_h = 12 - longitude_deg / 15
    assert abs(int(by_hour.argmax()) + 0.5 - solar_noon_h) < 2.5


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"homes": 0}, "0 homes"),
        ({"homes": 10_001}, "10001 homes"),
        ({"days": 0}, "0 days"),
        ({"step_s": 0}, "does not divide the day"),
        ({"step_s": 7}, "does not divide the day"),
        ({"start_s": JUNE_S + 60}, "no multiple of the step"),
        ({"start_s": -900}, "from 1970 to 2099"),
        ({"days": 40_000}, "from 1970 to 2099"),
        ({"homes": 1_000, "days": 3_650}, "more than 50000000 steps"),
        ({"seed": -1}, "the seed -1 is below 0"),
    ],
)
def test_what_makes_no_community_is_a_configuration_error(wrong: dict[str, int], says: str) -> None:
    right = {"homes": 8, "start_s": JUNE_S, "days": 1, "step_s": 900, "seed": 1}
    with pytest.raises(ConfigurationError, match=says):
        generate_community(**{**right, **wrong}, place=PRATS_DE_MOLLO)


@pytest.mark.parametrize(
    ("numbers_of_it", "timezone", "says"),
    [
        ((70.0, 2.5, 735.0, 8.0), "Europe/Paris", "latitude 70.0"),
        ((42.4, 181.0, 735.0, 8.0), "Europe/Paris", "longitude 181.0"),
        ((42.4, 2.5, float("nan"), 8.0), "Europe/Paris", "altitude nan"),
        ((42.4, 2.5, 735.0, -1.0), "Europe/Paris", "skyline -1.0"),
        ((42.4, 2.5, 735.0, 8.0), "Europe/Prats", "no time zone is named 'Europe/Prats'"),
        ((42.4, 2.5, 735.0, 8.0), "../etc/passwd", "no time zone is named"),
        ((42.4, 2.5, 735.0, 8.0), "", "no time zone is named ''"),
    ],
)
def test_a_place_is_somewhere_people_live(
    numbers_of_it: tuple[float, float, float, float], timezone: str, says: str
) -> None:
    latitude_deg, longitude_deg, altitude_m, skyline_deg = numbers_of_it
    with pytest.raises(ValueError, match=says):
        Place("nowhere", latitude_deg, longitude_deg, altitude_m, timezone, skyline_deg)


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pvlib", None)
    with pytest.raises(ConfigurationError, match="need pvlib") as caught:
        generate_community(2, JUNE_S, 1, 900, seed=1)
    assert "install the simulator extra" in caught.value.next_step


def test_a_process_that_fails_is_not_taken_for_a_community(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 12345678\necho out of memory >&2\nexit 9\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(RuntimeError, match="ended with 9\nout of memory"):
        generate_community(2, JUNE_S, 1, 900, seed=1)


@pytest.mark.parametrize(
    ("number", "homes", "name"),
    [(1, 1, "home-01"), (9, 99, "home-09"), (9, 100, "home-009"), (1_000, 1_000, "home-1000")],
)
def test_a_home_has_a_name_that_sorts(number: int, homes: int, name: str) -> None:
    assert home_name(number, homes) == name
