"""An organiser's desk, and the files of whom it deals with: for disputes from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner, Result
from eth_account import Account

from node.billing.curve_files import CurveTable, curve_table_text
from node.billing.operation_file import read_operation
from node.chain.community import Community, save_community
from node.chain.keys import Key
from node.cli.main import cli
from node.model import MarketRules, Order, Side
from node.slots import iso_utc
from node.store import LedgerDatabase
from tests.support.billing_cases import BARN, FLAT, MILL, ROOF, curves, month
from tests.support.honest_market import NAMES, HonestMarket
from tests.support.operator_month import WattsOf, write_r63

OCTOBER: Final = month("2025-10")
STEP: Final = 700
FROM_S: Final = OCTOBER.start_s + STEP * 1800
HOME, GRID, EVE = Key(b"\x21" * 32), Key(b"\x22" * 32), Key(b"\x23" * 32)
CONTRACTS: Final = (
    "AccessManager",
    "HouseholdRegistry",
    "SettlementCredit",
    "EnergyMarket",
    "RecordBook",
)
OPERATION: Final = f"""
[operation]
name = "Mill Street"
rules = "2025-1"
[tariffs]
accept = ["one_source"]
[[producer]]
point = "{ROOF}"
name = "The roof"
surplus_ct_kwh = "4.00"
[[producer]]
point = "{BARN}"
name = "The barn"
no_vat = "CGI art. 293 B"
[[consumer]]
point = "{FLAT}"
name = "The flat"
[[consumer]]
point = "{MILL}"
name = "The mill"
[[price]]
producer = "{ROOF}"
ct_kwh = "12.00"
[[price]]
producer = "{BARN}"
ct_kwh = "10.50"
[[fee]]
ct_kwh = "0.50"
"""


@dataclass(frozen=True, slots=True)
class Desk:
    """An organiser's files, and those of whom it deals with."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "office.db"

    @property
    def community(self) -> Path:
        return self.folder / "community.toml"

    def key(self, key: Key) -> list[object]:
        """Options of a key, kept in files of its own."""
        keystore = self.folder / f"{key.address}.json"
        password = self.folder / "password"
        if not keystore.exists():
            keystore.write_text(json.dumps(Account.encrypt(key.secret, "canary", iterations=2)))
            password.write_text("canary\n")
            for secret in (keystore, password):
                secret.chmod(0o600)
        return ["--keystore", keystore, "--password-file", password]

    def run(self, *words: object) -> Result:
        return CliRunner().invoke(cli, list(map(str, words)))

    def office(self, *words: object) -> Result:
        return self.run(*words, "--database", self.database)

    def json(self, *words: object) -> dict[str, Any]:
        return document(self.office(*words, "--json"))

    def claim(
        self, key: Key = HOME, values_wh: Sequence[int] = (4_000, 0), household: int = 2
    ) -> Path:
        """A claim file, of these values from the step on."""
        table = self.folder / "values.csv"
        rows = [f"{iso_utc(FROM_S + n * 1800)},{wh}" for n, wh in enumerate(values_wh)]
        table.write_text("\n".join(["start,wh", *rows]) + "\n")
        result = self.run(
            *("dispute", "claim", "--community", self.community, "--household", household),
            *("--side", "bid", "--values", table, "--text", "the meter stood still"),
            *self.key(key),
        )
        assert result.exit_code == 0, result.output
        path = self.folder / "claim.json"
        path.write_text(result.stdout)
        return path

    def open(self, claim: Path) -> Result:
        return self.office("dispute", "open", claim, "--community", self.community, "--json")

    def rule(self, number: str, *more: object, key: Key = GRID, rules: str = "2025-1") -> Result:
        """The operator decides on its own machine, the organiser takes what it signed."""
        shown = self.folder / "dispute.json"
        shown.write_text(self.office("dispute", "show", number, "--json").stdout)
        decided = self.run(
            *("dispute", "decide", shown, "--rules", rules, "--community", self.community),
            *("--no-record", "--json", *self.key(key), *more),
        )
        if decided.exit_code:
            return decided
        ruling = self.folder / "ruling.json"
        ruling.write_text(decided.stdout)
        return self.office(
            *("dispute", "rule", number, ruling, "--community", self.community),
            *("--unrecorded", "--json"),
        )

    def month(self, day: str, *more: object) -> Result:
        """Run the month's round on a day."""
        return self.run(
            *("supplier", "month", "--operation", self.folder / "street.toml"),
            *("--inbox", self.folder / "inbox", "--curves", self.folder / "curves.db"),
            *("--out", self.folder / "bills", "--at", f"{day}T06:00:00Z", "--json", *more),
        )

    def bill(self) -> None:
        """Bill October, from the operator's file."""
        (self.folder / "inbox").mkdir()
        consumers: dict[str, WattsOf] = {
            FLAT: lambda n: 2 * (300 + n % 7),
            MILL: lambda n: 2 * (200 + n % 11),
        }
        producers: dict[str, WattsOf] = {
            ROOF: lambda n: 1_800 if 16 <= n % 48 < 36 else 0,
            BARN: lambda n: 2 * (n % 50),
        }
        write_r63(self.folder / "inbox" / "1.csv", date(2025, 10, 1), 31, consumers, producers)
        document(self.month("2025-11-02"))

    def settle(self, number: str, *more: object) -> Result:
        return self.office(
            *("dispute", "settle", number, "--operation", self.folder / "street.toml"),
            *("--curves", self.folder / "curves.db", "--bills", self.folder / "bills"),
            *("--json", *more),
        )


