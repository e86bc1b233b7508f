from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulations.outcome import RunOutcome, SlotFlow
from simulations.report import render_report
from simulations.report.series import day_bins, period_bins, price_bins
from simulations.report.svg import ticks, time_ticks
from simulations.report.text import energy, money, number, percent, say, shortened
from tests.support.outcomes import MIDSUMMER_S, neighbourhood
from tests.support.pages import PageReader

HOSTILE = "\"><script>alert('pwned')</script><img src=x onerror=alert(1)>{0}{x}"

RUNS = {
    "a day": neighbourhood(),
    "a month": neighbourhood(slots=24 * 30, slot_s=3_600),
    "three hours across midnight": neighbourhood(slots=18, slot_s=600, start_s=MIDSUMMER_S - 5_400),
    "one slot": neighbourhood(slots=1, start_s=MIDSUMMER_S + 43_200),
    "ten-second slots": neighbourhood(slots=360, slot_s=10, start_s=MIDSUMMER_S + 43_200),
    "seven-minute slots": neighbourhood(slots=500, slot_s=420),
    "slots of a week": neighbourhood(slots=10, slot_s=7 * 86_400),
    "no slot": replace(neighbourhood(), flows=()),
    "no roof": neighbourhood(producers=0),
    "roofs alone": neighbourhood(producers=8),
    "no trade": neighbourhood(trading=False),
    "no home": neighbourhood(homes=0),
    "one home": neighbourhood(homes=1),
    "two hundred homes": neighbourhood(homes=200, slots=24, slot_s=3_600),
}


def english(outcome: RunOutcome) -> str:
    return PageReader(render_report(outcome)).words


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_every_run_gives_a_whole_page(run: RunOutcome) -> None:
    page = render_report(run)
    reader = PageReader(page)
    ids = Counter(attributes["id"] for _, attributes in reader.tags if "id" in attributes)
    assert [name for name, times in ids.items() if times > 1] == []
    referred = re.findall(r'(?:url\(#|aria-(?:labelledby|describedby)=")([^)"]+)', page)
    assert {name for names in referred for name in names.split()} <= set(ids)
    assert not re.search(r'[="\s](nan|-?inf)\b', page)
    assert page == render_report(run)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_every_word_is_in_both_languages(run: RunOutcome) -> None:
    page = render_report(run)
    spans = re.findall(r'<(?:span|tspan) lang="(en|fr)">([^<]*)<', page)
    assert [language for language, _ in spans] == ["en", "fr"] * (len(spans) // 2)
    assert all(words for _, words in spans)
    assert "{" not in PageReader(page).words + PageReader(page, "fr").words


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_the_page_needs_nothing_but_itself(run: RunOutcome) -> None:
    page = render_report(run)
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    assert "@import" not in page
    reader = PageReader(page)
    assert all((link["href"] or "").startswith("data:") for link in reader.all("link"))
    assert not any({"src", "srcset", "xlink:href", "style"} & set(a) for _, a in reader.tags)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_every_chart_is_named_and_described(run: RunOutcome) -> None:
    reader = PageReader(render_report(run))
    charts = [svg for svg in reader.all("svg") if "chart" in (svg.get("class") or "")]
    assert all(svg["role"] == "img" and svg["aria-labelledby"] for svg in charts)
    assert len(reader.all("desc")) == len(charts)
    others = [svg for svg in reader.all("svg") if svg not in charts]
    assert all(svg.get("aria-hidden") == "true" or svg["class"] == "strokes" for svg in others)
    assert all(head.get("scope") in {"col", "row"} for head in reader.all("th"))


def test_names_are_words_and_nothing_else() -> None:
    day = neighbourhood(homes=[HOSTILE, "\u202etxt", "\udcff\x00", "Ünal & Söhne"])
    hostile = replace(
        day,
        title=HOSTILE,
        version=HOSTILE,
        chain=replace(day.chain, engine=HOSTILE),
        homes=tuple(replace(home, strategy=HOSTILE + home.name) for home in day.homes),
    )
    page = render_report(hostile)
    page.encode("utf-8")
    reader = PageReader(page)
    assert len(reader.all("script")) == 1
    assert reader.all("img") == []
    assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)
    assert HOSTILE in reader.words
    assert "Ünal & Söhne" in reader.words
    assert "\x00" not in page


