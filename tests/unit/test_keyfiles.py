"""A household's keys at rest: for its user alone, never made twice, replaced without a gap."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from eth_account import Account

from node.chain.keyfiles import (
    HouseholdKeys,
    household_keys,
    open_key,
    pending_key,
    put_in_place,
    read_password,
)
from node.chain.keystore import read_keystore
from node.chain.network.keeping import KeyFiles
from node.errors import ConfigurationError
from tests.support.invited import draw, everything_in, quick_keystores


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_keystores(monkeypatch)


def made(folder: Path, seed: int = 0) -> HouseholdKeys:
    places = HouseholdKeys.below(folder)
    household_keys(places, draw(seed))
    return places


def test_two_keys_are_made_each_with_a_password_of_its_own(tmp_path: Path) -> None:
    places = HouseholdKeys.below(tmp_path)
    owner, signer = household_keys(places, draw())
    assert places.made == ("owner", "signer")
    assert HouseholdKeys.below(tmp_path / "elsewhere").made == ()
    assert owner.address != signer.address
    assert read_password(places.owner.password) != read_password(places.signer.password)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        open_key(KeyFiles(places.owner.keystore, places.signer.password))


def test_every_client_of_the_field_opens_them(tmp_path: Path) -> None:
    places = HouseholdKeys.below(tmp_path)
    owner, signer = household_keys(places, draw())
    for key, files in ((owner, places.owner), (signer, places.signer)):
        document = json.loads(files.keystore.read_text())
        assert document["version"] == 3
        assert document["crypto"]["kdf"] == "scrypt"
        opened = Account.decrypt(document, files.password.read_text().rstrip("\n"))
        assert Account.from_key(opened).address == key.address == open_key(files).address


def test_keys_that_are_there_are_kept(tmp_path: Path) -> None:
    first = household_keys(HouseholdKeys.below(tmp_path), draw(1))
    before = everything_in(tmp_path)
    again = household_keys(HouseholdKeys.below(tmp_path), draw(2))
    assert [key.address for key in again] == [key.address for key in first]
    assert everything_in(tmp_path) == before


def test_the_owners_key_can_lie_elsewhere(tmp_path: Path) -> None:
    places = HouseholdKeys.below(tmp_path / "node", tmp_path / "stick")
    household_keys(places, draw())
    assert sorted(everything_in(tmp_path / "stick")) == ["owner-password", "owner.json"]
    assert sorted(everything_in(tmp_path / "node")) == ["household-password", "household.json"]


def test_nobody_else_may_read_them_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made(tmp_path / "keystore")
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4
    for path in files:
        assert path.stat().st_mode & 0o077 == 0, path


def test_no_file_holds_a_key_in_clear(tmp_path: Path) -> None:
    keys = household_keys(HouseholdKeys.below(tmp_path), draw())
    for content in everything_in(tmp_path).values():
        for key in keys:
            assert key.secret not in content
            assert key.secret.hex().encode() not in content


@pytest.mark.parametrize("name", ["household.json", "household-password"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_file_that_others_may_read_or_write_is_refused(
    tmp_path: Path, name: str, mode: int
) -> None:
    places = made(tmp_path)
    (tmp_path / name).chmod(mode)
    with pytest.raises(ConfigurationError, match="others may read") as error:
        open_key(places.signer)
    assert "chmod 600" in error.value.next_step


@pytest.mark.parametrize("name", ["household.json", "household-password"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    places = made(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ConfigurationError, match=name):
        open_key(places.signer)


def test_a_keystore_without_its_password_is_not_written_over(tmp_path: Path) -> None:
    places = made(tmp_path)
    places.signer.password.unlink()
    before = places.signer.keystore.read_bytes()
    with pytest.raises(ConfigurationError, match="password"):
        household_keys(places, draw(2))
    assert places.signer.keystore.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 5_000])
def test_a_file_without_a_password_is_said_to_have_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="password"):
        read_password(path)


def test_keys_that_cannot_be_written_are_an_expected_failure(tmp_path: Path) -> None:
    (tmp_path / "keystore").write_text("a file where a folder should be")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        made(tmp_path / "keystore" / "x")


def test_a_key_is_replaced_under_the_same_password(tmp_path: Path) -> None:
    places = made(tmp_path)
    keystore, password = places.signer.keystore, read_password(places.signer.password)
    old = open_key(places.signer)
    pending = pending_key(keystore, password, draw(5))
    assert not pending.was_there
    assert pending.path.stat().st_mode & 0o777 == 0o600
    assert open_key(places.signer).address == old.address  # not in use before it is named
    kept = put_in_place(pending, keystore)
    assert open_key(places.signer).address == pending.key.address
    assert kept is not None
    assert read_keystore(kept, password).address == old.address
    assert kept.stat().st_mode & 0o777 == 0o600
    assert not pending.path.exists()


def test_an_interrupted_rotation_goes_on_with_the_key_it_had_made(tmp_path: Path) -> None:
    places = made(tmp_path)
    password = read_password(places.signer.password)
    first = pending_key(places.signer.keystore, password, draw(5))
    again = pending_key(places.signer.keystore, password, draw(6))
    assert again.was_there
    assert again.key.address == first.key.address


def test_a_crash_between_link_and_rename_leaves_a_key_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = made(tmp_path)
    old = open_key(places.signer)
    pending = pending_key(places.signer.keystore, read_password(places.signer.password), draw(5))

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            put_in_place(pending, places.signer.keystore)
    assert open_key(places.signer).address == old.address
    put_in_place(pending, places.signer.keystore)
    assert open_key(places.signer).address == pending.key.address


def test_a_lost_key_is_replaced_too(tmp_path: Path) -> None:
    places = made(tmp_path)
    places.signer.keystore.unlink()
    pending = pending_key(places.signer.keystore, read_password(places.signer.password), draw(5))
    assert put_in_place(pending, places.signer.keystore) is None
    assert open_key(places.signer).address == pending.key.address


def test_keys_belong_to_whom_the_folder_belongs_to(tmp_path: Path) -> None:
    """Root sets a service up, and the service's user must be able to read what was made."""
    if os.geteuid() == 0:
        os.chown(tmp_path, 12_345, 12_346)
    uid = tmp_path.stat().st_uid
    places = made(tmp_path / "keystore")
    password = read_password(places.signer.password)
    put_in_place(pending_key(places.signer.keystore, password, draw(5)), places.signer.keystore)
    found = list(tmp_path.rglob("*"))
    assert len(found) == 2 + 4 + 1
    assert {path.stat().st_uid for path in found} == {uid}


def test_a_keystore_is_not_made_again_when_only_one_is_missing(tmp_path: Path) -> None:
    places = made(tmp_path)
    signer = open_key(places.signer)
    for path in (places.owner.keystore, places.owner.password):
        path.unlink()
    owner, kept = household_keys(places, draw(9))
    assert kept.address == signer.address
    assert owner.address != signer.address
