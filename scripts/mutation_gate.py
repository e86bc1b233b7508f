"""The mutation gate: see scripts/mutants, and tests/contracts/mutants.toml for the faults.

Each mutant is compiled as the contracts are and put in front of the fast part of the tests, through
DAISEE_TEST_ARTIFACTS. First the contracts as they are: what fails on them notices nothing. What was
compiled is kept in build/mutants, by the hash of its sources.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
TABLE = CHECKOUT / "tests" / "contracts" / "mutants.toml"
COMPILED = CHECKOUT / "build" / "mutants"

SETTINGS = {
    "evmVersion": "london",
    "optimizer": {"enabled": True, "runs": 1_000_000},
    "viaIR": True,
    "metadata": {"bytecodeHash": "none"},
}
FAST = {"DAISEE_STATEFUL_RUNS": "60", "DAISEE_TWIN_BOOKS": "50", "HYPOTHESIS_PROFILE": "default"}
"""A share of the tests that finds every seeded fault; the suite itself does more."""

MARKET_TESTS = (
    "edges",
    "market_turns",
    "first_prototype",
    "recovery",
    "clearing_twin",
    "market_stateful",
    "access",
)
MEMBER_TESTS = ("recovery", "market_turns", "first_prototype", "access", "market_stateful")
"""The quickest first, and what random draws find last: no verdict hangs on their luck."""

MUTANT_S = 900
"""No test run takes so long, however slow the machine: it would hang."""

NOTICED, PASSED = 1, 0  # pytest's exit codes


class Unusable(Exception):
    """A mutant that says nothing about the tests: it does not apply, or does not compile."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A contract with one fault: ``find`` in ``file`` becomes ``put``."""

    name: str
    file: str
    find: str
    put: str

    def source(self) -> str:
        """The file with its fault. Raises Unusable unless the place is there exactly once."""
        text = (CHECKOUT / self.file).read_text()
        if (times := text.count(self.find)) != 1:
            raise Unusable(f"its place stands {times} times in {self.file}")
        return text.replace(self.find, self.put)

    @property
    def contract(self) -> str:
        """The deployed contract that the fault is in; libraries are the market's."""
        name = Path(self.file).stem
        return name if Path(self.file).parent.name == "contracts" else "EnergyMarket"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant."""

    name: str
    word: str
    detail: str
    took_s: float

    @property
    def good(self) -> bool:
        """Whether the gate may open."""
        return self.word == "killed"


def artifact(contract: str, sources: dict[str, str]) -> dict[str, Any]:
    """A contract compiled with some sources in place of the checkout's. Raises Unusable."""
    request = {
        "sources": sources,
        "wanted": {f"contracts/{contract}.sol": contract},
        "settings": SETTINGS,
    }
    kept = COMPILED / f"{fingerprint(request)}.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    done = subprocess.run(
        [shutil.which("node") or "node", "scripts/compile_sources.mjs"],
        cwd=CHECKOUT,
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=MUTANT_S,
        check=True,
    )
    answer = json.loads(done.stdout)
    if "errors" in answer:
        raise Unusable("\n".join(answer["errors"]))
    made: dict[str, Any] = answer["contracts"][contract]
    COMPILED.mkdir(parents=True, exist_ok=True)
    draft = kept.with_suffix(f".{os.getpid()}.{contract}")
    draft.write_text(json.dumps(made))
    draft.replace(kept)
    return made


def fingerprint(request: dict[str, Any]) -> str:
    """What a compilation depends on: the request, all our sources, the compiler's and libraries'
    versions."""
    known = hashlib.sha256(json.dumps(request, sort_keys=True).encode())
    files = sorted((CHECKOUT / "contracts").rglob("*.sol"))
    for file in (*files, CHECKOUT / "package-lock.json", CHECKOUT / "scripts/compile_sources.mjs"):
        known.update(file.read_bytes())
    return known.hexdigest()


def run_tests(contract: str, made: dict[str, Any]) -> tuple[int, str]:
    """Run the fast tests with a contract in its place; pytest's exit code and what it said."""
    tests = MARKET_TESTS if contract == "EnergyMarket" else MEMBER_TESTS
    with tempfile.TemporaryDirectory(prefix="daisee-mutant-") as folder:
        Path(folder, f"{contract}.json").write_text(json.dumps(made))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "--tb=no"),
                *("-p", "no:cacheprovider"),
                *(f"tests/contracts/test_{name}.py" for name in tests),
            ],
            cwd=CHECKOUT,
            env=os.environ | FAST | {"DAISEE_TEST_ARTIFACTS": folder},
            capture_output=True,
            text=True,
            timeout=MUTANT_S,
            check=False,
        )
    return done.returncode, done.stdout


def judge(mutant: Mutant) -> Verdict:
    """Compile a mutant, run the tests on it, and say what became of it."""
    started = time.monotonic()
    try:
        made = artifact(mutant.contract, {mutant.file: mutant.source()})
        code, said = run_tests(mutant.contract, made)
    except Unusable as unusable:
        return Verdict(mutant.name, "UNUSABLE", str(unusable), time.monotonic() - started)
    noticed = next((line for line in said.splitlines() if line.startswith("FAILED")), "")
    detail = noticed.removeprefix("FAILED tests/contracts/").split(" - ")[0]
    if code == NOTICED and noticed:
        word = "killed"
    else:
        word, detail = ("SURVIVED", "") if code == PASSED else ("UNUSABLE", said[-2_000:])
    return Verdict(mutant.name, word, detail, time.monotonic() - started)


def check_the_contracts_themselves(contracts: Iterable[str]) -> None:
    """The tests must pass on what is not mutated, or they kill for nothing."""
    for contract in sorted(set(contracts)):
        code, said = run_tests(contract, artifact(contract, {}))
        if code != PASSED:
            sys.exit(f"mutants: the tests fail on {contract} as it is\n{said[-3_000:]}")
        print(f"passes    {contract} as it is", flush=True)


def chosen(arguments: argparse.Namespace) -> list[Mutant]:
    """The mutants that were asked for."""
    mutants = [Mutant(**entry) for entry in tomllib.loads(TABLE.read_text())["mutant"]]
    if len({mutant.name for mutant in mutants}) != len(mutants):
        sys.exit(f"mutants: two mutants of {TABLE.name} have one name")
    if arguments.only:
        return [mutant for mutant in mutants if arguments.only in mutant.name]
    share, shares = (int(word) for word in arguments.share.split("/"))
    if not 1 <= share <= shares:
        sys.exit(f"mutants: there is no share {arguments.share}")
    return mutants[share - 1 :: shares]


def main() -> int:
    """Judge every chosen mutant; 0 if all were killed."""
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="mutants at one time (default: 2)")
    parser.add_argument("--share", default="1/1", help="K/N: every Nth mutant from the Kth on")
    parser.add_argument("--only", default="", help="mutants whose name holds these words")
    arguments = parser.parse_args()
    mutants = chosen(arguments)
    started = time.monotonic()
    check_the_contracts_themselves(mutant.contract for mutant in mutants)
    bad = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for verdict in pool.map(judge, mutants):
            bad += not verdict.good
            took = f"{verdict.took_s:5.0f} s"
            print(f"{verdict.word:9} {took}  {verdict.name}  {verdict.detail}", flush=True)
    minutes = (time.monotonic() - started) / 60
    print(f"{len(mutants) - bad} of {len(mutants)} mutants killed in {minutes:.1f} min")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
