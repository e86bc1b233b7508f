"""Invites and join requests as text: whole, of the operator, in time, and of one household."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import segno
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from node.chain.envelope import open_envelope, seal_envelope
from node.chain.invites import community_words, make_invite, read_invite
from node.chain.join_requests import (
    MAX_WAITING,
    NUMBERS_AHEAD,
    VALID_S,
    find_request,
    keep_request,
    make_request,
    read_request,
)
from node.chain.keys import Domain, Key, name_signer_hash, registry_domain
from node.chain.member_book import MemberBook, book_held, load_book, save_book
from node.errors import ConfigurationError, Refused
from tests.support.invited import NOW_S, community, draw, everything_in, invited

OWNER = Key(b"\x21" * 32)
SIGNER = Key(b"\x22" * 32)


def refusal(text: str, now_s: int = NOW_S) -> str:
    with pytest.raises(Refused) as refused:
        read_invite(text, now_s)
    assert refused.value.next_step
    return refused.value.reason


def requested(seed: int = 0, households: int = 4) -> str:
    return make_request(invited(seed)[0], OWNER, SIGNER.address, households, NOW_S)[1]


# Invites


def test_an_invite_says_what_the_operator_said() -> None:
    invite, text = invited()
    read = read_invite(text, NOW_S)
    assert read == invite
    assert read.community == community()
    assert (read.issued_at_s, read.expires_at_s) == (NOW_S, NOW_S + 86_400)


def test_an_invite_survives_a_mail_program() -> None:
    invite, text = invited()
    broken = "\n".join(text[at : at + 60] for at in range(0, len(text), 60))
    assert read_invite(f"\r\n {broken.lower()} \n", NOW_S) == invite


def test_an_invite_fits_a_qr_code_that_a_telephone_reads() -> None:
    code = segno.make(invited()[1], error="l", micro=False)
    assert code.mode == "alphanumeric"
    assert isinstance(code.version, int)
    assert code.version <= 22


def test_two_invites_differ_and_show_no_secret() -> None:
    (first, _), (second, _) = invited(1), invited(2)
    assert first.number != second.number
    assert first.secret.hex() not in repr(first)


@pytest.mark.parametrize("late_s", [0, 1, 10**9])
def test_an_expired_invite_is_refused(late_s: int) -> None:
    invite, text = invited()
    assert refusal(text, NOW_S + 86_400 + late_s) == "expired"
    assert read_invite(text, NOW_S + 86_399) == invite


def test_an_invite_from_the_future_means_that_the_clock_is_off() -> None:
    invite, text = invited()
    assert refusal(text, NOW_S - 31) == "clock_off"
    assert read_invite(text, NOW_S - 30) == invite


def test_only_the_communitys_operator_can_invite() -> None:
    with pytest.raises(Refused) as refused:
        make_invite(community(), Key(b"\x12" * 32), draw(), NOW_S)
    assert refused.value.reason == "not_operator"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rpc_urls", ["http://10.6.6.6:8545"]),
        ("genesis_hash", "0x" + "66" * 32),
        ("operator", Key(b"\x66" * 32).address),
        ("chain_id", 666),
        ("expires_at_s", NOW_S + 10**9),
        ("contracts", dict.fromkeys(community().contracts, "0x" + "66" * 20)),
    ],
)
def test_an_invite_that_somebody_changed_is_refused(key: str, value: object) -> None:
    """With a new checksum, as a forger would give it: then it is the signature that tells."""
    envelope = open_envelope("invite", invited()[1], 1)
    content = json.dumps(dict(envelope.document) | {key: value}).encode()
    forged = seal_envelope("invite", content, envelope.signatures)
    assert refusal(forged) == "wrong_signature"


def test_an_invite_that_another_signed_is_refused() -> None:
    envelope = open_envelope("invite", invited()[1], 1)
    signature = Key(b"\x66" * 32).sign_compact(b"d" * 32)
    assert refusal(seal_envelope("invite", envelope.content, [signature])) == "wrong_signature"
    assert refusal(seal_envelope("invite", envelope.content, [b"\xff" * 64])) == "wrong_signature"


@given(place=st.integers(0, 10**6), letter=st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_no_changed_letter_goes_unnoticed(place: int, letter: str) -> None:
    _, text = invited()
    place %= len(text) - 1  # of the last letter some bits may mean nothing
    changed = text[:place] + letter + text[place + 1 :]
    if changed != text:
        assert refusal(changed) == "damaged"


@given(
    st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda raw: raw.decode("latin1")))
)
def test_anything_else_is_no_invite(text: str) -> None:
    for candidate in (text, "DAISEE-INVITE1:" + text):
        assert refusal(candidate) == "damaged"


def test_cut_and_overlong_invites_are_refused() -> None:
    _, text = invited()
    assert {refusal(text[:end]) for end in range(0, len(text) - 1, 37)} == {"damaged"}
    assert refusal(text * 100) == "damaged"


def test_a_small_text_cannot_unpack_into_a_large_one() -> None:
    bomb = seal_envelope("invite", b" " * 10**7 + b"{}", [bytes(64)])
    assert len(bomb) < 65_536
    assert refusal(bomb) == "damaged"


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b"\xff", b"[" * 30_000, b'{"issued_at_s": "x"}', b"null"]
)
def test_other_documents_are_no_invites(content: bytes) -> None:
    assert refusal(seal_envelope("invite", content, [bytes(64)])) == "damaged"


def test_a_community_has_words_that_its_endpoints_do_not_change() -> None:
    words = community_words(community())
    assert words == community_words(community(rpc_urls=("http://10.9.9.9:8545",)))
    assert words != community_words(community(name="Rue des Roses"))
    assert words != community_words(community(genesis_hash="0x" + "66" * 32))
    assert words != community_words(community(operator=Key(b"\x66" * 32)))


# Requests


def test_a_request_names_the_signer_for_each_of_the_next_numbers() -> None:
    request = read_request(requested(households=4))
    assert (request.owner, request.signer) == (OWNER.address, SIGNER.address)
    assert request.invite == invited()[0].number
    assert request.deadline_s == NOW_S + VALID_S
    assert request.numbers == range(5, 5 + NUMBERS_AHEAD)
    domain = registry_domain(request.chain_id, request.registry)
    for number in request.numbers:
        digest = domain.digest(name_signer_hash(number, SIGNER.address, 0, request.deadline_s))
        assert request.naming_for(number) == OWNER.sign_recoverable(digest)


def test_a_request_holds_neither_the_invites_secret_nor_a_key() -> None:
    invite, _ = invited()
    text = requested()
    content = open_envelope("join", text, 2).content
    for secret in (invite.secret, invite.key.secret, OWNER.secret, SIGNER.secret):
        assert secret.hex().encode() not in content
        assert secret not in content


def test_the_words_are_those_of_the_keys() -> None:
    words = read_request(requested()).words
    assert words == read_request(requested(households=50)).words
    other, _ = make_request(invited()[0], OWNER, OWNER.address, 4, NOW_S)
    assert other.words != words


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("owner", Key(b"\x66" * 32).address),
        ("signer", Key(b"\x66" * 32).address),
        ("invite", invited(9)[0].number),
        ("first_number", 1),
        ("deadline_s", NOW_S + 10**9),
    ],
)
def test_a_request_that_somebody_changed_is_refused(key: str, value: object) -> None:
    envelope = open_envelope("join", requested(), 2)
    content = json.dumps(dict(envelope.document) | {key: value}).encode()
    with pytest.raises(Refused) as refused:
        read_request(seal_envelope("join", content, envelope.signatures))
    assert refused.value.reason == "wrong_signature"


def test_who_reads_a_request_cannot_make_another_with_its_invite() -> None:
    """The invite's key signs too, and only who has the invite's text has that key."""
    thief = replace(invited()[0], secret=b"\x00" * 16)
    _, text = make_request(thief, Key(b"\x66" * 32), SIGNER.address, 4, NOW_S)
    book = MemberBook().with_invite(invited()[0], "Anne")
    with pytest.raises(Refused) as refused:
        book.entry_for(read_request(text), NOW_S)
    assert refused.value.reason == "unknown_invite"


def test_an_owner_who_named_others_is_refused() -> None:
    """Signed by the right keys, but with signatures for the registry that are not the owner's."""
    other = make_request(invited()[0], Key(b"\x66" * 32), SIGNER.address, 4, NOW_S)[0]
    request = read_request(requested())
    envelope = open_envelope("join", requested(), 2)
    naming = [signature.hex() for signature in other.naming]
    content = json.dumps(dict(envelope.document) | {"naming": naming}).encode()
    digest = Domain("daisee join", request.chain_id, request.registry).digest(keccak(content))
    signatures = [OWNER.sign_compact(digest), invited()[0].key.sign_compact(digest)]
    with pytest.raises(Refused) as refused:
        read_request(seal_envelope("join", content, signatures))
    assert refused.value.reason == "wrong_signature"


