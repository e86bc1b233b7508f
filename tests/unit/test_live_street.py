"""What a live street hands its daemons: profiles that count exactly, settings that load."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.chain.community import CONTRACTS, Community
from node.config import load_config
from node.errors import ConfigurationError
from node.meter.home_profile import read_home_registers
from node.service.rooms import check_rooms, strategy_of
from simulations.live_homes import HomeFolder, write_profile
from simulations.live_network import live_homes
from simulations.scenario import Scenario, StrategyChoice

FIRST_SLOT: Final = 80_000_000
COMMUNITY: Final = Community(
    name="Street",
    operator="0x" + "01" * 20,
    chain_id=20_261,
    genesis_hash="0x" + "02" * 32,
    engine="geth",
    finality_depth=8,
    rpc_urls=("http://127.0.0.1:1",),
    relay_urls=(),
    slot_s=20,
    contracts=dict.fromkeys(CONTRACTS, "0x" + "03" * 20),
    code_hashes=dict.fromkeys(CONTRACTS, "0x" + "04" * 32),
    created_in_block=9,
)

energies = st.lists(
    st.tuples(st.integers(0, 20_000), st.integers(0, 20_000)), min_size=1, max_size=5
)


@given(slot_s=st.sampled_from([1, 2, 5, 10, 12, 20, 60]), energies=energies)
def test_a_profile_counts_each_slots_energy_and_rests_at_its_ends(
    slot_s: int, energies: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("profile") / "home.csv"
    # Behind one meter a second has one direction: the profile's own slots have one too.
    nets = [(max(i - e, 0), max(e - i, 0)) for i, e in energies]
    write_profile(
        path,
        first_slot=FIRST_SLOT,
        slot_s=slot_s,
        import_wh=[imported for imported, _ in nets],
        export_wh=[exported for _, exported in nets],
        rest_s=40,
    )
    home = read_home_registers(path)
    begin_s = FIRST_SLOT * slot_s
    assert home.at(begin_s - 1) == (0, 0)
    totals = (0, 0)
    still_s = slot_s // 4
    for index, (imported, exported) in enumerate(nets):
        at_s = begin_s + index * slot_s
        assert {home.at(at_s + late_s) for late_s in range(still_s + 1)} == {totals}
        totals = totals[0] + imported, totals[1] + exported
        assert {home.at(at_s + slot_s - early_s) for early_s in range(still_s + 1)} == {totals}
    assert home.at(begin_s + len(nets) * slot_s + 39) == totals


@pytest.mark.parametrize("relay", [None, "http://127.0.0.1:2"])
def test_the_settings_are_those_of_a_household_that_trades(
    relay: str | None, tmp_path: Path
) -> None:
    folder = HomeFolder(tmp_path)
    folder.write_settings(
        COMMUNITY,
        number=3,
        rpc_url="http://127.0.0.1:1",
        relay_url=relay,
        strategy="adaptive",
        parameters={"window": 4},
    )
    config = load_config(folder.config, {})
    check_rooms(config)
    assert config.trades
    assert (config.household.number, config.household.slot_s) == (3, 20)
    assert config.chain is not None
    assert (config.chain.relay, config.chain.finality_depth) == (relay, 8)
    assert strategy_of(config) == StrategyChoice("adaptive", {"window": 4}).build()


def test_each_slot_lives_one_step_from_the_morning_on() -> None:
    homes = live_homes(Scenario(homes=2, seed=22), 15)
    assert [home.profile.steps for home in homes] == [15, 15]
    assert {home.profile.start_s % 86_400 for home in homes} == {9 * 3_600}
    late = live_homes(Scenario(homes=1, seed=22), 80)
    assert late[0].profile.start_s % 86_400 == (96 - 80) * 900
    with pytest.raises(ConfigurationError, match="96 steps, and each of 97"):
        live_homes(Scenario(homes=1), 97)
