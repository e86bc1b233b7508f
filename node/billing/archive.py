"""The folder in which a month's bills lie, and what each further revision of them changed.

``<period>/<revision>/`` is for the organiser, ``outbox/<point>/`` for each member, and the history
says of every run what it made. ``rulings.jsonl`` has the distribution operator's rulings that bills
are made with. Together they are the ledger of corrections: a revision begins where the one before
ended, so the first bills and all notes since are the newest state, each change in it once.

Curves can be taken out of it, when a person is erased and when they were kept long enough. A month
without its curves is closed: its bills stay, and nothing of it is made again. Bills that were kept
long enough are deleted with all that the month was made from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from node.billing.archive_lock import held
from node.billing.archive_tables import has_curves, names_one_of, take_curves_out
from node.billing.bill_files import write_file
from node.billing.bills import BillKind
from node.billing.in_force import TakenRuling, taken_document, taken_from
from node.billing.note_lines import NoteItem, note_items
from node.billing.time_of_use import Period
from node.clock import Clock
from node.errors import ConfigurationError, Refused
from node.slots import iso_utc

__all__ = ["Archive"]

HISTORY: Final = "history.jsonl"
RULINGS: Final = "rulings.jsonl"
PROBLEMS: Final = "problems.txt"
BILLED: Final = "billed"
CLOSED: Final = "closed"
DELETED: Final = "bills_deleted"


class Archive:
    """Bills, their history, and the rulings that were taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def existing(cls, folder: Path) -> Archive:
        """One that is there, and can be read. Raises ConfigurationError: whoever takes something
        out of a folder that is none would believe that it is gone."""
        archive = cls(folder)
        if not any((folder / name).is_file() for name in (HISTORY, RULINGS)):
            raise ConfigurationError(
                f"this is no folder of bills: there is no {HISTORY} in it",
                file=folder,
                next_step="give the one that daisee supplier month writes",
            )
        archive.history()
        archive.rulings()
        return archive

    def held(self, command: str, clock: Clock | None = None) -> AbstractContextManager[None]:
        """Hold the folder until the block ends. Every command that changes it does so in one such
        block, from what it reads to the last that it writes; ``command`` is its name, for others.

        Raises StorageBusy if another has it for too long, and ConfigurationError.
        """
        return held(self.folder, command, clock)

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
        """Add a line to the history, whole or not at all. Raises Refused (``revision_exists``) for
        a revision that is in it: its corrections would count twice."""
        history = self.history()
        made = (entry["period"], entry.get("revision"))
        if entry["outcome"] == BILLED and any(
            one["outcome"] == BILLED and (one["period"], one["revision"]) == made for one in history
        ):
            raise Refused(
                f"revision {made[1]} of {made[0]} was made by another run",
                reason="revision_exists",
                next_step="run this again",
            )
        self._append(HISTORY, history, entry)

    def of(self, period: Period, revision: int) -> Path:
        """The folder of a revision."""
        return self.folder / str(period) / str(revision)

    def bills_of(self, period: Period, revision: int) -> dict[str, Any]:
        """The document of bills that were made."""
        return self._document(self.of(period, revision) / "bills.json")

    def notes_of(self, period: str, revision: int) -> dict[str, Any]:
        """What a revision after the first changed: ``notes``, and the ``disputes`` whose rulings it
        brought. Raises ConfigurationError if it is missing: what was to be credited would be lost.
        """
        return self._document(self.folder / period / str(revision) / "notes.json")

    def note_items(self) -> list[NoteItem]:
        """All that revisions changed between two parties, oldest first."""
        found: list[NoteItem] = []
        history = self.history()
        deleted = _deleted(history)
        for entry in history:
            if entry["period"] in deleted:
                continue
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

    def closed(self, period: Period) -> bool:
        """Whether curves were taken out of a period."""
        return self.newest(period).get("outcome") == CLOSED

    def take_out(self, points: Collection[str], now_s: int) -> list[str]:
        """Take the curves of these points out of every period, and what was ruled of them; the
        periods that are closed by it: those billed with them, and those whose curves are gone.

        Said first and done then: nobody bills a month anew of which a part was taken out, and
        whoever is interrupted goes on. Raises ConfigurationError for what cannot be deleted.
        """
        named = [one for one in self._places() if names_one_of(self.folder / one, points)]
        closing = [
            period
            for period in self._open()
            if period in named
            or not has_curves(self.folder / period)
            or self._bills_name(period, points)
        ]
        self._close(closing, now_s, "a member was erased")
        self._forget(points)
        for period in named:
            take_curves_out(self.folder / period, points)
        return sorted({*closing, *(self._ever_billed() & set(named))})

    def kept_before(self, day: date) -> list[str]:
        """The periods that ended by a day and still have curves, or are open without."""
        is_open = self._open()
        return [
            period
            for period in self._places()
            if _end(period) <= day and (period in is_open or has_curves(self.folder / period))
        ]

    def take_out_before(self, day: date, now_s: int) -> list[str]:
        """Take all curves out of the periods that ended by a day; which these are. As ``take_out``,
        it closes first."""
        periods = self.kept_before(day)
        self._close(sorted(set(periods) & set(self._open())), now_s, "kept long enough")
        for period in periods:
            take_curves_out(self.folder / period, None)
        return periods

    def bills_before(self, day: date) -> list[str]:
        """The periods that ended by a day of which more than the history is left."""
        deleted = _deleted(self.history())
        return [
            period
            for period in self._places()
            if _end(period) <= day and (period not in deleted or self._files(period))
        ]

    def delete_bills_before(self, day: date, now_s: int) -> list[str]:
        """Delete the bills of the periods that ended by a day, those in the outbox too, with all
        that they were made from and the rulings until then; which periods these are.

        Said first and done then: whoever is interrupted goes on, and nothing looks for notes that
        are gone. Raises ConfigurationError for what cannot be deleted.
        """
        periods, history = self.bills_before(day), self.history()
        for entry in history:
            if entry["period"] in periods:
                for name in ("notes", "ruled", "problems"):
                    entry.pop(name, None)
        gone = {"outcome": CLOSED, "at": iso_utc(now_s), "reason": "bills kept long enough"}
        new = sorted(set(periods) - _deleted(history))
        self._write(HISTORY, [*history, *({**gone, "period": p, DELETED: True} for p in new)])
        if (self.folder / RULINGS).exists():
            kept = [one for one in self.rulings() if iso_utc(one.span[1])[:10] > day.isoformat()]
            self._write(RULINGS, map(taken_document, kept))
        for path in (path for period in periods for path in self._files(period)):
            try:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            except OSError as error:
                raise ConfigurationError(
                    f"cannot be deleted ({error.strerror})", file=path
                ) from error
        for path in self.folder.glob("outbox/*"):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()  # its name is a point
        return periods

    def _files(self, period: str) -> list[Path]:
        """The folder of a period, and its files in the outbox."""
        sent = [
            path
            for kind in BillKind
            for path in sorted(self.folder.glob(f"outbox/*/{period}-{kind}-*"))
        ]
        own = self.folder / period
        return [own, *sent] if own.exists() else sent

    def _places(self) -> list[str]:
        """The periods that the history or a folder is of: a run may have ended between the two."""
        folders = (path.name for path in self.folder.glob("*/") if _is_period(path.name))
        return sorted({*self.periods(), *folders})

    def _ever_billed(self) -> set[str]:
        return {entry["period"] for entry in self.history() if entry["outcome"] == BILLED}

    def _open(self) -> list[str]:
        """The periods that were billed, and are not closed."""
        newest = {entry["period"]: entry["outcome"] for entry in self.history()}
        return sorted(one for one in self._ever_billed() if newest[one] != CLOSED)

    def _bills_name(self, period: str, points: Collection[str]) -> bool:
        texts = (path.read_text("utf-8") for path in self.folder.glob(f"{period}/*/bills.json"))
        return any(point in text for text in texts for point in points)

    def _close(self, periods: Iterable[str], now_s: int, reason: str) -> None:
        entry = {"outcome": CLOSED, "at": iso_utc(now_s), "reason": reason}
        new = [{**entry, "period": period} for period in periods]
        if new:
            self._write(HISTORY, [*self.history(), *new])

    def _forget(self, points: Collection[str]) -> None:
        """Take what was ruled of these points, and what their curves lacked, out of every list."""
        history = self.history()
        for entry in history:
            if "ruled" in entry:
                entry["ruled"] = [one for one in entry["ruled"] if one["point"] not in points]
            if "problems" in entry:
                entry["problems"] = [x for x in entry["problems"] if not _speaks_of(x, points)]
        self._write(HISTORY, history)
        for path in self.folder.glob(f"*/{PROBLEMS}"):
            lines = path.read_text("utf-8").splitlines()
            write_file(path, "".join(f"{x}\n" for x in lines if not _speaks_of(x, points)))
        for path in (self.folder / RULINGS, *self.folder.glob("*/ruled.jsonl")):
            if path.exists():
                name = str(path.relative_to(self.folder))
                kept = [x for x in self._lines(name, "a ruling") if x["point"] not in points]
                self._write(name, kept)

    def _write(self, name: str, lines: Iterable[Mapping[str, object]]) -> None:
        texts = [json.dumps(line, sort_keys=True) + "\n" for line in lines]
        write_file(self.folder / name, "".join(texts))

    def _append(self, name: str, lines: list[dict[str, Any]], more: Mapping[str, object]) -> None:
        self._write(name, (*lines, more))

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


def _deleted(history: Iterable[Mapping[str, Any]]) -> set[str]:
    """The periods of which nothing but the history is left."""
    return {entry["period"] for entry in history if entry.get(DELETED)}


def _end(period: str) -> date:
    """The first day after a period, from its name: ``2025-10``, or ``2025-10-03_2025-10-17``."""
    if "_" in period:
        return date.fromisoformat(period.partition("_")[2])
    return (date.fromisoformat(f"{period}-01") + timedelta(days=32)).replace(day=1)


def _is_period(name: str) -> bool:
    try:
        return bool(_end(name))
    except ValueError:
        return False


def _speaks_of(text: str, points: Collection[str]) -> bool:
    return any(point in text for point in points)