@given(st.binary(max_size=300))
def test_anything_else_is_no_request(raw: bytes) -> None:
    for text in (raw.decode("latin1"), seal_envelope("join", raw, [bytes(64)] * 2)):
        with pytest.raises(Refused) as refused:
            read_request(text)
        assert refused.value.reason == "damaged"


def test_an_invite_is_no_request() -> None:
    with pytest.raises(Refused):
        read_request(invited()[1])


def test_requests_that_came_in_wait_and_are_found_by_their_words(tmp_path: Path) -> None:
    text = requested()
    assert keep_request(tmp_path, text) == read_request(text)
    keep_request(tmp_path, requested(households=9))  # the same owner again: instead of the first
    (tmp_path / "0xnotes.txt").write_text("something else")
    found = find_request(tmp_path, read_request(text).words.upper())
    assert found.first_number == 10
    with pytest.raises(Refused) as refused:
        find_request(tmp_path, "bababa bababa bababa bababa")
    assert refused.value.reason == "unknown_words"


def test_no_more_requests_wait_than_can_be_looked_through(tmp_path: Path) -> None:
    for number in range(MAX_WAITING):
        (tmp_path / f"0x{number:040x}.txt").write_text("x")
    with pytest.raises(Refused) as refused:
        keep_request(tmp_path, requested())
    assert refused.value.reason == "full"
    with pytest.raises(Refused):
        keep_request(tmp_path, "junk")
    assert len(list(tmp_path.iterdir())) == MAX_WAITING