def test_the_policy_names_the_one_script_and_the_one_style() -> None:
    page = render_report(neighbourhood())
    policy = next(
        meta["content"] or ""
        for meta in PageReader(page).all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2


def test_a_year_of_hours_and_a_day_of_seconds_stay_small() -> None:
    assert len(render_report(neighbourhood(slots=8_760, slot_s=3_600)).encode()) < 300_000
    assert len(render_report(neighbourhood(homes=2, slots=8_640, slot_s=10)).encode()) < 150_000


def test_a_crowd_stays_small_and_says_what_it_leaves_out() -> None:
    page = render_report(neighbourhood(homes=3_000, slots=2, start_s=MIDSUMMER_S + 43_200))
    assert len(page.encode()) < 400_000
    words = PageReader(page).words
    assert "Of 3,000 homes, the 100 that saved most and the 100 that saved least" in words
    assert "The bars are 200 homes" in words


def test_the_headline_says_what_trading_changed() -> None:
    flow = SlotFlow(0, MIDSUMMER_S, 1_000, 900, 250, 750, 650, 300, 10_000)
    words = english(replace(neighbourhood(), flows=(flow,)))
    assert (
        "8 homes covered 55.0% of their consumption with their own sun, instead of 25.0%" in words
    )
    assert "Self-sufficiency 55.0% 25.0% without the market" in words
    assert "Self-consumption 61.1% 27.8% without the market" in words
    assert "From neighbours 300 Wh 30.0% of the consumption" in words
    assert "Mean price 10.0 ct/kWh feed-in 3.0 ct/kWh, supplier 28.0 ct/kWh" in words


def test_french_says_it_with_its_own_figures() -> None:
    flow = SlotFlow(0, MIDSUMMER_S, 1_000, 900, 250, 750, 650, 300, 10_000)
    words = PageReader(render_report(replace(neighbourhood(), flows=(flow,))), "fr").words
    assert "ont couvert 55,0 % de leur consommation avec leur propre soleil" in words
    assert "Prix moyen 10,0 c€/kWh" in words
    assert "Self-sufficiency" not in words


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        ("no slot", "This run has no slots."),
        ("no roof", "No home produced anything, so there was nothing to trade"),
        ("one home", "A home alone has no neighbour to trade with"),
        ("no trade", "Nothing was traded: no ask ever met a bid."),
    ],
)
def test_a_run_without_trade_says_why(run: str, sentence: str) -> None:
    words = english(RUNS[run])
    assert sentence in words
    assert "The biggest trades" not in words


@pytest.mark.parametrize("language", ["en", "fr"])
def test_allocations_are_said_to_be_accounting(language: str) -> None:
    words = PageReader(render_report(neighbourhood()), language).words
    assert {
        "en": "nobody\u2019s electrons are steered to a neighbour",
        "fr": "les électrons de personne ne sont dirigés vers un voisin",
    }[language] in words


def test_a_run_that_adds_up_says_so() -> None:
    words = english(neighbourhood())
    assert "Every Wh and every cent accounted for." in words
    assert "Energy error 0 Wh, money error 0 units." in words


@pytest.mark.parametrize(
    ("run", "error"),
    [
        (replace(neighbourhood(), energy_error_wh=-3), "Energy error \u22123 Wh"),
        (replace(neighbourhood(), money_error_units=1), "money error 1 unit."),
    ],
)
def test_a_run_that_does_not_add_up_never_looks_as_if_it_did(run: RunOutcome, error: str) -> None:
    words = english(run)
    assert "This run does not add up." in words
    assert error in words
    assert "accounted for" not in words


def test_a_loss_is_shown_as_a_loss() -> None:
    day = neighbourhood()
    unlucky = replace(day.homes[2], savings_units=-12_345_678)
    page = render_report(replace(day, homes=(*day.homes[:2], unlucky, *day.homes[3:])))
    words = PageReader(page).words
    assert "1 home lost money" in words
    assert "Least, home-03 \u2212€0.12" in words
    assert 'class="loss"' in page
    assert 'class="loss"' not in render_report(day)


def test_several_strategies_have_a_column_one_has_a_sentence() -> None:
    day = neighbourhood()
    assert "All homes price their orders by the strategy “fixed”." in english(day)
    mixed = (replace(day.homes[0], strategy="adaptive"), *day.homes[1:])
    words = english(replace(day, homes=mixed))
    assert "Home Strategy Saved" in words
    assert "All homes price" not in words


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        ("reference", "The chain: there was none."),
        ("embedded", "an Ethereum virtual machine inside this program"),
        ("anvil", "Anvil, over JSON-RPC"),
        ("besu", "run by the chain besu"),
    ],
)
def test_what_was_real_depends_on_the_engine(engine: str, sentence: str) -> None:
    day = neighbourhood()
    words = english(replace(day, chain=replace(day.chain, engine=engine)))
    assert sentence in words
    assert "daisee simulate scenario.toml" in words
    assert ("it is worth nothing" in words) == (engine != "besu")


