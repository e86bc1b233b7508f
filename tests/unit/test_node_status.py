"""``daisee node status`` beside a program that has the status page's port and is no node."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from node.cli.main import cli
from node.publish.state import PublishedState
from node.publish.status_http import status_document
from node.store import NodeDatabase


@contextmanager
def answering(with_bytes: bytes) -> Iterator[int]:
    """A program that says this to whoever connects, once; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            caller, _ = server.accept()
            with caller:
                caller.recv(4_096)
                caller.sendall(with_bytes)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(10)


def page(document: object) -> bytes:
    return b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(document).encode()


def asked(folder: Path, answer: bytes, *flags: str) -> Result:
    database = folder / "node.db"
    NodeDatabase.open(database).close()
    with answering(answer) as port:
        config = folder / "config.toml"
        config.write_text(
            '[meter]\nkind = "linky"\nport = "/dev/null"\n'
            f'[storage]\ndatabase = "{database}"\n[metrics]\nport = {port}\n'
        )
        return CliRunner().invoke(cli, ["node", "status", "--config", str(config), *flags])


STRANGERS = {
    "json": page({"hello": 1}),
    "list": page([1]),
    "other": page({"schema": "daisee.relay/1", "mode": "trade"}),
    "nested": b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 500_000,
    "cut": b"HTTP/1.0 200 OK\r\nContent-Length: 900\r\n\r\n{}",
    "ssh": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "silent": b"",
}


@pytest.mark.parametrize("answer", STRANGERS.values(), ids=STRANGERS)
def test_what_is_no_node_s_page_is_no_running_node(tmp_path: Path, answer: bytes) -> None:
    shown = asked(tmp_path, answer)
    assert shown.exit_code == 4, shown.output
    assert "does not run" in shown.stdout
    as_json = asked(tmp_path, answer, "--json")
    assert as_json.exit_code == 4
    document = json.loads(as_json.stdout)
    assert document["running"] is False
    assert "hello" not in document


def test_a_node_s_page_is_shown_with_the_power_that_its_meter_tells(tmp_path: Path) -> None:
    more = {
        "mode": "paper",
        "slot": 1,
        "slots": [],
        "orders": [],
        "today": dict.fromkeys(
            ("import_wh", "export_wh", "bought_wh", "sold_wh", "amount_units"), 0
        ),
        "meter": {
            "state": "speaking",
            "last_frame_at_s": 5,
            "power_w": None,
            "power_va": 2_830,
            "fault": None,
        },
        "chain": {"known": False},
        "clock": {"now_s": 5, "synchronised": True, "meter_ahead_s": None},
        "backup": {"at_s": None, "trouble": ""},
        "troubles": [],
    }
    shown = asked(tmp_path, page(status_document(PublishedState(at_s=5), more, "1.0")))
    assert shown.exit_code == 0, shown.output
    assert ", 2830 VA\n" in shown.stdout
