"""``daisee view`` end to end: each role sees what is its, is refused the rest, and no sums over
members betray anybody, whatever was told before."""

from __future__ import annotations

import csv
import io
import json
import stat
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from node.billing.series import MISSING
from node.cli.main import cli
from node.model import MarketRules, Order, Side
from node.store import LedgerDatabase
from tests.support.billing_cases import month
from tests.support.honest_market import HonestMarket
from tests.support.operator_month import WattsOf, write_r63

OCTOBER: Final = month("2025-10")
HOMES: Final = tuple(f"4000000000000{n}" for n in range(1, 7))
ROOFS: Final = tuple(f"3000000000000{n}" for n in range(1, 4))
STEPS: Final = 31 * 48 + 2
WATTS: Final[dict[str, WattsOf]] = {point: lambda _: 600 for point in HOMES}
SUN: Final[dict[str, WattsOf]] = {
    point: lambda n: 400 if 16 <= n % 48 < 36 else 0 for point in ROOFS
}
HOME_WH: Final = STEPS * 300
ROOF_WH: Final = 200 * 20 * 31

OPERATION: Final = (
    '[operation]\nname = "Mill Street"\nrules = "2025-1"\n[tariffs]\naccept = ["one_source"]\n'
    + "".join(f'[[producer]]\npoint = "{point}"\n' for point in ROOFS)
    + "".join(f'[[consumer]]\npoint = "{point}"\n' for point in HOMES)
    + "".join(f'[[price]]\nproducer = "{point}"\nct_kwh = "12.00"\n' for point in ROOFS)
)


