"""Importing an operator's files: what format each is, its curves, and what was found in it.

Whatever comes, nothing is silently dropped: the rows of a report are those accepted, those that
state a gap, and those refused under a finding. A file that cannot be read to its end is refused
whole, because nobody can say what the missing part would have changed. Sizes, depth and expansion
are bounded; an archive inside an archive is not opened.
"""

from __future__ import annotations

import errno
import hashlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Final
from zoneinfo import ZoneInfo

from node.billing.conformity import Finding, FindingClass, FindingLog, Treatment, as_text
from node.billing.drafting import draft
from node.billing.formats.dataconnect import DATA_CONNECT
from node.billing.formats.datadis import DATADIS
from node.billing.formats.edc import EDC
from node.billing.formats.hdm import HDM
from node.billing.formats.head import HEAD_BYTES, Format, Head
from node.billing.formats.r4x import R4X
from node.billing.formats.r15 import R15
from node.billing.formats.r50 import R50
from node.billing.formats.r63_csv import R63_CSV
from node.billing.formats.r63_json import R63_JSON
from node.billing.formats.r64 import R64_CSV, R64_JSON
from node.billing.formats.r151 import R151
from node.billing.formats.r171 import R171
from node.billing.formats.sge import SGE
from node.billing.rows import Expectations, Intake, TooMuch, Unreadable
from node.billing.series import Curve, PeriodEnergy, RegisterValue
from node.errors import ConfigurationError

__all__ = ["FORMATS", "FileReport", "detect", "read_files"]

FORMATS: Final = (
    R63_CSV,
    R63_JSON,
    R64_CSV,
    R64_JSON,
    R50,
    R4X,
    R151,
    R15,
    R171,
    HDM,
    SGE,
    DATA_CONNECT,
    DATADIS,
    EDC,
)
"""Every format; no two recognise the same file."""

MAX_FILE_BYTES: Final = 4 * 2**30
"""A year of 1,000 points as R63 CSV is 2 GB."""

MAX_MEMBERS: Final = 2_000
MAX_EXPANSION: Final = 300
"""How many times larger a member of an archive may be than packed; real flows reach some 60."""

SMALL_BYTES: Final = 64 * 2**20
"""Below this the expansion does not matter."""

_ZIP_MAGIC: Final = b"PK\x03\x04"
_NAME_STAMP: Final = re.compile(r"_(20\d{12})(?:\.|$)")
READ_FAILS: Final = (
    Unreadable,
    TooMuch,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    UnicodeDecodeError,  # the name of a member that says it is UTF-8
)


@dataclass(frozen=True, slots=True)
class FileReport:
    """What came of one file (or one member of an archive; then ``file`` names both).

    ``rows`` = ``accepted`` + ``empty`` + ``refused``. ``digest`` is the SHA-256 of the file as it
    lies on the disk, ``format`` its name or empty, ``published_s`` when the operator wrote it.
    """

    file: str
    digest: str
    format: str
    published_s: int | None
    rows: int
    accepted: int
    empty: int
    refused: int
    findings: list[Finding]
    curves: list[Curve]
    registers: list[RegisterValue]
    energies: list[PeriodEnergy]


def detect(head: Head) -> Format | None:
    """The format of a file that begins like this; None if it is none that is known."""
    return next((format_ for format_ in FORMATS if format_.recognises(head)), None)


def read_files(path: Path, expected: Expectations) -> Iterator[FileReport]:
    """Read a file, or every member of a ZIP archive, one after the other.

    Raises ConfigurationError if the file cannot be opened; what is wrong inside is in the reports.
    """
    name = as_text(path.name)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            yield _refused(name, "", f"larger than {MAX_FILE_BYTES} bytes", "too_large")
            return
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            stream.seek(0)
            if stream.read(4) == _ZIP_MAGIC:
                stream.seek(0)
                yield from _members(name, digest, stream, expected)
                return
        yield _file(name, digest, partial(_opened, path), expected)
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read ({error.strerror})", file=path, next_step="check the name"
        ) from error


def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")


def _member_opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    with _damage():
        return archive.open(member)


