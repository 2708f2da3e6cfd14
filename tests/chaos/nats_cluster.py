"""Three NATS servers as one cluster on loopback, each in reach of a fault."""

import json
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from embedded.nats_server import binary
from embedded.network import answers_http
from embedded.process import Process, ProcessSpec

#: A busy machine elects slowly.
HEALTHY_S = 60.0

_CONFIG = """\
server_name: {name}
listen: 127.0.0.1:{ports[0]}
http: 127.0.0.1:{ports[1]}
authorization {{ user: chaos, password: "p@ss:w/rd" }}
cluster {{
  name: chaos
  listen: 127.0.0.1:{ports[2]}
  routes: [{routes}]
}}
jetstream {{ store_dir: "{store}", sync_interval: {sync_interval} }}
"""


class Node(Process):
    """One server of the cluster; `ready` means that its port answers, no more.

    Attributes:
        url: Where clients find it.
    """

    def __init__(self, name: str, folder: Path, ports: Sequence[int]) -> None:
        self.url = f"nats://chaos:p%40ss%3Aw%2Frd@127.0.0.1:{ports[0]}"
        self._monitor = ports[1]
        super().__init__(
            ProcessSpec(
                name=name,
                argv=(binary(), "-c", str(folder / f"{name}.conf")),
                port=ports[0],
                log_path=folder / f"{name}.log",
                ready=lambda: answers_http(ports[1], "/healthz?js-enabled-only=true"),
            )
        )

    @property
    def is_current(self) -> bool:
        """Tell whether it knows the leaders and has all that they have."""
        return answers_http(self._monitor, "/healthz")

    def streams(self) -> dict[str, dict[str, Any]]:
        """Return what it knows of each stream and who leads it, by name."""
        url = f"http://127.0.0.1:{self._monitor}/jsz?streams=true"
        with urlopen(url, timeout=2) as answer:
            accounts = json.load(answer).get("account_details", [])
        found = (
            one for account in accounts for one in account.get("stream_detail", ())
        )
        return {stream["name"]: stream for stream in found}


class NatsCluster:
    """Three nodes that keep each stream three times.

    Args:
        folder: Where configurations, logs and streams are kept.
        sync_interval: As the servers' configuration takes it.
    """

    def __init__(self, folder: Path, *, sync_interval: str = "10s") -> None:
        ports = _free_ports(9)
        routes = ", ".join(f"nats://127.0.0.1:{port}" for port in ports[6:])
        self.nodes: list[Node] = []
        for n in range(3):
            name, own = f"n{n + 1}", ports[n::3]
            text = _CONFIG.format(
                name=name,
                ports=own,
                routes=routes,
                store=folder / name,
                sync_interval=sync_interval,
            )
            (folder / f"{name}.conf").write_text(text)
            self.nodes.append(Node(name, folder, own))

    @property
    def urls(self) -> list[str]:
        """Return where clients find the nodes."""
        return [node.url for node in self.nodes]

    def start(self) -> None:
        """Start all nodes and wait until they are one cluster."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_ready()
        self.wait_until_current()

    def stop(self) -> None:
        """End all nodes at once."""
        for node in self.nodes:
            node.kill()

    def wait_until_current(self) -> None:
        """Return once every node knows the leaders and has all that they have."""
        deadline = time.monotonic() + HEALTHY_S
        while not all(node.is_current for node in self.nodes):
            assert time.monotonic() < deadline, "The cluster does not become healthy."
            time.sleep(0.05)

    def leader_of(self, stream: str) -> Node:
        """Return the node that leads the stream; all must be up."""
        leader = self.nodes[0].streams()[stream]["cluster"]["leader"]
        return next(node for node in self.nodes if node.name == leader)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