def test_the_grid_fee_is_named_where_there_is_one() -> None:
    assert "the buyer pays 1.50 ct/kWh" in english(replace(neighbourhood(), network_fee=1_500))
    assert "the buyer pays" not in english(neighbourhood())


def contrast(first: str, second: str) -> float:
    """WCAG 2 contrast of two colours written as #rrggbb."""

    def luminance(colour: str) -> float:
        shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_and_lines_stand_out(scheme: int) -> None:
    style = files("simulations.report").joinpath("style.css").read_text("utf-8")
    palette = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", style.split(":root {")[1 + scheme]))
    paper = palette["paper"]
    assert all(contrast(palette[name], paper) >= 4.5 for name in ("ink", "soft", "good", "bad"))
    lines = ("sun-deep", "leaf-deep", "slate-deep", "spare-deep", "leaf", "loss")
    assert [name for name in lines if contrast(palette[name], paper) < 3] == []


FLOWS = st.builds(
    lambda start, slot_s, amounts: (
        slot_s,
        [
            SlotFlow(0, start * slot_s + index * slot_s, own + imported, own + exported, own,
                     imported, exported, min(imported, exported), price)
            for index, (own, imported, exported, price) in enumerate(amounts)
        ],
    ),
    st.integers(0, 10**5),
    st.sampled_from([10, 60, 420, 900, 3_600, 86_400, 700_000]),
    st.lists(
        st.tuples(
            st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6),
            st.integers(4_000, 26_300) | st.none(),
        ),
        min_size=1,
        max_size=400,
    ),
)  # fmt: skip


@given(FLOWS)
def test_bins_are_few_and_lose_nothing(case: tuple[int, list[SlotFlow]]) -> None:
    slot_s, flows = case
    _, periods = period_bins(flows, slot_s)
    for bins in (day_bins(flows, slot_s), periods):
        assert len(bins) <= 144
        assert sum(bin_.covered_s for bin_ in bins) == slot_s * len(flows)
        assert sum(bin_.own_use_wh for bin_ in bins) == sum(flow.own_use_wh for flow in flows)
        assert sum(bin_.traded_wh for bin_ in bins) == sum(flow.traded_wh for flow in flows)
        imported = sum(bin_.traded_wh + bin_.residual_wh for bin_ in bins)
        assert imported == sum(flow.import_wh for flow in flows)
        exported = sum(bin_.traded_wh + bin_.surplus_wh for bin_ in bins)
        assert exported == sum(flow.export_wh for flow in flows)


@given(FLOWS)
def test_price_bins_are_few_and_hold_every_price(case: tuple[int, list[SlotFlow]]) -> None:
    slot_s, flows = case
    bins = price_bins(flows, slot_s)
    assert len(bins) <= 288
    assert all(bin_.low <= bin_.mean + 1e-6 and bin_.mean <= bin_.high + 1e-6 for bin_ in bins)
    prices = [flow.price for flow in flows if flow.price is not None and flow.traded_wh]
    assert bool(bins) == bool(prices)
    if prices:
        assert min(bin_.low for bin_ in bins) == min(prices)
        assert max(bin_.high for bin_ in bins) == max(prices)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_round_and_inside(low: float, span: float) -> None:
    values = ticks(low, low + span)
    assert len(values) <= 7
    assert values == sorted(set(values))
    assert all(low - span * 1e-6 <= value <= low + span * (1 + 1e-6) for value in values)


@given(st.integers(0, 4 * 10**9), st.integers(1, 10**9))
def test_time_labels_are_few_and_inside(start_s: int, span_s: int) -> None:
    named = time_ticks(start_s, start_s + span_s)
    assert len(named) <= 8
    assert all(start_s <= at_s <= start_s + span_s for at_s, _ in named)


def test_figures_are_written_as_each_language_writes_them() -> None:
    assert (number(1_234.5, 1).en, number(1_234.5, 1).fr) == ("1,234.5", "1\u202f234,5")
    assert number(-0.004, 2).en == "0.00"
    assert number(-0.006, 2).en == "\u22120.01"
    assert percent(47.79).fr == "47,8\u202f%"
    assert [energy(wh).en.replace("\u00a0", " ") for wh in (999, 1_234, 12_345, 1_234_567)] == [
        "999 Wh", "1.23 kWh", "12.3 kWh", "1,235 kWh",
    ]  # fmt: skip
    assert energy(169_643_911).fr == "169,6\u00a0MWh"
    assert (money(-12_000_000).en, money(-12_000_000).fr) == ("\u2212€0.12", "\u22120,12\u00a0€")
    assert say("it's", "c'est : ici").fr == "c\u2019est\u00a0: ici"
    assert shortened("a-very-long-name-07", 10) == "a-ver…e-07"
