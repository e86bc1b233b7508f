"""The report in a real browser: what it asks for, what it complains about, how it lies on paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from simulations.outcome import RunOutcome
from simulations.report import render_report
from tests.support.browser import Page, open_page
from tests.support.outcomes import neighbourhood

PHONE_PX, DESKTOP_PX = 360, 1280
LONG_NAME = "<script>window.pwned=1</script>" + "a_name_that_never_ends" * 8

DAY = neighbourhood()
RUNS = {
    "day": DAY,
    "year": neighbourhood(homes=17, slots=8_760, slot_s=3_600),
    "crowd": neighbourhood(homes=200, slots=48, slot_s=1_800),
    "no-roof": neighbourhood(homes=40, producers=0),
    "alone": neighbourhood(homes=1, slots=200),
    "hostile": replace(
        neighbourhood(homes=[LONG_NAME, "b", LONG_NAME * 2]),
        title=LONG_NAME,
        chain=replace(DAY.chain, engine=LONG_NAME),
    ),
}

OUTSIDE = """[...document.querySelectorAll('svg.chart text')]
  .map((node) => [node.textContent, node.getBoundingClientRect()])
  .filter(([, box]) => box.width > 0 && (box.left < -1 || box.right > innerWidth + 1))
  .map(([words, box]) => `${words} ${box.left} ${box.right}`)"""
FITS = "document.scrollingElement.scrollWidth <= innerWidth"
HEADLINE = "document.querySelector('.headline').innerText"
CHART_TITLE = "document.querySelector('svg.chart > title').textContent"
FRENCH = re.compile(r"8\sfoyers ont couvert")
ENGLISH = re.compile(r"8\shomes covered")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def day(tmp_path: Path) -> Path:
    return written(tmp_path, DAY)


def written(folder: Path, run: RunOutcome) -> Path:
    file = folder / "report.html"
    file.write_text(render_report(run), encoding="utf-8")
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE_PX, DESKTOP_PX])
@pytest.mark.parametrize("run", RUNS)
def test_it_asks_for_nothing_complains_of_nothing_and_fits(
    page: Page, tmp_path: Path, run: str, width: int, scheme: str
) -> None:
    file = written(tmp_path, RUNS[run])
    page.open(file, width=width, dark=scheme == "dark")
    page.screenshot(tmp_path / "report.png")
    assert page.evaluate("innerWidth") == width
    assert page.evaluate(FITS) is True
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert page.complaints == []
    assert page.requests == [file.as_uri()]


def test_the_reader_s_own_language_comes_first(page: Page, day: Path) -> None:
    page.open(day, language="fr-FR")
    assert FRENCH.search(str(page.evaluate(HEADLINE)))
    assert page.evaluate("document.documentElement.lang") == "fr"
    page.open(day, language="de-DE")
    assert ENGLISH.search(str(page.evaluate(HEADLINE)))


def test_the_switch_turns_every_word_into_the_other_language(page: Page, day: Path) -> None:
    page.open(day)
    assert page.evaluate(CHART_TITLE) == "Where the energy came from"
    page.click("label[for=fr]")
    assert FRENCH.search(str(page.evaluate(HEADLINE)))
    assert page.evaluate(CHART_TITLE) == "D\u2019où venait l\u2019énergie"
    assert page.evaluate("document.documentElement.lang") == "fr"
    text = str(page.evaluate("document.querySelector('main').innerText"))
    assert not re.search(r"\b(the|and|with|home)\b", text.replace("home-", ""))
    page.click("label[for=en]")
    assert ENGLISH.search(str(page.evaluate(HEADLINE)))
    assert page.evaluate("document.documentElement.lang") == "en"


def test_it_reads_and_switches_without_scripts(page: Page, day: Path) -> None:
    page.open(day, language="fr-FR", scripts=False)
    assert ENGLISH.search(str(page.evaluate(HEADLINE)))
    page.click("label[for=fr]")
    assert FRENCH.search(str(page.evaluate(HEADLINE)))
    assert page.complaints == []


@pytest.mark.parametrize("run", RUNS)
def test_it_prints(page: Page, tmp_path: Path, run: str) -> None:
    page.open(written(tmp_path, RUNS[run]))
    page.print_pdf(tmp_path / "report.pdf")
    pdf = (tmp_path / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 1 <= pages <= 16
    assert page.complaints == []


def test_paper_is_white_even_for_a_reader_of_dark_pages(page: Page, day: Path) -> None:
    page.open(day, medium="print", dark=True, width=680)
    style = "getComputedStyle(document.documentElement)"
    assert page.evaluate(f"{style}.backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(f"{style}.color") == "rgb(29, 36, 44)"
    assert page.evaluate("getComputedStyle(document.querySelector('.switch')).display") == "none"
    assert page.evaluate(FITS) is True
    assert page.evaluate(OUTSIDE) == []


def test_what_shows_a_complaint_would_show_one(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "loud.html"
    file.write_text(
        "<!doctype html><title>loud</title><link rel=icon href='data:,'>"
        "<script>console.warn('careful')</script><img src='missing.png'>"
        "<script>nothing.here()</script>",
        encoding="utf-8",
    )
    page.open(file)
    assert page.requests == [file.as_uri(), (tmp_path / "missing.png").as_uri()]
    complaints = " ".join(page.complaints)
    assert "careful" in complaints
    assert "ERR_FILE_NOT_FOUND" in complaints
    assert "nothing is not defined" in complaints
