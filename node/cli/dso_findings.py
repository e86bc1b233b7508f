"""``daisee dso findings``: what was found in the operator's files, as it was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from node.billing.conformity import Finding, Treatment
from node.billing.curve_store import CurveStore
from node.cli.dso_curves import database_option
from node.cli.output import Column, example, json_option, say, say_document, say_table
from node.slots import iso_utc
from node.store.curves import CurveDatabase

__all__ = ["finding_document", "finding_text", "findings", "needs_person", "next_step"]

_COLUMNS: Final = (
    Column("import"),
    *(
        Column(heading, figures=False)
        for heading in ("file", "lines", "point", "class", "treatment", "what")
    ),
)
_STEPS: Final = {
    "stamp_side": "say the member's segment (a Linky's is C5 or P4) in the operation's file; then"
    " this one is read again",
    "above_subscribed_power": "correct the member's kva if it is wrong, else ask the operator",
    "direction": "import the file by itself: daisee dso import --direction",
}
_ASK: Final = "ask the operator for another file; take this one out of the inbox"


@click.command(
    short_help="List what was found in files that were imported.",
    epilog=example("daisee dso findings --database curves.db --since 12"),
)
@database_option
@click.option(
    "--since",
    default=0,
    type=click.IntRange(0),
    metavar="IMPORT",
    help="Only of later imports than this one.",
)
@click.option("--asked", is_flag=True, help="Only what must be asked of somebody.")
@json_option
def findings(database: Path, since: int, *, asked: bool, as_json: bool) -> None:
    """List what was found in files that were imported: the quarantine, file by file.

    An import is named by its number. A file that was read again has a further one, and its newest
    findings are those of the last.
    """
    with CurveDatabase.open_read_only(database) as kept:
        found = [
            (number, finding)
            for number, finding in CurveStore(kept).findings(since)
            if not asked or finding.treatment is Treatment.ASK
        ]
    if as_json:
        documents = [{"import": number, **finding_document(one)} for number, one in found]
        say_document({"findings": documents})
        return
    if found:
        say_table(_COLUMNS, [_row(number, one) for number, one in found])
    say(f"Findings: {len(found)}. Refused rows: {sum(one.rows for _, one in found)}.")


def _row(number: int, finding: Finding) -> tuple[str, ...]:
    return (
        str(number),
        finding.file,
        _lines(finding) or "-",
        finding.point_id or "-",
        finding.klass,
        finding.treatment,
        finding.message,
    )


def _lines(finding: Finding) -> str:
    if finding.last_line > finding.line:
        return f"{finding.line}-{finding.last_line}"
    return str(finding.line or "")


def finding_text(finding: Finding) -> str:
    """A finding on a line, without its file."""
    lines = f" line{'s' * (finding.last_line > finding.line)} {_lines(finding)}"
    point = f" {finding.point_id}:" if finding.point_id else ""
    return (
        f"{finding.klass}, {finding.treatment}:{lines if finding.line else ''}{point}"
        f" {finding.message}"
    )


def needs_person(finding: Finding) -> bool:
    """Whether somebody must see to it. Of gaps the month itself says whether they still are."""
    return finding.treatment is Treatment.ASK and finding.rule != "gap"


def next_step(finding: Finding) -> str:
    """What a person can do about a finding of a file in the inbox."""
    return _STEPS.get(finding.rule, _ASK)


def finding_document(finding: Finding) -> dict[str, object]:
    """A finding for JSON."""
    return {
        "class": finding.klass,
        "treatment": finding.treatment,
        "rule": finding.rule,
        "message": finding.message,
        "file": finding.file,
        "line": finding.line,
        "last_line": finding.last_line,
        "point": finding.point_id,
        "rows": finding.rows,
        "from": None if finding.from_s is None else iso_utc(finding.from_s),
        "to": None if finding.to_s is None else iso_utc(finding.to_s),
        "raw": finding.raw,
    }
