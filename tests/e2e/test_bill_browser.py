"""Bills in a real browser: on a phone and on a desk, on paper, in both languages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.billing.bill_files import bill_files, period_files
from node.billing.bill_page import render_bill
from node.billing.bills import PeriodBills
from tests.support.billing_cases import FLAT, MILL, ROOF, month, street, street_bills
from tests.support.browser import Page, open_page

PHONE_PX, DESKTOP_PX = 360, 1280
HOSTILE = "<script>window.pwned=1</script>" + "a_name_that_never_ends" * 8
NAMES = {FLAT: "The flat", MILL: "The mill", ROOF: "The roof"}

FITS = "document.scrollingElement.scrollWidth <= innerWidth"
OUTSIDE = """[...document.querySelectorAll('main *')]
  .map((node) => [node.tagName, node.getBoundingClientRect()])
  .filter(([, box]) => box.width > 0 && (box.left < -1 || box.right > innerWidth + 1))
  .map(([tag, box]) => `${tag} ${box.left} ${box.right}`)"""
TEXT = "document.querySelector('main').innerText"


@pytest.fixture(scope="module")
def bills() -> PeriodBills:
    return street_bills(month("2025-10"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("profile")) as page:
        yield page


def written(folder: Path, bills: PeriodBills, kind: str) -> Path:
    file = folder / f"{kind}.html"
    if kind == "index":
        file.write_text(period_files(bills)["index.html"], encoding="utf-8")
        return file
    bill = next(bill for bill in bills.every if bill.kind == kind)
    file.write_text(render_bill(bill, NAMES), encoding="utf-8")
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE_PX, DESKTOP_PX])
@pytest.mark.parametrize("kind", ["consumer", "shadow", "producer", "index"])
def test_it_asks_for_nothing_complains_of_nothing_and_fits(
    page: Page, tmp_path: Path, bills: PeriodBills, kind: str, width: int, scheme: str
) -> None:
    file = written(tmp_path, bills, kind)
    page.open(file, width=width, dark=scheme == "dark")
    assert page.evaluate("innerWidth") == width
    assert page.evaluate(FITS) is True
    assert page.evaluate(OUTSIDE) == []
    assert page.complaints == []
    assert page.requests == [file.as_uri()]


@pytest.mark.parametrize("width", [PHONE_PX, DESKTOP_PX])
def test_any_name_is_a_name(page: Page, tmp_path: Path, width: int) -> None:
    consumers = [{"point": FLAT, "name": HOSTILE}, {"point": MILL, "name": "\x00 & <b>"}]
    document = street()
    made = street_bills(
        month("2025-10"),
        consumer=consumers,
        supply=[],
        operation={"name": HOSTILE, "rules": HOSTILE},
        producer=[document["producer"][0] | {"no_vat": HOSTILE}, document["producer"][1]],
    )
    for kind in ("consumer", "producer", "index"):
        file = tmp_path / f"{kind}.html"
        if kind == "index":
            file.write_text(period_files(made)["index.html"], encoding="utf-8")
        else:
            bill = next(bill for bill in made.every if bill.kind == kind)
            names = {FLAT: HOSTILE, ROOF: HOSTILE}
            file.write_text(bill_files(bill, names)[f"{bill.number}.html"], encoding="utf-8")
        page.open(file, width=width)
        assert page.evaluate("typeof window.pwned") == "undefined"
        assert page.evaluate(FITS) is True
        assert page.complaints == []


def test_the_reader_s_own_language_comes_first_and_can_be_changed(
    page: Page, tmp_path: Path, bills: PeriodBills
) -> None:
    file = written(tmp_path, bills, "consumer")
    page.open(file, language="fr-FR")
    french = str(page.evaluate(TEXT))
    assert "Facture d\u2019énergie locale" in french
    assert re.search(r"À payer\s+25,46\s€", french)
    assert not re.search(r"\b(the|and|with|bill)\b", french.replace("The ", ""))
    assert page.evaluate("document.documentElement.lang") == "fr"
    page.click("label[for=en]")
    english = str(page.evaluate(TEXT))
    assert re.search(r"To pay\s+€25\.46", english)
    assert page.evaluate("document.documentElement.lang") == "en"
    page.open(file, language="fr-FR", scripts=False)
    assert "Bill for local energy" in str(page.evaluate(TEXT))
    page.click("label[for=fr]")
    assert "Facture" in str(page.evaluate(TEXT))


def test_the_page_shows_every_amount_of_the_bill(
    page: Page, tmp_path: Path, bills: PeriodBills
) -> None:
    for kind, bill in (("consumer", bills.consumers[0]), ("shadow", bills.shadows[0])):
        page.open(written(tmp_path, bills, kind))
        shown = page.evaluate(
            "[...document.querySelectorAll('table tr')]"
            ".filter(row => row.querySelector('td.detail'))"
            ".map(row => row.lastElementChild.innerText)"
        )
        assert shown == [f"€{line.amount_cents / 100:.2f}" for line in bill.lines]
        total = page.evaluate("document.querySelector('tfoot td').innerText")
        assert total == f"€{bill.total_cents / 100:.2f}"


@pytest.mark.parametrize("kind", ["consumer", "shadow", "producer", "index"])
def test_it_prints_on_a4(page: Page, tmp_path: Path, bills: PeriodBills, kind: str) -> None:
    page.open(written(tmp_path, bills, kind))
    page.print_pdf(tmp_path / "bill.pdf")
    pdf = (tmp_path / "bill.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 2
    box = re.search(rb"/MediaBox\s*\[\s*0\s+0\s+([\d.]+)\s+([\d.]+)", pdf)
    assert box is not None
    assert (round(float(box[1])), round(float(box[2]))) == (595, 842)


def test_paper_is_white_and_has_no_switch(page: Page, tmp_path: Path, bills: PeriodBills) -> None:
    page.open(written(tmp_path, bills, "consumer"), medium="print", dark=True, width=680)
    style = "getComputedStyle(document.documentElement)"
    assert page.evaluate(f"{style}.backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(f"{style}.color") == "rgb(29, 36, 44)"
    assert page.evaluate("getComputedStyle(document.querySelector('.switch')).display") == "none"
    assert page.evaluate(FITS) is True
