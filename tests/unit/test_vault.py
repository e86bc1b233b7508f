"""Sealed records: what opens, what does not, and that erasure leaves nothing that could."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.billing.consents import Purpose
from node.billing.openings import (
    Opening,
    OpeningVerdict,
    check_opening,
    opening_document,
    opening_from,
)
from node.billing.people import PERSON, Member, People
from node.billing.vault import Vault, fingerprint, seal, unseal
from node.errors import ConfigurationError, DaiseeError, Refused
from node.market.orders import evidence_commitment
from node.model import LogPosition, OrderAccepted, RegisterReading, Side
from node.store.operator import OperatorDatabase

NOW_S: Final = 1_760_000_000
MASTER: Final = b"m" * 32
NEXT: Final = b"n" * 32
ANNA: Final = Member(
    "Anna Martin", 17, "30000000000011", "", "anna@example.org", "7", ("0xA0",), ("0x5E",)
)
BEN: Final = Member("Ben Durand", 18, "30000000000022", "30000000000029", signers=("0xB0",))


def vault_of(
    database: OperatorDatabase, master: bytes = MASTER, seed: int = 1
) -> tuple[Vault, People]:
    vault = Vault(database, master, random.Random(seed).randbytes)
    return vault, People(vault, database)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[OperatorDatabase]:
    with OperatorDatabase.open(tmp_path / "operator.db") as opened:
        yield opened


def everything(path: Path) -> bytes:
    """All bytes of a database's files."""
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(path.name + "*")))


class TestSealing:
    @given(st.binary(), st.binary(min_size=32, max_size=32), st.text())
    def test_what_was_sealed_opens_again(self, plain: bytes, key: bytes, about: str) -> None:
        about = about.encode("utf-8", "replace").decode()
        assert unseal(key, seal(key, plain, about, bytes(12)), about) == plain

    @given(st.integers(0, 2**32), st.integers(0, 10**6))
    def test_a_changed_bit_opens_nothing(self, seed: int, bit: int) -> None:
        rng = random.Random(seed)
        body = bytearray(seal(MASTER, rng.randbytes(40), "a", rng.randbytes(12)))
        bit %= len(body) * 8
        body[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refused) as caught:
            unseal(MASTER, bytes(body), "a")
        assert caught.value.reason == "cannot_be_opened"

    def test_no_record_passes_for_another(self) -> None:
        body = seal(MASTER, b"x", "anna|bill|7", bytes(12))
        for key, about in ((NEXT, "anna|bill|7"), (MASTER, "ben|bill|7"), (MASTER, "anna|curve|7")):
            with pytest.raises(Refused):
                unseal(key, body, about)
        for cut in (b"", body[:11], body[:27]):
            with pytest.raises(Refused):
                unseal(MASTER, cut, "anna|bill|7")


class TestVault:
    def test_another_master_key_is_refused(self, database: OperatorDatabase) -> None:
        vault_of(database)
        with pytest.raises(ConfigurationError, match="another master key"):
            vault_of(database, NEXT)
        with pytest.raises(ConfigurationError, match="31 bytes"):
            vault_of(database, b"m" * 31)

    def test_the_file_tells_nothing_of_anybody(
        self, database: OperatorDatabase, tmp_path: Path
    ) -> None:
        _, people = vault_of(database)
        people.add(ANNA, NOW_S)
        found = everything(tmp_path / "operator.db")
        for secret in (b"Anna", b"30000000000011", b"example.org", b"0xA0", MASTER):
            assert secret not in found

    def test_records_move_to_no_other_person(self, database: OperatorDatabase) -> None:
        vault, people = vault_of(database)
        anna, ben = people.add(ANNA, NOW_S), people.add(BEN, NOW_S)
        vault.put(anna, "bill", {"total": 7}, NOW_S, NOW_S)
        row = database.sealed(person=anna, kind="bill")[0]
        database.add_sealed((ben, *row[2:]))
        with pytest.raises(Refused) as caught:
            vault.records(ben, "bill")
        assert caught.value.reason == "cannot_be_opened"

    def test_people_are_found_by_what_is_theirs_alone(self, database: OperatorDatabase) -> None:
        _, people = vault_of(database)
        anna, ben = people.add(ANNA, NOW_S), people.add(BEN, NOW_S)
        assert people.find("17") == people.find(anna) == (anna, ANNA)
        assert people.find("30000000000029") == (ben, BEN)
        with pytest.raises(Refused):
            people.find("")
        for member in (
            Member("Eve", 17),
            Member("Eve", 19, withdrawal="30000000000029"),
        ):
            with pytest.raises(Refused) as caught:
                people.add(member, NOW_S)
            assert caught.value.reason == "taken"

    def test_an_export_holds_all_of_one_person_and_nothing_of_others(
        self, database: OperatorDatabase
    ) -> None:
        vault, people = vault_of(database)
        anna, ben = people.add(ANNA, NOW_S), people.add(BEN, NOW_S)
        people.grant(anna, Purpose.SHARING, "organiser", "2026-01", NOW_S)
        vault.put(anna, "bill", {"total_cents": 1_860}, NOW_S, NOW_S)
        vault.put(ben, "bill", {"total_cents": 999}, NOW_S, NOW_S)
        export = people.export(anna, NOW_S)
        assert export["form"] == "daisee-person-1"
        text = str(export)
        for own in ("Anna Martin", "30000000000011", "sharing", "1860"):
            assert own in text
        for other in ("Ben", "30000000000022", "999", ben):
            assert other not in text


