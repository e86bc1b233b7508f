"""The documents keep their word: links lead somewhere, commands exist, examples are what they say.

Outputs that a document shows are checked only where they are made in a moment.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

import click
import pytest
from click.testing import CliRunner

from node.cli.main import cli
from node.market.strategies import STRATEGIES
from node.meter.settings import MeterSettings
from node.model import MarketEvent, Refusal
from simulations.profiles import read_home_profile
from simulations.results import results_document
from simulations.scenario import DEFAULT_SLOT_S, read_scenario
from tests.support.outcomes import neighbourhood
from tests.support.shared import CHECKOUT

DOCUMENTS: Final = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")])
TUTORIALS: Final = [CHECKOUT / "docs" / name for name in ("tutorial.md", "tutorial.fr.md")]
MARKET: Final = CHECKOUT / "docs" / "market.md"

MOST_IMAGE_BYTES: Final = 300_000
PNG: Final = b"\x89PNG\r\n\x1a\n"

FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE: Final = re.compile(r"`([^`\n]+)`")
LINK: Final = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def blocks(document: Path, language: str) -> list[str]:
    """What stands in the fences of a language."""
    return [body for kind, body in FENCE.findall(text_of(document)) if kind == language]


def prose(document: Path) -> str:
    return FENCE.sub("", text_of(document))


def section(document: Path, heading: str) -> str:
    """From one heading to the next, whatever its level."""
    return re.split(r"^#+ ", text_of(document).partition(f"# {heading}\n")[2], flags=re.MULTILINE)[
        0
    ]


def first_cells(table: str) -> list[list[str]]:
    """The names that the first cell of each row of a table holds."""
    rows = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    return [INLINE.findall(row) for row in rows]


def anchors(document: Path) -> set[str]:
    """Where a link may point to in a document."""
    headings = (heading.replace("`", "") for heading in HEADING.findall(prose(document)))
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def shell_lines(script: str) -> Iterator[list[str]]:
    """The words of each command of a script, without comments and without what is fed to it."""
    end = ""
    for line in script.replace("\\\n", " ").splitlines():
        if end:
            end = "" if line == end else end
            continue
        if (heredoc := re.search(r"<<'(\w+)'", line)) is not None:
            end = heredoc[1]
        if words := shlex.split(line, comments=True):
            yield words


def commands(document: Path) -> Iterator[tuple[list[str], bool]]:
    """Every command that a document names, and whether it is meant to be typed as it stands."""
    for script in blocks(document, "sh"):
        for words in shell_lines(script):
            yield words, True
    for code in INLINE.findall(prose(document)):
        if code.startswith(("daisee ", "./scripts/", "scripts/")):
            yield shlex.split(code), False


def check_daisee(words: list[str], *, whole: bool) -> None:
    """The subcommand exists, and so do the options; ``whole`` asks for every argument too."""
    # With the root's own settings: click keeps the help option that a command first made.
    root = click.Context(cli, info_name="daisee", **cli.context_settings)
    if words[0].startswith("-"):
        cli.make_context("daisee", words, resilient_parsing=True)
        return
    command = cli.get_command(root, words[0])
    assert command is not None, f"there is no daisee {words[0]}"
    try:
        command.make_context(words[0], words[1:], parent=root)
    except click.exceptions.Exit:
        pass  # --help
    except click.MissingParameter:
        if whole:
            raise


def named(document: Path) -> str:
    return str(document.relative_to(CHECKOUT))


def test_there_is_something_to_check() -> None:
    expected = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", *map(named, [MARKET, *TUTORIALS])}
    assert expected <= {named(document) for document in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_relative_links_lead_somewhere(document: Path) -> None:
    for written in LINK.findall(INLINE.sub("", prose(document))):
        link = "".join(written)
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.is_relative_to(CHECKOUT), link
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_commands_exist_and_take_what_is_written(document: Path) -> None:
    for words, whole in commands(document):
        if words[0] == "daisee":
            check_daisee(words[1:], whole=whole)
        elif words[0].startswith(("./scripts/", "scripts/")):
            script = CHECKOUT / words[0]
            assert script.is_file(), words
            assert not words[0].startswith("./") or os.access(script, os.X_OK), words


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_scenarios_and_meters_can_be_read(document: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(document, "toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(block, encoding="utf-8")
        if "meter" in (settings := tomllib.loads(block)):
            MeterSettings.from_table(settings["meter"], path)
            continue
        scenario = read_scenario(path)
        scenario.rules(scenario.slot_s or DEFAULT_SLOT_S)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_home_profiles_can_be_read(document: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(document, "csv")):
        path = tmp_path / f"home-{number}.csv"
        path.write_text(block, encoding="utf-8")
        assert read_home_profile(path).steps == len(block.splitlines()) - 1


@pytest.mark.parametrize("image", sorted((CHECKOUT / "docs" / "images").iterdir()), ids=named)
def test_images_are_small_and_shown(image: Path) -> None:
    assert image.read_bytes().startswith(PNG)
    assert image.stat().st_size < MOST_IMAGE_BYTES
    assert any(image.name in text_of(document) for document in DOCUMENTS)


def test_every_decision_is_listed() -> None:
    folder = CHECKOUT / "docs" / "decisions"
    numbered = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", text_of(folder / "README.md")) == numbered
    for name in numbered:
        assert text_of(folder / name).startswith(f"# {name[:4]}. ")


def test_the_market_names_every_refusal_in_its_order() -> None:
    rows = first_cells(section(MARKET, "Orders and refusals"))
    assert rows == [[refusal.word] for refusal in Refusal if refusal is not Refusal.NONE]


def test_the_market_names_every_event() -> None:
    written = {name for row in first_cells(section(MARKET, "Events")) for name in row}
    interface = text_of(CHECKOUT / "contracts" / "interfaces" / "IEnergyMarket.sol")
    assert written == set(re.findall(r"^    event (\w+)\(", interface, re.MULTILINE))
    assert {event.__name__ for event in get_args(MarketEvent)} <= written


def test_the_market_names_every_strategy_and_its_parameters() -> None:
    rows = re.findall(r"^\| (`.+?`) \| (.+) \|$", section(MARKET, "Scenario TOML"), re.MULTILINE)
    written = {INLINE.findall(name)[0]: INLINE.findall(what) for name, what in rows}
    assert written == {
        name: [*inspect.signature(STRATEGIES[name]).parameters] for name in STRATEGIES
    }


def test_the_market_names_every_key_of_the_results() -> None:
    written = [key for row in first_cells(section(MARKET, "results.json")) for key in row]
    assert sorted(written) == sorted(results_document(neighbourhood()))


def test_both_tutorials_type_the_same() -> None:
    english, french = TUTORIALS
    for language in ("sh", "csv", "text"):
        assert blocks(english, language) == blocks(french, language)
    (scenario,), (scenario_fr,) = (blocks(document, "toml") for document in TUTORIALS)
    assert {**tomllib.loads(scenario_fr), "title": ""} == {**tomllib.loads(scenario), "title": ""}


def test_the_small_example_comes_out_as_shown(tmp_path: Path) -> None:
    tutorial = TUTORIALS[0]
    curves, run = tmp_path / "curves", tmp_path / "run"
    curves.mkdir()
    for name, block in zip(("anne", "boris"), blocks(tutorial, "csv"), strict=True):
        (curves / f"{name}.csv").write_text(block, encoding="utf-8")
    simulated = CliRunner().invoke(cli, ["simulate", "--data", str(curves), "--out", str(run)])
    assert simulated.exit_code == 0, simulated.output
    shown, _, _ = simulated.stdout.partition("\n\n")
    assert f"{shown}\n" in blocks(tutorial, "text")

    (line,) = (json.loads(block) for block in blocks(MARKET, "json"))
    slots = [json.loads(slot) for slot in text_of(run / "slots.jsonl").splitlines()]
    assert line in slots
