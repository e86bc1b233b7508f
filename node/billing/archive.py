"""The folder in which a month's bills lie, and what each further revision of them changed.

``<period>/<revision>/`` is for the organiser, ``outbox/<point>/`` for each member, and the history
says of every run what it made. ``rulings.jsonl`` has the distribution operator's rulings that bills
are made with. Together they are the ledger of corrections: a revision begins where the one before
ended, so the first bills and all notes since are the newest state, each change in it once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from node.billing.bill_files import write_file
from node.billing.in_force import TakenRuling, taken_document, taken_from
from node.billing.note_lines import NoteItem, note_items
from node.billing.time_of_use import Period
from node.errors import ConfigurationError

__all__ = ["Archive"]

HISTORY: Final = "history.jsonl"
RULINGS: Final = "rulings.jsonl"
BILLED: Final = "billed"


class Archive:
    """Bills, their history, and the rulings that were taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def history(self) -> list[dict[str, Any]]:
        """Every entry, oldest first. Raises ConfigurationError for a line that is none."""
        return self._lines(HISTORY, "an entry of a history")

    def newest(self, period: Period) -> dict[str, Any]:
        """The newest entry of a period; empty if there is none."""
        mine = [entry for entry in self.history() if entry["period"] == str(period)]
        return mine[-1] if mine else {}

    def revisions(self, period: Period) -> list[dict[str, Any]]:
        """The entries of a period that was billed, oldest first: one for each revision."""
        return [
            entry
            for entry in self.history()
            if entry["period"] == str(period) and entry["outcome"] == BILLED
        ]

    def billed(self, period: Period) -> dict[str, Any]:
        """The newest entry of a period that was billed; empty if none was."""
        return next(reversed(self.revisions(period)), {})

    def periods(self) -> list[str]:
        """The periods that were ever billed or waited for."""
        return sorted({entry["period"] for entry in self.history()})

    def record(self, entry: Mapping[str, object]) -> None:
        """Add a line to the history, whole or not at all."""
        self._append(HISTORY, self.history(), entry)

    def of(self, period: Period, revision: int) -> Path:
        """The folder of a revision."""
        return self.folder / str(period) / str(revision)

    def bills_of(self, period: Period, revision: int) -> dict[str, Any]:
        """The document of bills that were made."""
        return self._document(self.of(period, revision) / "bills.json")

    def notes_of(self, period: str, revision: int) -> dict[str, Any]:
        """What a revision changed: ``notes``, and the ``disputes`` whose rulings it brought."""
        path = self.folder / period / str(revision) / "notes.json"
        if not path.exists():
            return {"notes": [], "disputes": []}
        return self._document(path)

    def note_items(self) -> list[NoteItem]:
        """All that revisions changed between two parties, oldest first."""
        found: list[NoteItem] = []
        for entry in self.history():
            if entry["outcome"] == BILLED and entry["revision"] > 1:
                period, revision = entry["period"], entry["revision"]
                changed = self.notes_of(period, revision)
                found += note_items(period, revision, changed["disputes"], changed["notes"])
        return found

    def rulings(self) -> list[TakenRuling]:
        """Every ruling that was taken, oldest first."""
        return [taken_from(line) for line in self._lines(RULINGS, "a ruling")]

    def take(self, ruling: TakenRuling) -> None:
        """Make bills with a ruling from now on; the same dispute's again changes nothing."""
        lines = self._lines(RULINGS, "a ruling")
        if all(line.get("dispute") != ruling.dispute for line in lines):
            self._append(RULINGS, lines, taken_document(ruling))

    def _append(self, name: str, lines: list[dict[str, Any]], more: Mapping[str, object]) -> None:
        texts = [json.dumps(line, sort_keys=True) for line in (*lines, more)]
        write_file(self.folder / name, "\n".join(texts) + "\n")

    def _lines(self, name: str, what: str) -> list[dict[str, Any]]:
        path = self.folder / name
        if not path.exists():
            return []
        found = []
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            try:
                found.append(dict(json.loads(line)))
            except ValueError as error:
                raise ConfigurationError(
                    f"is not {what}: {error}", file=path, line=number
                ) from error
        return found

    def _document(self, path: Path) -> dict[str, Any]:
        try:
            return dict(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"cannot be read ({error})", file=path) from error