def document(result: Result) -> dict[str, Any]:
    """The document that a command printed, which must have worked."""
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def write_table(path: Path, table: CurveTable) -> None:
    """Write curves as a file."""
    path.write_text("".join(curve_table_text(table)))


def made_desk(folder: Path) -> Desk:
    """A desk with a community, an operation, two members and a trusted grid operator."""
    folder.mkdir(exist_ok=True)
    desk = Desk(folder)
    address = "0x" + "0b" * 20
    code_hash = "0x" + "00" * 32
    save_community(
        desk.community,
        Community(
            name="Mill Street",
            operator=address,
            chain_id=31337,
            genesis_hash=code_hash,
            engine="besu",
            finality_depth=0,
            rpc_urls=("http://127.0.0.1:1",),
            relay_urls=(),
            slot_s=1800,
            contracts=dict.fromkeys(CONTRACTS, address),
            code_hashes=dict.fromkeys(CONTRACTS, code_hash),
            created_in_block=0,
        ),
    )
    (folder / "street.toml").write_text(OPERATION)
    assert read_operation(folder / "street.toml").rules == "2025-1"
    people = (("The flat", 2, FLAT, HOME), ("The mill", 3, MILL, EVE))
    for name, number, point, key in people:
        added = desk.office(
            *("person", "add", "--name", name, "--household", number),
            *("--withdrawal", point, "--signer", key.address),
        )
        assert added.exit_code == 0, added.output
    trusted = desk.office("dispute", "trust", "distribution_operator", GRID.address)
    assert trusted.exit_code == 0, trusted.output
    return desk


def give_document(desk: Desk, number: str) -> None:
    """Give evidence, so that the operator may rule."""
    letter = desk.folder / "letter.txt"
    letter.write_text("It stood still from noon on.")
    given = desk.json("dispute", "evidence", number, "--document", letter)
    assert given["state"] == "evidence"


def ruled_market(desk: Desk) -> tuple[Path, tuple[object, ...], str]:
    """A run of two slots, the operator's tables for it, and a dispute about the first, ruled."""
    slot = FROM_S // 1800
    market = HonestMarket(MarketRules(slot_s=1800, network_fee=200))
    market.schedule(MarketRules(slot_s=1800, network_fee=200))
    for number in (slot, slot + 1):
        ask = Order(1, number, Side.ASK, 500, 4_000)
        market.trade([ask, Order(2, number, Side.BID, 300, 25_000)])
    run = desk.folder / "run"
    run.mkdir()
    with LedgerDatabase.open_to_append(run) as ledger:
        ledger.append(market.events)
        ledger.set_names(NAMES)
    write_table(desk.folder / "drawn.csv", curves(OCTOBER, {"flat": lambda _: 300}))
    write_table(desk.folder / "fed.csv", curves(OCTOBER, {"roof": lambda _: 500}))
    dispute = str(document(desk.open(desk.claim(values_wh=(100, 300))))["number"][:12])
    give_document(desk, dispute)
    document(desk.rule(dispute, "--outcome", "upheld"))
    tables = ("--withdrawals", desk.folder / "drawn.csv", "--injections", desk.folder / "fed.csv")
    return run, tables, dispute
