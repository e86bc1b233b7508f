"""Archives of an inbox that are damaged or hostile are a person's, and never a crash."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from node.billing.inbox import naming
from node.errors import Refused

POINT = "40000000000001"
FLAGS = 6
"""Where the flags of a member stand, after the signature of its central entry: 8; of its own: 6."""


def archive(folder: Path, content: bytes = b"x", name: str = "a.csv") -> Path:
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(name, content)
    return path


def flagged(path: Path, bits: int, name: bytes | None = None) -> None:
    """Set flags of the only member, and perhaps break its name."""
    raw = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", FLAGS), (b"PK\x01\x02", FLAGS + 2)):
        at = raw.index(signature)
        flags = int.from_bytes(raw[at + place : at + place + 2], "little") | bits
        raw[at + place : at + place + 2] = flags.to_bytes(2, "little")
    content = bytes(raw) if name is None else bytes(raw).replace(b"a.csv", name)
    path.write_bytes(content)


def test_a_point_is_found_in_a_member(tmp_path: Path) -> None:
    path = archive(tmp_path, f"{POINT};1".encode())
    assert naming([path], [POINT]) == [path]
    assert naming([path], ["40000000000002"]) == []


def test_an_encrypted_member_is_not_looked_into(tmp_path: Path) -> None:
    path = archive(tmp_path)
    flagged(path, 1)
    with pytest.raises(Refused, match="encrypted"):
        naming([path], [POINT])


def test_a_name_that_is_no_text_is_damage(tmp_path: Path) -> None:
    path = archive(tmp_path)
    flagged(path, 0x800, b"\xff\xfe.cs")
    with pytest.raises(Refused, match="cannot be looked into"):
        naming([path], [POINT])


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path, bytes(80 * 2**20))
    with pytest.raises(Refused, match="times larger than packed"):
        naming([path], [POINT])