@contextmanager
def _damage() -> Iterator[None]:
    """A place before the beginning that a broken archive points to is its damage, not the disk's:
    the next file can be read all the same."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise zipfile.BadZipFile("a part lies outside the archive") from error


def _members(
    name: str, digest: str, stream: IO[bytes], expected: Expectations
) -> Iterator[FileReport]:
    try:
        with _damage():
            archive = zipfile.ZipFile(stream)
    except READ_FAILS as error:
        yield _refused(name, digest, f"the archive is broken: {error}", "broken_archive")
        return
    with archive:
        members = [one for one in archive.infolist() if not one.filename.endswith("/")]
        if len(members) > MAX_MEMBERS or sum(m.file_size for m in members) > MAX_FILE_BYTES:
            yield _refused(name, digest, "the archive holds more than any flow", "too_large")
            return
        if not members:
            yield _refused(name, digest, "the archive is empty", "empty_file")
        for member in members:
            inner = f"{name}:{as_text(member.filename)}"
            fault = member_fault(member)
            if fault:
                yield _refused(inner, digest, fault, "archive_member")
            else:
                yield _file(inner, digest, partial(_member_opened, archive, member), expected)


def member_fault(member: zipfile.ZipInfo) -> str:
    """Why a member of an archive is not opened; empty if it is."""
    if member.flag_bits & 1:
        return "encrypted; decrypt it with the operator's key first"
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return "packed in a way that flows do not use"
    expansion = member.file_size // max(member.compress_size, 1)
    if member.file_size > SMALL_BYTES and expansion > MAX_EXPANSION:
        return f"{expansion} times larger than packed: no flow is"
    return ""


def _file(
    name: str, digest: str, open_stream: Callable[[], IO[bytes]], expected: Expectations
) -> FileReport:
    """One file of one format."""
    try:
        with open_stream() as stream:
            content = stream.read(HEAD_BYTES)
    except READ_FAILS as error:
        return _refused(name, digest, f"cannot be unpacked: {error}", "broken_archive")
    if not content.strip():
        return _refused(name, digest, "the file is empty", "empty_file")
    if content.startswith(_ZIP_MAGIC):
        return _refused(name, digest, "an archive inside an archive", "archive_member")
    head = Head.of(name, content)
    format_ = detect(head)
    if format_ is None:
        return _refused(name, digest, "of no format that is known", "unknown_format")
    expected = replace(expected, zone=ZoneInfo(format_.zone))
    log = FindingLog(name)
    intake = Intake(expected, log)
    intake.published_s = _published_s(name, expected.zone)
    fault: Exception | None = None
    try:
        with open_stream() as stream:
            format_.read(stream, intake, head)
    except READ_FAILS as error:
        fault = error
    if fault is not None:
        return _broken(name, digest, format_, intake, fault)
    return _report(name, digest, format_, intake)


def _report(name: str, digest: str, format_: Format, intake: Intake) -> FileReport:
    """The curves of what was read, point by point, so that rows and curves never lie all in memory
    twice."""
    log = intake.log
    if intake.rounded:
        log.add(
            FindingClass.NON_STANDARD,
            Treatment.REPAIR,
            "rounded",
            f"{intake.rounded} values finer than 1/60 Wh, rounded to it",
        )
    if not intake.rows_seen:
        log.add(FindingClass.CORRUPT, Treatment.ASK, "no_rows", "a file without any row")
    curves: list[Curve] = []
    accepted, empty = intake.others_taken, 0
    for key in list(intake.series):
        rows = intake.series.pop(key)
        if rows.starts:
            done = draft(rows, intake.expected, log, name)
            accepted += done.accepted
            empty += done.empty
            if done.curve is not None:
                curves.append(done.curve)
    assert intake.rows_seen == accepted + empty + log.refused, (name, intake.rows_seen)
    return FileReport(
        name,
        digest,
        format_.name,
        intake.published_s,
        intake.rows_seen,
        accepted,
        empty,
        log.refused,
        log.all(),
        curves,
        intake.registers,
        intake.energies,
    )


def _broken(
    name: str, digest: str, format_: Format, intake: Intake, fault: Exception
) -> FileReport:
    """The report of a file that could not be read to its end."""
    log = intake.log
    log.add(
        FindingClass.CORRUPT,
        Treatment.ASK,
        "too_large" if isinstance(fault, TooMuch) else "unreadable",
        f"{fault}; nothing of the file is taken",
        line=fault.line if isinstance(fault, Unreadable) else 0,
        rows=intake.rows_seen - log.refused,
    )
    return FileReport(
        name,
        digest,
        format_.name,
        intake.published_s,
        intake.rows_seen,
        0,
        0,
        log.refused,
        log.all(),
        [],
        [],
        [],
    )


def _refused(name: str, digest: str, message: str, rule: str) -> FileReport:
    """The report of a file that was not even begun."""
    finding = Finding(FindingClass.CORRUPT, Treatment.ASK, rule, as_text(message), name)
    return FileReport(name, digest, "", None, 0, 0, 0, 0, [finding], [], [], [])


def _published_s(name: str, zone: ZoneInfo) -> int | None:
    """The instant that the names of Enedis's archives end in."""
    match = _NAME_STAMP.search(name)
    if match is None:
        return None
    try:
        bare = datetime.strptime(match[1], "%Y%m%d%H%M%S")  # noqa: DTZ007  (zone follows)
    except ValueError:
        return None
    return int(bare.replace(tzinfo=zone).timestamp())
