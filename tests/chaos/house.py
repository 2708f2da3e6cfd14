"""The whole product on one machine, with everything in reach of a fault.

Real servers and real processes, started as `batchsender up` starts them, but with
short times, so that a lease ends in seconds. Nothing is restarted by itself: a test
says when the dead come back.
"""

import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import Request, urlopen

import orjson
import psutil
import redis

from analytics import client as analytics_client
from analytics import migrations
from analytics.client import Client
from brokers import JetStreamBroker, dispatch
from embedded.data_dir import choose_ports
from embedded.network import answers
from embedded.process import Process, ProcessSpec
from embedded.stack import Stack
from hot_state import client as hot_state_client
from hot_state.outcomes import Outcomes
from models.database import Database
from models.errors import NeighbourUnavailableError
from scheduler.__main__ import duties
from scheduler.timetable import Duty
from settings import Settings
from tests.chaos import audit
from tests.chaos.fault_proxy import FaultProxy

HOME = Path(__file__).absolute().parent.parent.parent
#: Recipients of a chunk, and of a call.
CHUNK, CALL = 250, 125
#: How long the sink takes for a call, so that most of a worker's time is in calls.
LATENCY_MS = 120
CALL_DEADLINE_S, CALL_MARGIN_S, LEASE_S = 3.0, 1.0, 6.0
#: A fault anywhere is healed by then.
HEALED_S = 60.0

_TIMES = {
    "CALL_DEADLINE_S": str(CALL_DEADLINE_S),
    "CALL_MARGIN_S": str(CALL_MARGIN_S),
    "LEASE_S": str(LEASE_S),
    "ACK_WAIT_S": "9",
    "UNKNOWN_WINDOW_S": "13",
    "RECOVERY_INTERVAL_S": "3",
    "STUCK_AFTER_S": "10",
    "POSTGRES_SYNC_INTERVAL_MS": "500",
    "DISCOVERY_INTERVAL_MS": "500",
    "LEADER_LEASE_S": "2",
    "DATABASE_POOL_SIZE": "8",
    "WORKER_PROCESSES": "2",
    "CHUNK_SIZE": str(CHUNK),
    "BREAKER_WAIT_S": "1",
    "BREAKER_LONGEST_WAIT_S": "2",
    "PYTHONUNBUFFERED": "1",
    "ENDPOINT_NETWORKS": "127.0.0.0/8",
}
_Found = TypeVar("_Found")


def until(
    condition: Callable[[], _Found | None], what: str, *, within_s: float = HEALED_S
) -> _Found:
    """Return what the condition returns once it is true; a server away is not yet."""
    deadline = time.monotonic() + within_s
    while True:
        found, why = None, ""
        try:
            found = condition()
        except NeighbourUnavailableError as error:
            why = f" {error}"
        if found:
            return found
        late = f"Not within {within_s:.0f} s: {what}.{why}"
        assert time.monotonic() < deadline, late
        time.sleep(0.02)


@dataclass(slots=True)
class Fault:
    """When calls under way may have been lost, in seconds since 1970."""

    begin_s: float
    end_s: float = 0.0

    @property
    def outlasts_a_lease(self) -> bool:
        """Tell whether claims ended meanwhile, so that others may take over."""
        return self.end_s - self.begin_s > LEASE_S