# The operator's book


def test_an_invite_is_used_once() -> None:
    invite, _ = invited()
    book = MemberBook().with_invite(invite, "Anne")
    request = read_request(requested())
    entry = book.entry_for(request, NOW_S)
    book = book.used_by(entry, request.owner, 7)
    assert book.entry_for(request, NOW_S + 10**9).household == 7  # it is its own: it goes on
    other = Key(b"\x31" * 32)
    again = make_request(invite, other, SIGNER.address, 4, NOW_S)[0]
    with pytest.raises(Refused) as refused:
        book.entry_for(again, NOW_S)
    assert refused.value.reason == "used"
    assert book.name_of(7) == "Anne"
    assert book.name_of(0) == book.name_of(8) == ""


def test_a_request_after_the_invites_time_is_refused() -> None:
    book = MemberBook().with_invite(invited()[0], "Anne")
    request = read_request(requested())
    assert book.entry_for(request, NOW_S + 86_399).name == "Anne"
    with pytest.raises(Refused) as refused:
        book.entry_for(request, NOW_S + 86_400)
    assert refused.value.reason == "expired"


def test_the_book_is_kept_for_its_owner_alone_and_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "members.json"
    assert load_book(path) == MemberBook()
    invite, text = invited()
    book = MemberBook().with_invite(invite, "Zoé Ångström").with_invite(invited(3)[0], "B")
    save_book(path, book)
    assert load_book(path) == book
    assert path.stat().st_mode & 0o777 == 0o600
    for content in everything_in(tmp_path).values():
        assert invite.secret.hex().encode() not in content
        assert text.encode() not in content


TIMES = '"issued_at_s": 1, "expires_at_s": 1'


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"schema": 2, "invited": []}',
        '{"schema": 1}',
        '{"schema": 1, "invited": [{}]}',
        f'{{"schema": 1, "invited": [{{"invite": 1, "name": "", {TIMES}}}]}}',
        f'{{"schema": 1, "invited": [{{"invite": "", "name": "", "owner": 1, {TIMES}}}]}}',
        f'{{"schema": 1, "invited": [{{"invite": "", "name": "", "household": "1", {TIMES}}}]}}',
    ],
)
def test_a_damaged_book_is_said_to_be_damaged(tmp_path: Path, content: str) -> None:
    path = tmp_path / "members.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as error:
        load_book(path)
    assert str(path) in error.value.message


def test_one_command_at_a_time_changes_the_book(tmp_path: Path) -> None:
    path = tmp_path / "operator" / "members.json"
    with book_held(path), pytest.raises(ConfigurationError), book_held(path):
        pytest.fail("it was held twice")
    with book_held(path):
        pass
