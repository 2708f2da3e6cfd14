"""The four servers of one data directory, as one thing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded.clickhouse_server import ClickHouseServer
from embedded.data_dir import Lock, choose_ports, passwords
from embedded.nats_server import NatsServer
from embedded.postgres_server import PostgresServer
from embedded.process import Process
from embedded.state import end_leftovers
from embedded.valkey_server import ValkeyServer

NAMES = ("nats", "dragonfly", "postgres", "clickhouse")


class Stack:
    """NATS, Valkey for Dragonfly, PostgreSQL and ClickHouse, on loopback.

    It takes the directory for itself when it is made, until `stop`; ports and
    passwords are the same every time. Several stacks may run in different
    directories. Each server may also be started and stopped alone.

    Args:
        data_dir: Where everything is kept; made when missing.
        names: Which servers `start` starts.
        ports: Ports somebody insists on, by name.

    Raises:
        ConflictError: The directory is in use, or a port insisted on is taken.
        StartError: A wheel is not installed.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        names: Sequence[str] = NAMES,
        ports: Mapping[str, int] | None = None,
    ) -> None:
        self._lock = Lock(data_dir)
        self._lock.acquire()
        self._names = names
        end_leftovers(data_dir)
        self.ports = port = choose_ports(data_dir, NAMES, explicit=ports or {})
        password = passwords(data_dir, NAMES)
        self.nats = NatsServer(data_dir, port["nats"], password["nats"])
        self.dragonfly = ValkeyServer(
            data_dir, port["dragonfly"], password["dragonfly"]
        )
        self.postgres = PostgresServer(data_dir, port["postgres"], password["postgres"])
        self.clickhouse = ClickHouseServer(
            data_dir, port["clickhouse"], password["clickhouse"]
        )

    @property
    def servers(self) -> list[Process]:
        """The servers `start` starts, in the order of their start."""
        # PostgreSQL is last: making its data directory blocks us, not the others.
        order = (self.clickhouse, self.nats, self.dragonfly, self.postgres)
        return [server for server in order if server.name in self._names]

    def start(self) -> None:
        """Start all servers at once and wait until every one serves.

        Raises:
            ConflictError: The directory is in use.
            StartError: One did not come up; the others were stopped again.
        """
        self._lock.acquire()
        try:
            for server in self.servers:
                server.launch()
            for server in self.servers:
                server.wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop every server, the last started first; again does nothing."""
        every = (self.clickhouse, self.nats, self.dragonfly, self.postgres)
        for server in reversed(every):
            server.stop()
        self._lock.release()

    def urls(self) -> dict[str, str]:
        """Return the environment by which our processes find the servers."""
        return {
            "DATABASE_URL": self.postgres.url,
            "NATS_URL": self.nats.url,
            "DRAGONFLY_URL": self.dragonfly.url,
            "CLICKHOUSE_URL": self.clickhouse.url,
        }

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()
