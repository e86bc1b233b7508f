"""What starts a network's nodes on their machines: systemd units, and a compose file. Pure."""

from __future__ import annotations

import shlex
from typing import Final

from node.chain.network import besu, geth
from node.chain.network.record import Network, Peer

__all__ = ["INSTALLED", "compose_text", "unit_name", "unit_text", "unstick_texts"]

INSTALLED: Final = "/var/lib/daisee-chain"
"""Where an operator puts a machine's part of the folder; see docs/operators.md."""

GETH_IMAGE: Final = f"ethereum/client-go:v{geth.GETH_VERSION}"
BESU_IMAGE: Final = "hyperledger/besu:25.11.0"

_MEMORY: Final = {"geth": "1G", "besu": "4G"}


def unit_name(peer: Peer) -> str:
    """The service of a node."""
    return f"daisee-{peer.name}.service"


def unit_text(network: Network, peer: Peer) -> str:
    """The unit of a node: a user of its own, always started again, and nothing else writable."""
    files = f"{INSTALLED}/{peer.folder}"
    data = f"{files}/data"
    prepare = ""
    if network.engine == "geth":
        run = geth.run_command(
            "/usr/local/bin/geth",
            network,
            peer,
            files=files,
            data=data,
            socket=f"{data}/geth.ipc",
            config=f"{files}/config.toml",
        )
        init = geth.init_command("/usr/local/bin/geth", data, f"{INSTALLED}/genesis.json")
        prepare = f"ExecStartPre={shlex.join(init)}\n"
        environment = ""
    else:
        run = besu.run_command("/opt/besu/bin/besu", network, peer, files=files, data=data)
        environment = "Environment=BESU_OPTS=-Xmx2g\n"
    what = "validator" if peer.kind == "validator" else "node for members"
    community = network.name.replace("%", "%%")  # with one, systemd would put in what it knows
    return f"""\
[Unit]
Description=daisee chain: {what} {peer.number} of {community}
Wants=network-online.target
After=network-online.target time-sync.target

[Service]
{environment}{prepare}ExecStart={shlex.join(run)}
User=daisee-chain
Group=daisee-chain
Restart=always
RestartSec=5
# Written states take a while to reach the disk.
TimeoutStopSec=120
WorkingDirectory={INSTALLED}
ReadWritePaths={files}
UMask=0077
MemoryMax={_MEMORY[network.engine]}
LimitNOFILE=16384

NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


def unstick_texts() -> dict[str, str]:
    """A service and a timer that look every minute whether Clique's sealers wait for each other."""
    service = f"""\
[Unit]
Description=daisee chain: free sealers that wait for each other

[Service]
Type=oneshot
ExecStart=/usr/local/bin/daisee chain recover {INSTALLED} --if-stuck --yes
User=daisee-chain
"""
    timer = """\
[Unit]
Description=daisee chain: look once a minute whether the sealers wait for each other

[Timer]
OnBootSec=3min
OnUnitActiveSec=1min

[Install]
WantedBy=timers.target
"""
    return {"daisee-chain-unstick.service": service, "daisee-chain-unstick.timer": timer}


def compose_text(network: Network) -> str:
    """All nodes in containers with the machine's own network: each machine starts its own by name,
    ``docker compose up validator-01``."""
    lines = [
        f"# The nodes of {network.name}; on each machine: docker compose up -d NAME",
        "services:",
    ]
    for peer in network.peers:
        files, data = f"/chain/{peer.folder}", f"/chain/{peer.folder}/data"
        if network.engine == "geth":
            init = geth.init_command("geth", data, "/chain/genesis.json")
            run = geth.run_command(
                "geth",
                network,
                peer,
                files=files,
                data=data,
                socket=f"{data}/geth.ipc",
                config=f"{files}/config.toml",
            )
            image, command = GETH_IMAGE, f"{shlex.join(init)} && exec {shlex.join(run)}"
        else:
            image = BESU_IMAGE
            command = "exec " + shlex.join(
                besu.run_command("besu", network, peer, files=files, data=data)
            )
        lines += [
            f"  {peer.name}:",
            f"    image: {image}",
            '    entrypoint: ["/bin/sh", "-c"]',
            f"    command: [{_quoted(command)}]",
            "    network_mode: host",
            "    restart: always",
            "    stop_grace_period: 2m",
            "    volumes:",
            "      - ./genesis.json:/chain/genesis.json:ro",
            f"      - ./{peer.folder}:/chain/{peer.folder}",
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A scalar of YAML in double quotes; compose would read a single dollar sign as a variable."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'