@dataclass(slots=True)
class House:
    """Servers, sinks, two worker groups and two schedulers.

    Attributes:
        directory: Where everything is kept.
        stack: The four servers.
        processes: Our own, by name.
    """

    directory: Path
    stack: Stack = field(init=False)
    processes: dict[str, Process] = field(init=False, default_factory=dict)
    database: Database = field(init=False)
    events: Client = field(init=False)
    broker: JetStreamBroker = field(init=False)
    outcomes: Outcomes = field(init=False)
    _ports: Mapping[str, int] = field(init=False)
    hot: redis.Redis = field(init=False)
    _duties: list[list[Duty]] = field(init=False, default_factory=list)
    _log_begins: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Take the directory; nothing runs yet."""
        self.stack = Stack(self.directory)
        self._ports = choose_ports(self.directory, ("plain", "keyed"), explicit={})
        for keyed in (False, True):
            self._add_sink(keyed=keyed)
        for number in (1, 2):
            self.add_worker(f"worker-{number}")
            self._add(f"scheduler-{number}", ("scheduler",))

    def start(self) -> None:
        """Start all servers, migrate, and begin to keep the ledger's versions."""
        self.stack.start()
        urls = self.stack.urls()
        self.database = Database(urls["DATABASE_URL"])
        with self.database.statement() as connection:
            connection.exec_driver_sql("alter system set track_commit_timestamp = on")
        self.stack.postgres.restart()
        self.database.close()
        until(self._migrated, "Postgres is migrated")
        self.events = analytics_client.connect(urls["CLICKHOUSE_URL"], timeout_s=20)
        migrations.migrate(self.events)
        self.hot = hot_state_client.connect(urls["DRAGONFLY_URL"])
        self.outcomes = Outcomes(self.hot)
        self.broker = dispatch.connect(urls["NATS_URL"])

    def stop(self) -> None:
        """End everything."""
        for process in self.processes.values():
            process.kill()
        self.broker.close()
        self.database.close()
        self.stack.stop()

    def heal(self, *, without: Sequence[str] = ()) -> None:
        """Start whatever does not run; a test begins with everything up."""
        for server in self.stack.servers:
            server.start()
        # Connections of ours to a server that was killed are not what is tested.
        self.database.close()
        wanted = [p for name, p in self.processes.items() if name not in without]
        for process in wanted:
            self.launch(process)
        for process in wanted:
            process.wait_ready()
        for name in ("plain", "keyed"):
            self.sink_behaves(keyed=name == "keyed", latencyMs=LATENCY_MS)

    def launch(self, process: Process) -> None:
        """Start a process of ours, without waiting; nothing happens when it runs."""
        if not process.running:
            log = process.spec.log_path
            self._log_begins[process.name] = log.stat().st_size if log.exists() else 0
            process.launch()

    def add_worker(self, name: str, **environment: str) -> Process:
        """Add a worker group of one process and four threads; it does not run yet."""
        argv = ("dramatiq", "tasks", "--processes", "1", "--threads", "4")
        return self._add(
            name,
            argv,
            environment,
            ready=lambda: b"ready for action" in self._told(self.processes[name]),
        )

    @contextmanager
    def worker_through(self, proxy: FaultProxy, name: str) -> Iterator[Process]:
        """Replace the second worker group by one that meets a server by a proxy.

        The name is that of the server's URL in the environment.
        """
        self.processes["worker-2"].kill()
        url = re.sub(r":\d+(/|$)", rf":{proxy.port}\1", self.stack.urls()[name])
        worker = self.add_worker("worker-proxied", **{name: url})
        self.launch(worker)
        worker.wait_ready()
        try:
            yield worker
        finally:
            worker.kill()
            del self.processes["worker-proxied"]

    def environment(self) -> dict[str, str]:
        """Return what our processes are told."""
        return self.stack.urls() | _TIMES

    def worker_child(self, name: str) -> psutil.Process:
        """Return the process of a worker group that works."""
        family = self.processes[name].family()
        return max(family[1:], key=lambda one: one.memory_info().rss)

    def leader(self) -> Process:
        """Return the scheduler that leads, by its own log."""
        schedulers = [self.processes[f"scheduler-{number}"] for number in (1, 2)]
        return until(
            lambda: next((p for p in schedulers if self._leads(p)), None),
            "a scheduler leads",
        )

    def kill_all(self) -> None:
        """Kill every process of ours and every server, as a power cut would."""
        for process in (*self.processes.values(), *self.stack.servers):
            for member in process.family():
                with suppress(psutil.NoSuchProcess):
                    member.kill()
        for process in (*self.processes.values(), *self.stack.servers):
            process.kill()

    def kill_worker(self, name: str) -> None:
        """Kill the process of a group that works; its group ends with it."""
        group, child = self.processes[name], self.worker_child(name)
        child.kill()
        until(lambda: not group.running, f"{name} ends after its process")

    @contextmanager
    def fault(self) -> Iterator["Fault"]:
        """Note when something happened that can lose the calls under way."""
        fault = Fault(time.time())
        yield fault
        fault.end_s = time.time()

    def hold(self, seconds: float) -> None:
        """Let a fault last; how long it lasts is what the test is about."""
        time.sleep(seconds)

    def sink_behaves(self, *, keyed: bool = False, **control: Any) -> None:
        """Change how a sink answers; see `embedded.sink`."""
        port = self._ports["keyed" if keyed else "plain"]
        url = f"http://127.0.0.1:{port}/control"
        request = Request(url, orjson.dumps(control), method="POST")
        with urlopen(request, timeout=5) as answer:  # noqa: S310 - as above
            assert answer.status == 204

    def sink_port(self, *, keyed: bool = False) -> int:
        """Return where a sink listens."""
        return self._ports["keyed" if keyed else "plain"]

    def duties(self) -> Sequence[list[Duty]]:
        """Return the duties of two leaders of our own."""
        if not self._duties:
            given: dict[str, Any] = {
                name.lower(): value for name, value in self.environment().items()
            }
            settings = Settings(_env_file=None, **given)
            self._duties = [duties(settings, self.outcomes) for _ in range(2)]
        return self._duties

    def _leads(self, process: Process) -> bool:
        told = self._told(process)
        leads, follows = b"This scheduler leads", b"This scheduler follows"
        return process.running and told.rfind(leads) > told.rfind(follows)

    def _told(self, process: Process) -> bytes:
        """Return what a process has logged since its last launch."""
        with process.spec.log_path.open("rb") as log:
            log.seek(self._log_begins[process.name])
            return log.read()

    def _migrated(self) -> bool:
        self.database.migrate()
        with self.database.transaction() as connection:
            audit.install(connection)
        return True

    def _add_sink(self, *, keyed: bool) -> None:
        name = "keyed" if keyed else "plain"
        options = ["--port", str(self._ports[name])]
        options += ["--ledger", str(self.sink_ledger(keyed=keyed))]
        argv = ("embedded.sink", *options, *(["--keyed"] if keyed else []))
        ready = partial(_healthy, self._ports[name])
        self._add(f"sink-{name}", argv, ready=ready)

    def _add(
        self,
        name: str,
        module: Sequence[str],
        environment: Mapping[str, str] | None = None,
        ready: Callable[[], bool] | None = None,
    ) -> Process:
        log = self.directory / "logs" / f"{name}.log"
        process = Process(
            ProcessSpec(
                name=name,
                argv=(sys.executable, "-m", *module),
                log_path=log,
                ready=ready or _lives,
                env=self.environment() | dict(environment or {}),
                cwd=HOME,
            )
        )
        self.processes[name] = process
        return process

    def sink_ledger(self, *, keyed: bool) -> Path:
        """Return the file in which a sink wrote down its calls."""
        return self.directory / ("keyed.ndjson" if keyed else "plain.ndjson")


def _lives() -> bool:
    return True


def _healthy(port: int) -> bool:
    request = b"GET /health HTTP/1.1\r\n\r\n"
    return answers(port, send=request, expect=b"HTTP/1.1 204")
