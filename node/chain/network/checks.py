"""What a network may be: all that its engine, its machines and its members can use. Pure.

Whoever plans a network, edits its file or describes a machine to it is held to the same rules, so
that nothing is written which the next command, or the engine, refuses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from node.chain.network.record import Network, Peer

__all__ = ["MAX_NUMBER", "MAX_SEALERS", "check_network", "checked_peer", "machine_address"]

MAX_NUMBER: Final = 99
MAX_PEERS: Final = 64
MAX_NAME: Final = 80
MAX_PORT: Final = 65_535

MAX_SEALERS: Final = 7
"""Of Clique, at any time. When a block is final follows from this and never changes, though a
community begins with 4 and grows; see decision 0014."""

_ADDRESS: Final = re.compile(r"0x[0-9a-f]{40}")
_ENODE: Final = re.compile(r"[0-9a-f]{128}")
_HOST: Final = re.compile(r"[0-9A-Fa-f.:]{1,45}")


def machine_address(host: str) -> IPv4Address | IPv6Address:
    """The address that a machine is dialled at. Raises ValueError: names may change and are looked
    up by no engine, and some addresses are no machine's."""
    found = ip_address(host)
    if not _HOST.fullmatch(host) or found.is_unspecified or found.is_multicast:
        raise ValueError(f"{host!r} is no machine's address")
    return found


def checked_peer(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of one node, as a file has them. Raises ValueError, KeyError or TypeError."""
    kind = values["kind"]
    if kind not in ("validator", "rpc"):
        raise ValueError(f"kind is {kind!r}; validator or rpc")
    if kind == "validator":
        _match("address", values["address"], _ADDRESS)
    _match("enode_id", values["enode_id"], _ENODE)
    _match("host", values["host"], _HOST)
    machine_address(values["host"])
    asked = 1 if kind == "rpc" else 0
    ranges = (("number", 1, MAX_NUMBER), ("p2p_port", 1, MAX_PORT), ("rpc_port", asked, MAX_PORT))
    for name, least, most in ranges:
        _whole(name, values[name], least, most)
    for name in ("joined", "removed"):
        flag = values.get(name, False)
        if flag is not True and flag is not False:
            raise ValueError(f"{name} is {flag!r}; true or false")
    return dict(values)


def check_network(network: Network) -> None:
    """Raise ValueError when nodes would not start, not find each other or hear twice of one."""
    if network.engine not in ("geth", "besu"):
        raise ValueError(f"engine is {network.engine!r}; geth or besu")
    _check_name(network.name)
    for name, most in (("chain_id", 2**63 - 1), ("period_s", 3_600)):
        _whole(name, getattr(network, name), 1, most)
    _match("operator", network.operator, _ADDRESS)
    if not network.founders:
        raise ValueError("it has no validator that founded it")
    if network.engine == "geth" and len(network.founders) > MAX_SEALERS:
        raise ValueError(
            f"{len(network.founders)} validators founded it, and Clique may have {MAX_SEALERS}"
        )
    if len(network.everybody) > MAX_PEERS:
        raise ValueError(f"it has more than {MAX_PEERS} nodes")
    for name, count in Counter(peer.name for peer in network.everybody).items():
        if count > 1:
            raise ValueError(f"{name} is in it {count} times")
    _check_ports(network)


def _check_name(name: object) -> None:
    """It also stands in units, community files and on pages."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise ValueError(f"name is {name!r}; 1 to {MAX_NAME} characters are needed")
    if not name.isprintable() or set(name) & set('"\\'):
        raise ValueError(f"name is {name!r}; quotes, backslashes and line breaks cannot be used")


def _check_ports(network: Network) -> None:
    """No two servers of one machine share a port."""
    taken: dict[tuple[IPv4Address | IPv6Address, int], Peer] = {}
    for peer in network.peers:
        if network.engine == "besu" and not peer.rpc_port:
            raise ValueError(f"{peer.name} has no rpc_port, and Besu is asked at one")
        for port in filter(None, (peer.p2p_port, peer.rpc_port)):
            place = (machine_address(peer.host), port)
            if place in taken:
                raise ValueError(
                    f"{taken[place].name} and {peer.name} share port {port} of {peer.host}"
                )
            taken[place] = peer


def _whole(name: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}; an integer in {least}..{most} is needed")


def _match(name: str, value: object, pattern: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{name} is {value!r}, which cannot be used")