class Street:
    """Six homes, three of them with a roof: households 1 to 6, the even ones served by 7."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "inbox").mkdir()
        (folder / "street.toml").write_text(OPERATION)
        write_r63(folder / "inbox" / "1.csv", date(2025, 10, 1), 31, WATTS, SUN)
        done = self.run(
            *("supplier", "month", "--operation", folder / "street.toml"),
            *("--inbox", folder / "inbox", "--curves", folder / "curves.db"),
            *("--out", folder / "bills", "--at", "2025-11-02T06:00:00Z"),
        )
        assert done.exit_code == 0, done.output
        for number, point in enumerate(HOMES, start=1):
            roof = ["--injection", ROOFS[number - 1]] if number <= len(ROOFS) else []
            added = self.run(
                *("person", "add", "--database", self.office, "--name", f"Home {number}"),
                *("--household", number, "--withdrawal", point, *roof),
                *("--supplier", 7 if number % 2 == 0 else 8),
            )
            assert added.exit_code == 0, added.output

    @property
    def office(self) -> Path:
        return self.folder / "office.db"

    def run(self, *words: object) -> Result:
        return CliRunner().invoke(cli, list(map(str, words)))

    def view(self, *words: object) -> Result:
        return self.run(
            *("view", *words, "--month", "2025-10", "--database", self.office),
            *("--operation", self.folder / "street.toml", "--bills", self.folder / "bills"),
        )

    def json(self, *words: object) -> dict[str, Any]:
        result = self.view(*words, "--json")
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def refused(self, *words: object) -> str:
        result = self.view(*words)
        assert result.exit_code == 6, result.output
        assert result.stdout == ""
        return result.stderr

    def person(self, household: int) -> str:
        listed = json.loads(self.run("person", "list", "--database", self.office, "--json").stdout)
        (found,) = (one for one in listed["persons"] if one["household"] == household)
        return str(found["person"])

    def agree(self, household: int, purpose: str, *more: object) -> None:
        done = self.run(
            *("consent", "grant", household, "--database", self.office, "--purpose", purpose),
            *("--wording", "2026-01", *more),
        )
        assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Street:
    return Street(tmp_path_factory.mktemp("street"))


@pytest.fixture
def street(built: Street) -> Street:
    """The street, with nothing told yet."""
    (built.folder / "office.db.told").unlink(missing_ok=True)
    return built


def shared_wh(seen: dict[str, Any]) -> int:
    return sum(one["totals"]["received_wh"] for one in seen["members"])


class TestMember:
    def test_it_sees_its_own_and_the_communitys(self, street: Street) -> None:
        seen = street.json("member", "--as", 1)
        (own,) = seen["members"]
        assert own["person"] == street.person(1)
        assert own["identity"]["name"] == "Home 1"
        assert own["totals"]["drawn_wh"] == HOME_WH
        assert own["totals"]["fed_in_wh"] == ROOF_WH
        assert own["complement"]["complement_wh"] == HOME_WH - own["totals"]["received_wh"]
        assert own["producer_totals"]["produced_wh"] == ROOF_WH
        assert len(own["curve"]["drawn_wh"]) == len(own["allocation"]["received_wh"]) == STEPS
        assert sum(own["curve"]["drawn_wh"]) == HOME_WH
        assert sorted({bill["kind"] for bill in own["bill"]}) == ["consumer", "producer"]
        assert set(own["coefficients"]["received_ppm"]) == {MISSING}, "they tell what roofs gave"
        (community,) = seen["community"]
        assert community["consumed_wh"] == 6 * HOME_WH, "six homes less its own are five"
        assert community["produced_wh"] is None, "three roofs less its own are two"
        assert community["shared_wh"] is None
        assert seen["mix"][0] == {
            "start": "2025-09-30T22:00:00Z",
            "produced_wh": None,
            "consumed_wh": None,
            "shared_wh": None,
        }
        assert len(seen["mix"]) == STEPS

    def test_its_parts_are_told_where_the_mix_is(self, street: Street) -> None:
        seen = street.json("member", "--as", 4, "--k", 3)
        (own,) = seen["members"]
        assert max(own["coefficients"]["received_ppm"]) == 166_666
        assert {step["produced_wh"] for step in seen["mix"]} == {0, 600}
        assert {step["consumed_wh"] for step in seen["mix"]} == {1_800}

    def test_it_is_refused_its_neighbour(self, street: Street) -> None:
        for view in ("identity", "curve", "totals", "bill", "dispute", "consents"):
            text = street.refused("member", "--as", 1, "--of", 2, "--view", view)
            assert f"a member may not see this {view}" in text
            assert "Home 2" not in text
        assert "may not see" in street.refused("member", "--as", 1, "--of", 2)


class TestSupplier:
    def test_it_sees_its_clients_totals_and_no_curve(self, street: Street) -> None:
        seen = street.json("supplier", "--as", 7)
        assert [one["person"] for one in seen["members"]] == sorted(
            (street.person(number) for number in (2, 4, 6)),
            key=[one["person"] for one in seen["members"]].index,
        )
        assert all("complement" in one and "totals" in one for one in seen["members"])
        assert not any(
            hidden in one
            for one in seen["members"]
            for hidden in ("curve", "allocation", "bill", "consents", "coefficients")
        )
        assert "supplier may not see" in street.refused(
            "supplier", "--as", 7, "--of", 4, "--view", "curve"
        )
        assert street.refused("supplier", "--as", 7, "--of", 1, "--view", "complement")
        assert street.refused("supplier", "--as", 9, "--view", "totals")
        assert seen["community"][0]["consumed_wh"] is None, "three are left without its clients"

    def test_a_consent_opens_the_curve_and_its_withdrawal_shuts_it(self, street: Street) -> None:
        street.agree(2, "supplier_curve", "--recipient", 7)
        words = ("supplier", "--as", 7, "--of", 2, "--view", "curve")
        (client,) = street.json(*words)["members"]
        assert sum(client["curve"]["drawn_wh"]) == HOME_WH
        assert street.refused("supplier", "--as", 8, "--of", 2, "--view", "curve")
        gone = street.run(
            *("consent", "withdraw", 2, "--database", street.office),
            *("--purpose", "supplier_curve"),
        )
        assert gone.exit_code == 0, gone.output
        assert street.refused(*words)


class TestOthers:
    def test_the_operator_sees_all_but_bills_and_consents(self, street: Street) -> None:
        seen = street.json("dso")
        assert len(seen["members"]) == 6
        assert all({"identity", "curve", "allocation", "totals"} <= set(m) for m in seen["members"])
        assert not any({"bill", "consents"} & set(one) for one in seen["members"])
        (community,) = seen["community"]
        assert community["produced_wh"] == 3 * ROOF_WH
        assert community["shared_wh"] == shared_wh(seen) == 3 * ROOF_WH
        assert street.refused("dso", "--view", "bill")

    def test_the_organiser_sees_curves_of_who_agreed_to_sharing(self, street: Street) -> None:
        seen = street.json("organiser", "--view", "bill", "--view", "consents")
        assert all(set(one) == {"person", "bill", "consents"} for one in seen["members"])
        assert street.refused("organiser", "--of", 3, "--view", "curve")
        street.agree(3, "sharing")
        assert street.json("organiser", "--of", 3, "--view", "curve")["members"]

    def test_the_financier_sees_producers_totals_only(self, street: Street) -> None:
        seen = street.json("financier")
        assert [set(one) for one in seen["members"]] == [{"person", "producer_totals"}] * 3
        assert street.refused("financier", "--view", "identity")
        assert street.refused("financier", "--view", "totals")

    def test_the_public_sees_the_mix_only(self, street: Street) -> None:
        seen = street.json("public")
        assert (seen["members"], seen["community"]) == ([], [])
        told = {(step["produced_wh"], step["consumed_wh"]) for step in seen["mix"]}
        assert told == {(None, None)}, "three roofs are too few, and consumption gives them away"
        text = street.view("public").stdout
        assert "communal mix: 0 of 1490 steps may be told" in text
        assert "agree to publication" in text
        for view in ("community_figures", "bill", "producer_totals", "curve"):
            assert f"a public may not see this {view}" in street.refused("public", "--view", view)

    def test_three_are_enough_where_three_were_voted(self, street: Street) -> None:
        told = street.json("public", "--k", 3)
        assert {step["produced_wh"] for step in told["mix"]} == {0, 600}
        assert {step["consumed_wh"] for step in told["mix"]} == {1_800}
        assert sum(step["shared_wh"] for step in told["mix"]) == 3 * ROOF_WH
        assert "1490 of 1490 steps may be told" in street.view("public", "--k", 3).stdout


class TestWhatWasTold:
    def test_a_second_sum_that_betrays_somebody_is_held_back(self, street: Street) -> None:
        words = ("financier", "--view", "community_figures")
        all_but_one = "others=" + ",".join(str(number) for number in range(1, 6))
        first = street.json(*words, "--group", all_but_one)
        assert [one["consumed_wh"] for one in first["community"]] == [6 * HOME_WH, None]
        (street.folder / "office.db.told").unlink()
        seen = street.json("supplier", "--as", 9, "--view", "community_figures")
        assert seen["community"][0]["consumed_wh"] == 6 * HOME_WH
        again = street.json(*words, "--group", all_but_one)
        assert [one["consumed_wh"] for one in again["community"]] == [6 * HOME_WH, None]
        assert street.json(*words, "--group", all_but_one) == again, "again is the same"

    @pytest.mark.parametrize(
        "words",
        [
            ("member", "--as", 1, "--group", "others=2,3,4,5,6"),
            ("member", "--as", 1, "--view", "community_figures", "--group", "others=2,3,4,5,6"),
            ("financier", "--group", "half=1,2,3", "--group", "other=4,5,6"),
            ("supplier", "--as", 7, "--group", "a=1,2,4,6", "--group", "b=1,3,5,6"),
        ],
    )
    def test_nobody_s_question_takes_from_others(
        self, street: Street, words: tuple[object, ...]
    ) -> None:
        everybody = (("public",), ("financier",), ("member", "--as", 4), ("supplier", "--as", 8))
        kept = street.folder / "office.db.told"
        before = {}
        for who in everybody:
            seen = street.json(*who, "--k", 3)
            before[who] = (seen["mix"], seen["community"])
            kept.unlink()
        assert any(step["consumed_wh"] for step in before["public",][0])
        for _ in range(2):
            street.json(*words, "--k", 3)
        for who in everybody:
            seen = street.json(*who, "--k", 3)
            assert (seen["mix"], seen["community"]) == before[who], who

    def test_a_member_cannot_have_its_neighbour_taken_off(self, street: Street) -> None:
        words = ("member", "--as", 1, "--view", "community_figures", "--k", 3)
        for first in ("public", "financier", "dso"):
            street.json(first, "--k", 3)
            seen = street.json(*words, "--group", "a=1,3,4,5,6", "--group", "b=2,3,4,5,6")
            assert [one["consumed_wh"] for one in seen["community"]] == [6 * HOME_WH, None, None]
            (street.folder / "office.db.told").unlink()

    def test_it_is_kept_for_its_owner_alone_and_names_nobody(self, street: Street) -> None:
        street.json("public", "--k", 3)
        kept = street.folder / "office.db.told"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert "Home" not in kept.read_text()
        assert HOMES[0] not in kept.read_text()
        before = kept.read_text()
        assert before
        street.json("public", "--k", 3)
        assert kept.read_text() == before

    def test_without_what_was_told_nothing_is_told(self, street: Street) -> None:
        (street.folder / "office.db.told").write_text("half a li")
        result = street.view("public")
        assert (result.exit_code, result.stdout) == (3, "")

    def test_the_operator_is_told_nothing_that_counts(self, street: Street) -> None:
        street.json("dso")
        assert (street.folder / "office.db.told").read_text() == ""


class TestForms:
    def test_a_table_for_people(self, street: Street) -> None:
        text = street.view("organiser").stdout
        assert "Home 3" in text
        assert "community: produced 372.000 kWh" in text
        assert "nobody" in text.lower()
        assert "Nothing of this month" not in text

    def test_a_table_for_programs(self, street: Street) -> None:
        result = street.view("member", "--as", 2, "--csv")
        rows = list(csv.DictReader(io.StringIO(result.stdout)))
        drawn = [r for r in rows if (r["view"], r["figure"]) == ("curve", "drawn_wh")]
        assert sum(int(row["value"]) for row in drawn) == HOME_WH
        assert drawn[0]["start"] == "2025-09-30T22:00:00Z"
        (total,) = (r for r in rows if (r["view"], r["figure"]) == ("totals", "drawn_wh"))
        assert (total["who"], total["start"]) == (street.person(2), "")

    def test_usage(self, street: Street) -> None:
        assert street.view("member").exit_code == 2
        assert street.view("public", "--as", "1").exit_code == 2
        assert street.view("public", "--k", 2).exit_code == 2
        assert street.view("public", "--group", "x").exit_code == 2
        assert street.view("member", "--as", 99).exit_code == 6

    def test_another_key_than_was_billed_with_is_refused(self, street: Street) -> None:
        key = street.folder / "key.toml"
        key.write_text('key = "prorata_production"\n')
        result = street.view("dso", "--key", key)
        assert result.exit_code == 3, result.output

    def test_a_month_that_was_not_billed_is_refused(self, street: Street) -> None:
        result = street.run(
            *("view", "dso", "--month", "2025-09", "--database", street.office),
            *("--operation", street.folder / "street.toml", "--bills", street.folder / "bills"),
        )
        assert (result.exit_code, "was not billed yet" in result.stderr) == (6, True)


def test_what_the_market_allocated_goes_to_whom_it_may(street: Street) -> None:
    market = HonestMarket(MarketRules(slot_s=1800))
    market.schedule(MarketRules(slot_s=1800))
    slot = OCTOBER.start_s // 1800 + 100
    market.trade([Order(1, slot, Side.ASK, 500, 4_000), Order(2, slot, Side.BID, 300, 25_000)])
    run = street.folder / "run"
    run.mkdir()
    with LedgerDatabase.open_to_append(run) as ledger:
        ledger.append(market.events)
    words = ("--month", "2025-10", "--database", street.office, "--run", run, "--json")
    operation = ("--operation", street.folder / "street.toml")
    seen = json.loads(street.run("view", "member", "--as", 2, *words, *operation).stdout)
    (own,) = seen["members"]
    assert (own["market"]["bought_wh"], own["market"]["residual_wh"]) == (300, 0)
    refused = street.run(
        "view", "supplier", "--as", 8, "--of", 2, "--view", "market", *words, *operation
    )
    assert refused.exit_code == 6
    client = street.run("view", "supplier", "--as", 7, "--view", "market", *words, *operation)
    assert len(json.loads(client.stdout)["members"]) == 1