class TestErasure:
    def filled(self, database: OperatorDatabase) -> tuple[Vault, People, str, str]:
        vault, people = vault_of(database)
        anna, ben = people.add(ANNA, NOW_S), people.add(BEN, NOW_S)
        people.grant(anna, Purpose.SHARING, "organiser", "2026-01", NOW_S)
        for person in (anna, ben):
            vault.put(person, "evidence", {"salt": "aa", "import_wh": 1_000}, NOW_S, NOW_S)
        return vault, people, anna, ben

    def test_afterwards_nothing_of_the_person_opens(self, database: OperatorDatabase) -> None:
        vault, people, anna, ben = self.filled(database)
        copies = database.sealed(person=anna)
        wrapped = dict(database.persons())[anna]
        assert len(copies) == 2
        assert wrapped is not None
        assert vault.erase(anna, NEXT, NOW_S + 5) == 2
        for open_it in (
            lambda: vault.records(anna),
            lambda: people.find("17"),
            lambda: people.find("30000000000011"),
            lambda: people.export(anna, NOW_S),
            lambda: vault.put(anna, "bill", {}, NOW_S, NOW_S),
            lambda: vault.erase(anna, MASTER, NOW_S),
        ):
            with pytest.raises(Refused) as caught:
                open_it()
            assert caught.value.reason in {"erased", "unknown_person"}
        assert list(people.all()) == [ben]
        assert [record.document["import_wh"] for record in vault.records(ben, "evidence")] == [1000]
        with pytest.raises(Refused):
            unseal(NEXT, wrapped, f"key of {anna}")
        for _, person, kind, about_s, _, body in copies:
            for key in (NEXT, fingerprint(NEXT) * 4):
                with pytest.raises(Refused):
                    unseal(key, body, f"{person}|{kind}|{about_s}")

    def test_a_commitment_on_chain_can_be_opened_before_and_not_after(
        self, database: OperatorDatabase
    ) -> None:
        slot, salt = 1_989_701, b"s" * 16
        before = RegisterReading("m", slot * 900, 1_000, 0)
        after = RegisterReading("m", (slot + 1) * 900, 1_250, 0)
        evidence = evidence_commitment(salt, before, after)
        order = OrderAccepted(LogPosition(1, 0), slot, 17, Side.BID, 250, 9_000, 0, evidence)
        vault, people = vault_of(database)
        anna = people.add(ANNA, NOW_S)
        document = opening_document(Opening(salt, before, after))
        vault.put(anna, "evidence", document, NOW_S, NOW_S)
        (kept,) = vault.records(anna, "evidence")
        opening = opening_from(kept.document)
        assert check_opening(opening, order, 900) is OpeningVerdict.MATCHES
        vault.erase(anna, NEXT, NOW_S)
        with pytest.raises(Refused):
            vault.records(anna, "evidence")
        for guess in (bytes(16), anna.encode(), evidence[:16], NEXT[:16]):
            told = check_opening(Opening(guess, before, after), order, 900)
            assert told is OpeningVerdict.OTHER_COMMITMENT, "even who knows both readings"

    def test_no_backup_brings_it_back(self, database: OperatorDatabase, tmp_path: Path) -> None:
        """A backup holds the wrapped key; the master that would unwrap it is gone."""
        vault, _, anna, _ = self.filled(database)
        database.backup(tmp_path / "backup.db")
        vault.erase(anna, NEXT, NOW_S)
        with (
            OperatorDatabase.open(tmp_path / "backup.db") as old,
            pytest.raises(ConfigurationError, match="another master key"),
        ):
            vault_of(old, NEXT)
        with OperatorDatabase.open(tmp_path / "backup.db") as old:
            old.set_master(fingerprint(NEXT))  # whoever forces it open
            forced, _ = vault_of(old, NEXT)
            with pytest.raises(Refused) as caught:
                forced.records(anna)
            assert caught.value.reason == "cannot_be_opened"

    def test_no_surviving_record_links_a_number_on_chain_to_the_person(
        self, database: OperatorDatabase, tmp_path: Path
    ) -> None:
        """Every cell that is left is looked at, opened where the keys that are left open it."""
        vault, _, anna, ben = self.filled(database)
        bodies = [row[5] for row in database.sealed(person=anna)]
        database.set_dispute("d" * 64, anna, 2, NOW_S)
        vault.erase(anna, NEXT, NOW_S)
        left = everything(tmp_path / "operator.db")
        assert not any(body in left for body in bodies), "the file still holds what was deleted"
        opened = str([record.document for record in vault.records(ben)])
        with closing(sqlite3.connect(tmp_path / "operator.db")) as raw:
            rows = [line for line in raw.iterdump() if line.startswith("INSERT")]
        for secret in ("Anna", "30000000000011", "anna@example.org", "0xA0", "0x5E"):
            assert secret not in opened
            assert not any(secret in row for row in rows)
        household = re.compile(rf"\b{ANNA.household}\b")
        assert not household.search(opened)
        assert not any(household.search(row) for row in rows)
        naming_anna = {row.split('"')[1] for row in rows if anna in row}
        assert naming_anna == {"person", "consent", "dispute"}, "only under the random name"

    def test_whoever_dies_in_between_has_one_of_the_two_keys(
        self, database: OperatorDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vault, _, anna, ben = self.filled(database)

        class PowerCutError(RuntimeError):
            pass

        def fail(_: bytes) -> None:
            raise PowerCutError

        with monkeypatch.context() as patched:
            patched.setattr(database, "set_master", fail)
            with pytest.raises(PowerCutError):
                vault.erase(anna, NEXT, NOW_S)
        again, people = vault_of(database)
        assert set(people.all()) == {anna, ben}
        again.erase(anna, NEXT, NOW_S)
        assert list(vault_of(database, NEXT)[1].all()) == [ben]

    def test_it_is_kept_that_something_was_erased_and_not_whose(
        self, database: OperatorDatabase
    ) -> None:
        vault, _, anna, _ = self.filled(database)
        vault.erase(anna, NEXT, NOW_S + 9)
        assert list(database.upkeep()) == [(NOW_S + 9, "erasure", 2)]


@given(st.integers(0, 2**32))
def test_erasures_in_any_order_leave_everybody_else_whole(seed: int) -> None:
    rng = random.Random(seed)
    with OperatorDatabase.open(None) as database:
        vault, people = vault_of(database, seed=seed)
        kept = {}
        for number in range(1, rng.randint(2, 6)):
            member = Member(f"member {number}", number)
            kept[people.add(member, NOW_S)] = member
        for person in rng.sample(sorted(kept), rng.randint(0, len(kept))):
            vault.erase(person, rng.randbytes(32), NOW_S)
            del kept[person]
            assert people.all() == kept
        for person in kept:
            assert [record.kind for record in vault.records(person)] == [PERSON]


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as raw:
        raw.execute("CREATE TABLE a (b)")
        raw.commit()
    with pytest.raises(DaiseeError, match="not a database of people"):
        OperatorDatabase.open(tmp_path / "other.db")
