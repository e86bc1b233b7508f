"""docs/rounding.md and the contracts refer to each other by markers; neither side may lack one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[2]
PAGE: Final = CHECKOUT / "docs" / "rounding.md"
CONTRACTS: Final = CHECKOUT / "contracts"
TESTS: Final = CONTRACTS / "test"

HEADING: Final = re.compile(r"^## \[(\d+)\] ", re.MULTILINE)
MARKER: Final = re.compile(r"\[(\d+)\]")


def proven() -> list[int]:
    return [int(number) for number in HEADING.findall(PAGE.read_text(encoding="utf-8"))]


def relied_on() -> dict[int, set[str]]:
    """Markers in comments of the contracts, with the files that hold them."""
    places: dict[int, set[str]] = {}
    for source in CONTRACTS.rglob("*.sol"):
        if source.is_relative_to(TESTS):
            continue
        for line in source.read_text(encoding="utf-8").splitlines():
            _, _, comment = line.partition("//")
            for number in MARKER.findall(comment):
                places.setdefault(int(number), set()).add(source.name)
    return places


def test_the_page_numbers_its_proofs_from_one_on() -> None:
    numbers = proven()
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


def test_every_proof_is_relied_on_in_the_contracts() -> None:
    assert set(proven()) <= set(relied_on())


def test_every_marker_in_the_contracts_is_proven() -> None:
    unproven = {number: files for number, files in relied_on().items() if number not in proven()}
    assert unproven == {}


def test_the_page_refers_to_its_own_proofs_only() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert {int(number) for number in MARKER.findall(text)} == set(proven())
