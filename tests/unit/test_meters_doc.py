"""``docs/meters.md`` keeps its word: every table in it is one that the node accepts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

from node.meter.settings import KINDS, MeterSettings
from tests.support.shared import CHECKOUT

DOCUMENT: Final = CHECKOUT / "docs" / "meters.md"
TEXT: Final = DOCUMENT.read_text(encoding="utf-8")
TABLES: Final = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", TABLES, ids=range(len(TABLES)))
def test_every_table_is_accepted(text: str) -> None:
    document = tomllib.loads(text)
    assert set(document) == {"meter"}
    MeterSettings.from_table(document["meter"], Path("/etc/daisee/config.toml"))


def test_every_kind_and_way_is_shown() -> None:
    shown = [
        MeterSettings.from_table(tomllib.loads(text)["meter"], Path("config.toml"))
        for text in TABLES
    ]
    for kind, ways in KINDS.items():
        assert f"`{kind}`" in TEXT
        if kind not in {"linky-historic", "linky-standard"}:
            told = {settings.way for settings in shown if settings.kind == kind}
            assert told, kind
            assert told <= set(ways)
