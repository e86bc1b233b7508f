"""The operator's files as they lie in an inbox: whom they name, whether they were imported, and
until when they tell.

They are the only copies in which curves of many people lie in clear as they came. A file may go
once all that could be taken from it is kept; before that, other people's curves would go with it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from zoneinfo import ZoneInfo

from node.billing.conformity import Finding, Treatment
from node.billing.importing import (
    MAX_FILE_BYTES,
    MAX_MEMBERS,
    READ_FAILS,
    FileReport,
    member_fault,
    read_files,
)
from node.billing.reading_again import KEEPING, ImportOf, newest_reading
from node.billing.rows import Expectations
from node.errors import ConfigurationError, Refused

__all__ = ["Delivery", "FindingsOf", "deliveries", "inbox_files", "naming"]

_CHUNK_BYTES: Final = 2**20
_UTC: Final = ZoneInfo("UTC")
_ENCODINGS: Final = ("utf-8", "utf-16-le", "utf-16-be")

FindingsOf = Callable[[int], Iterable[Finding]]
"""What was found in an import."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A file: whether all of it was imported, and the end of the last step that it tells of (where
    nothing of it can be read, when it was written)."""

    path: Path
    is_imported: bool
    until_s: int


def inbox_files(inbox: Path) -> list[Path]:
    """The files of an inbox. Raises ConfigurationError if it is no folder: nothing would ever come
    of it, and nobody would know."""
    if not inbox.is_dir():
        raise ConfigurationError("there is no such folder", file=inbox, next_step="check --inbox")
    return sorted(path for path in inbox.glob("*") if path.is_file())


def deliveries(
    paths: Collection[Path],
    import_of: ImportOf,
    findings_of: FindingsOf | None = None,
    points: Collection[str] = (),
) -> list[Delivery]:
    """What these files are. With ``findings_of``, one of which rows of other points than these wait
    for a person is not wholly imported: they can still be read again. Raises ConfigurationError for
    one that cannot be opened."""
    return [_delivery(path, import_of, findings_of, points) for path in paths]


def _delivery(
    path: Path, import_of: ImportOf, findings_of: FindingsOf | None, points: Collection[str]
) -> Delivery:
    is_imported, ends = True, [0]
    for report in read_files(path, Expectations(_UTC)):
        number, _ = newest_reading(import_of, report.digest, report.file)
        is_imported &= number > 0
        if number and findings_of is not None:
            is_imported &= not any(_waits(finding, points) for finding in findings_of(number))
        ends += _ends(report)
        if report.refused or ends == [0]:
            ends.append(report.published_s or int(path.stat().st_mtime))
    return Delivery(path, is_imported, max(ends))


def _waits(finding: Finding, points: Collection[str]) -> bool:
    """Whether rows of somebody else were refused that a person may still have taken."""
    return (
        finding.treatment is Treatment.ASK
        and finding.rows > 0
        and finding.rule not in KEEPING
        and finding.point_id not in {"", *points}
    )


def _ends(report: FileReport) -> list[int]:
    return [
        *(curve.end_s for curve in report.curves),
        *(value.taken_at_s for value in report.registers),
        *(energy.to_s for energy in report.energies),
    ]


def naming(paths: Collection[Path], points: Collection[str]) -> list[Path]:
    """The files that name one of these points: in their name, or anywhere inside, whether or not
    they can be read as curves; archives are opened one level deep, as an import does.

    Raises Refused (``not_looked_into``) for an archive that cannot be opened to the end, and
    ConfigurationError for a file that cannot be read.
    """
    found = []
    for path in paths if points else ():
        try:
            if _names(path, points):
                found.append(path)
        except OSError as error:
            raise ConfigurationError(f"cannot be read ({error.strerror})", file=path) from error
    return found


def _names(path: Path, points: Collection[str]) -> bool:
    if any(point in path.name for point in points):
        return True
    wanted = [point.encode(encoding) for point in points for encoding in _ENCODINGS]
    with path.open("rb") as stream:
        if _holds(stream, wanted):
            return True
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return _member_names(archive, points, wanted)
    except READ_FAILS as error:
        raise Refused(
            f"{path.name} cannot be looked into: {error}",
            reason="not_looked_into",
            next_step="take it out of the inbox, and see to it yourself",
        ) from error


def _member_names(
    archive: zipfile.ZipFile, points: Collection[str], wanted: Collection[bytes]
) -> bool:
    """Looks no further than an import does: nobody's bomb is unpacked. Raises what reading one
    does."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_FILE_BYTES:
        raise zipfile.BadZipFile("it holds more than any flow")
    for member in members:
        if any(point in member.filename for point in points):
            return True
        if fault := member_fault(member):
            raise zipfile.BadZipFile(fault)
        with archive.open(member) as stream:
            if _holds(stream, wanted):
                return True
    return False


def _holds(stream: IO[bytes], wanted: Collection[bytes]) -> bool:
    longest = max(map(len, wanted))
    return any(one in part for part in _overlapping(stream, longest) for one in wanted)


def _overlapping(stream: IO[bytes], longest: int) -> Iterator[bytes]:
    """The stream in pieces, each beginning with the end of the one before."""
    before = b""
    while piece := stream.read(_CHUNK_BYTES):
        yield before + piece
        before = (before + piece)[-longest:]
