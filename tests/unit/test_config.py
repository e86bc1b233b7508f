"""Settings: precedence, origins, and complaints that name the file and the line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.config import find_config
from node.cli.main import cli
from node.config import NodeConfig, load_config, password_of, refuse_open_secrets
from node.config.lines import lines_of_keys
from node.errors import ConfigurationError
from node.service.rooms import broker_of, check_rooms, meter_of, strategy_of
from tests.support.shared import CHECKOUT

METER = '[meter]\nkind = "linky"\nport = "/dev/ttyUSB0"\n'
MARKET = "0x" + "5a" * 20
CHAIN = f'[chain]\nrpc = "http://127.0.0.1:8545"\nchain_id = 1337\nmarket = "{MARKET}"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def loaded(
    folder: Path,
    text: str,
    environment: dict[str, str] | None = None,
    flags: dict[str, str] | None = None,
) -> NodeConfig:
    return load_config(write(folder, text), environment or {}, flags=flags)


def complaint(folder: Path, text: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check_rooms(loaded(folder, text, environment))
    return str(caught.value)


def test_a_meter_is_enough_and_nothing_is_sent(tmp_path: Path) -> None:
    config = loaded(tmp_path, METER)
    assert config.chain is None
    assert not config.trades
    assert config.household.slot_s == 900
    assert config.storage.backup_folder == config.storage.database.parent / "backups"


def test_a_chain_alone_does_not_trade(tmp_path: Path) -> None:
    assert not loaded(tmp_path, METER + CHAIN).trades
    assert loaded(tmp_path, METER + CHAIN + "trade = true\n").trades


def test_flag_before_environment_before_file_before_default(tmp_path: Path) -> None:
    text = METER + CHAIN
    environment = {"DAISEE_CHAIN__RPC": "http://environment"}
    assert loaded(tmp_path, text).chain is not None
    by_environment = loaded(tmp_path, text, environment)
    by_flag = loaded(tmp_path, text, environment, {"chain.rpc": "http://flag"})
    assert [c.chain and c.chain.rpc for c in (by_environment, by_flag)] == [
        "http://environment",
        "http://flag",
    ]
    assert str(by_environment.origins["chain.rpc"]) == "environment DAISEE_CHAIN__RPC"
    assert by_flag.origins["chain.rpc"].kind == "flag"
    assert by_flag.origins["chain.chain_id"].line == 6
    assert by_flag.origins["household.slot_s"].kind == "default"


def test_text_of_the_environment_becomes_what_its_setting_needs(tmp_path: Path) -> None:
    environment = {
        "DAISEE_CHAIN__TRADE": "true",
        "DAISEE_CHAIN__CHAIN_ID": "7",
        "DAISEE_HOUSEHOLD__NAME": "12",
        "DAISEE_METER__BAUD": "9600",
        "DAISEE_METER__PORT": "/dev/ttyAMA0",
        "DAISEE_ANVIL": "/not/a/setting",
    }
    config = loaded(tmp_path, METER + CHAIN, environment)
    assert config.trades
    assert config.chain is not None
    assert config.chain.chain_id == 7
    assert config.household.name == "12"
    assert config.meter["baud"] == 9600
    assert config.meter["port"] == "/dev/ttyAMA0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[meter\n", "config.toml:1: this is not TOML"),
        (METER + "[metre]\n", "config.toml:4: metre is not a section; did you mean meter?"),
        (METER + "[storage]\nkeep_backup = 3\n", "config.toml:5: storage.keep_backup is not a"),
        (METER + "\n[storage]\nkeep_backups = 0\n", "config.toml:6: storage.keep_backups is 0;"),
        (METER + '[log]\nlevel = "loud"\n', "config.toml:5: log.level is 'loud'; one of debug"),
        (METER + "[log]\nlevel = 3\n", "config.toml:5: log.level is 3; text in quotes"),
        (METER + "[household]\nslot_s = true\n", "config.toml:5: household.slot_s is True;"),
        (METER + '[household]\ntime_zone = "Paris"\n', "config.toml:5: household.time_zone is"),
        (METER + '[metrics]\nhost = "0.0.0.0"\n', "config.toml:5: metrics.host is '0.0.0.0'"),
        (METER + '[chain]\nrpc = "http://x"\n', "config.toml:4: chain.chain_id is missing"),
        (METER + '[chain]\nrpc = "x"\n', "config.toml:5: chain.rpc is 'x'; http:// or"),
        (METER + '[chain]\nrpc = "ws://x/"\n', "config.toml:5: chain.rpc is 'ws://x/'; http:"),
        (METER + CHAIN.replace(MARKET, "0x12"), "config.toml:7: chain.market is '0x12'"),
        (METER + "baud = 1\n", "config.toml:4: meter.baud: 1 is no usual speed"),
        (METER + "prot = 1\n", "config.toml:4: meter.prot: is not known"),
        ('[meter]\nkind = "linki"\n', "config.toml:2: meter.kind: 'linki' is not known"),
        (METER + '[strategy]\nname = "greedy"\n', "config.toml:5: strategy.name cannot be used"),
        (METER + "[strategy]\nwindow = 5\n", "config.toml:5: strategy.window cannot be used"),
        (METER + '[publish]\nbroker = "a:b:c d"\n', "config.toml:5: publish.broker cannot be"),
        (METER + CHAIN + "trade = true\n", "config.toml:4: household.number is needed to trade"),
        ("", "there is no [meter]"),
        ("meter = 1\n", "config.toml:1: meter is a section"),
    ],
)
def test_a_slip_of_the_pen_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    told = complaint(tmp_path, text)
    assert said.replace("config.toml:4: household", "household") in told, told


def test_a_slip_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    variables = {"DAISEE_CHAIN__CHAIN_ID": "one"}
    assert "environment DAISEE_CHAIN__CHAIN_ID: chain.chain_id is 'one'" in complaint(
        tmp_path, METER + CHAIN, variables
    )
    assert "DAISEE_CHIAN__RPC: chian is not a section; did you mean chain?" in complaint(
        tmp_path, METER, {"DAISEE_CHIAN__RPC": "x"}
    )
    assert "environment DAISEE_METER__BAUD: meter.baud" in complaint(
        tmp_path, METER, {"DAISEE_METER__BAUD": "1"}
    )


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.toml: the settings cannot be read"):
        load_config(tmp_path / "nothing.toml", {})
    path = tmp_path / "config.toml"
    path.write_bytes(b"[meter]\nkind = '\xff'\n")
    with pytest.raises(ConfigurationError, match=r"config\.toml:2: this is not UTF-8"):
        load_config(path, {})


def test_lines_of_keys_are_not_misled_by_long_strings() -> None:
    text = 'a = """\n[b]\nc = 1\n"""\n[ b . "c" ]  # comment\nd.e = 2\n[[list]]\nf = "="\n'
    assert lines_of_keys(text) == {
        "a": 1,
        "b.c": 5,
        "b.c.d.e": 6,
        "list": 7,
        "list.f": 8,
    }


def test_relative_paths_start_from_the_file(tmp_path: Path) -> None:
    config = loaded(tmp_path, METER + '[storage]\ndatabase = "node.db"\n')
    assert config.storage.database == tmp_path / "node.db"


def test_a_file_with_a_url_is_looked_for_beside_the_settings(tmp_path: Path) -> None:
    text = METER + CHAIN.replace("http://127.0.0.1:8545", "file:keys/rpc-url")
    chain = loaded(tmp_path, text).chain
    assert chain is not None
    assert chain.rpc == f"file:{tmp_path}/keys/rpc-url"


@pytest.mark.parametrize(
    "rpc",
    [
        '"https://7:SEKRET@rpc.street.example/"',
        '"https://7:SEK/RET@rpc.street.example/"',
        '"SEKRET@rpc.street.example"',
        '["https://7:SEKRET@rpc.street.example/"]',
    ],
)
def test_a_token_in_the_settings_is_refused_and_not_shown(tmp_path: Path, rpc: str) -> None:
    told = complaint(tmp_path, METER + CHAIN.replace('"http://127.0.0.1:8545"', rpc))
    assert "config.toml:5: chain.rpc" in told
    assert "SEK" not in told
    told = complaint(tmp_path, METER + CHAIN, {"DAISEE_CHAIN__RPC": rpc.strip('"')})
    assert "environment DAISEE_CHAIN__RPC: chain.rpc" in told
    assert "SEK" not in told
    told = complaint(tmp_path, METER + CHAIN + 'relay = "https://7:SEKRET@relay.example"\n')
    assert "chain.relay is 'https://relay.example'" in told


def test_the_service_and_a_user_have_their_own_database(tmp_path: Path) -> None:
    config = loaded(tmp_path, METER, {"XDG_STATE_HOME": str(tmp_path / "state")})
    assert config.storage.database == tmp_path / "state/daisee/node.db"


@pytest.mark.parametrize("section", ["key", "publish", "meter", "chain"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, section: str, mode: int) -> None:
    secret = tmp_path / "password"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    tables = {
        "key": METER + '[key]\npassword_file = "password"\n',
        "chain": METER + CHAIN.replace("http://127.0.0.1:8545", "file:password"),
        "publish": METER + '[publish]\nbroker = "hub"\npassword_file = "password"\n',
        "meter": '[meter]\nkind = "tasmota"\nbroker = "hub"\npassword_file = "password"\n',
    }
    key = "chain.rpc" if section == "chain" else f"{section}.password_file"
    config = loaded(tmp_path, tables[section])
    refuse_open_secrets(config)
    secret.chmod(mode)
    with pytest.raises(ConfigurationError, match=rf"{key} .*mode {mode:04o}"):
        refuse_open_secrets(config)
    secret.unlink()
    with pytest.raises(ConfigurationError, match=rf"config\.toml:\d+: {key}"):
        refuse_open_secrets(config)


def test_the_password_comes_from_the_credential_first(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from the file\n")
    config = loaded(tmp_path, METER + '[key]\npassword_file = "password"\n')
    assert password_of(config, {}) == "from the file"
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert password_of(config, environment) == "from the file"
    (credentials / "daisee-key-password").write_text("from systemd\r\n")
    assert password_of(config, environment) == "from systemd"


def test_no_password_anywhere_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"key\.password_file is missing"):
        password_of(loaded(tmp_path, METER), {})
    (tmp_path / "password").write_bytes(b"")
    config = loaded(tmp_path, METER + '[key]\npassword_file = "password"\n')
    with pytest.raises(ConfigurationError, match="holds no password"):
        password_of(config, {})


def test_rooms_get_what_they_ask_for(tmp_path: Path) -> None:
    text = METER + '[strategy]\nname = "adaptive"\nwindow = 8\n[publish]\nbroker = "hub:1884"\n'
    config = loaded(tmp_path, text)
    assert meter_of(config).port == "/dev/ttyUSB0"
    assert strategy_of(config).name == "adaptive"
    broker = broker_of(config)
    assert broker is not None
    assert (broker.host, broker.port) == ("hub", 1884)


def test_show_names_every_value_and_its_origin(tmp_path: Path) -> None:
    path = write(tmp_path, METER)
    asked = ["config", "show", "--origin", "--json", "--config", str(path)]
    answer = CliRunner().invoke(
        cli, [*asked, "--set", "log.level=debug"], env={"DAISEE_HOUSEHOLD__SLOT_S": "60"}
    )
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    assert document["settings"]["household.slot_s"] == 60
    assert document["origins"]["household.slot_s"] == "environment DAISEE_HOUSEHOLD__SLOT_S"
    assert document["origins"]["log.level"] == "flag log.level"
    assert document["origins"]["meter.port"] == f"file {path}:3"
    assert document["origins"]["metrics.port"] == "default"


def test_check_says_whether_it_trades(tmp_path: Path) -> None:
    path = write(tmp_path, METER)
    answer = CliRunner().invoke(cli, ["config", "check", "--config", str(path)])
    assert answer.exit_code == 0
    assert "paper mode" in answer.stdout
    path.write_text(METER + "[log]\nlevl = 1\n")
    answer = CliRunner().invoke(cli, ["config", "check", "--config", str(path)])
    assert answer.exit_code == 3
    assert f"{path}:5: log.levl is not a setting; did you mean level?" in answer.stderr


def test_set_needs_a_key_and_a_value(tmp_path: Path) -> None:
    path = write(tmp_path, METER)
    answer = CliRunner().invoke(cli, ["config", "check", "--config", str(path), "--set", "x"])
    assert answer.exit_code == 2


def test_a_user_s_settings_come_before_the_service_s(tmp_path: Path) -> None:
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert find_config(environment, tmp_path) == Path("/etc/daisee/config.toml")
    own = tmp_path / "daisee/config.toml"
    own.parent.mkdir()
    own.touch()
    assert find_config(environment, tmp_path) == own


def test_the_example_can_be_used_as_it_stands() -> None:
    config = load_config(CHECKOUT / "packaging/daisee.toml", {})
    check_rooms(config)
    assert not config.trades
