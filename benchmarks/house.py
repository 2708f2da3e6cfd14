"""Everything that a benchmark measures: real servers, our processes, a filled table."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psutil
from sqlalchemy import Connection, text

from analytics import client as analytics_client
from analytics import migrations, reports
from embedded import sink_ledger
from embedded.data_dir import choose_ports
from embedded.process import Process, ProcessSpec
from embedded.services import LISTENING, services
from embedded.sink_ledger import SinkLedger
from embedded.stack import NAMES, Stack
from models.database import Database
from models.limit import Limit
from models.plan import Plan
from models.queries import control, reads, tenants, uploads
from models.queries.tenants import NewConfig

#: What every recipient gets, ours and the peers': two variables, a subject and a text.
CONTENT = {
    "subject": "Hello {{name}}",
    "text": "Dear {{name}}, your code is {{code}}.",
}
#: So high that it never holds anybody back; it is asked for all the same.
_LIMIT = Limit(1e6, 1e6)
_FILL = text(
    """
    insert into recipients (batch_id, seq, address, variables)
    select :batch_id, i, 'user' || i || '@example.com',
        json_build_object('name', 'Name ' || i, 'code', 'C' || i)
    from generate_series(0, :recipients - 1) i
    """
)
_FILLED = text("update batches set rows = :n, recipients = :n where id = :batch_id")


class House:
    """Servers of a fresh data directory, and the processes that a run starts in it.

    Args:
        folder: The data directory; it must be new.
        chunk: Recipients in a chunk and in a call.
        servers: Which of the four servers run.
        one_by_one: Every call takes one recipient.
        limit: The config's.

    Attributes:
        filling_s: CPU seconds of Postgres for recipients made so far.
    """

    def __init__(
        self,
        folder: Path,
        *,
        chunk: int,
        servers: Sequence[str] = NAMES,
        one_by_one: bool = False,
        limit: Limit = _LIMIT,
    ) -> None:
        self.folder = folder
        self.chunk = chunk
        self._max_batch = 1 if one_by_one else chunk
        self._limit = limit
        self.stack = Stack(folder, names=servers)
        self._ports = choose_ports(folder, LISTENING, explicit={})
        self.sink_url = f"http://127.0.0.1:{self._ports['sink']}/"
        self.web_url = f"http://127.0.0.1:{self._ports['web']}"
        self.sink_ledger = folder / "sink.ndjson"
        self.filling_s = 0.0
        self.ours: dict[str, Process] = {}
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        """Start the servers and the sink; migrate, and make a tenant's config."""
        with ExitStack() as starting:
            starting.enter_context(self.stack)
            self.urls = self.stack.urls()
            self.database = Database(self.urls["DATABASE_URL"])
            starting.callback(self.database.close)
            self.database.migrate()
            self.analytics = analytics_client.connect(self.urls["CLICKHOUSE_URL"])
            if self.stack.clickhouse.running:
                migrations.migrate(self.analytics)
            with self.database.transaction() as connection:
                self.tenant = tenants.create_tenant(connection, "bench")
                self._config = tenants.create_config(
                    connection, self.tenant, self._new_config()
                )
            self._ending = starting.pop_all()
        try:
            self.start(self._our_spec("sink"))
        except BaseException:
            self._ending.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop everything, the last started first."""
        self._ending.close()

    def _new_config(self) -> NewConfig:
        return NewConfig(
            name="sink",
            channel="email",
            provider="custom",
            settings={"url": self.sink_url, "maxBatch": self._max_batch},
            credentials=None,
            limit=self._limit,
            policy="at_most_once",
        )

    def _our_spec(self, name: str) -> ProcessSpec:
        specs = {
            spec.name: spec for spec in services(self.urls, self._ports, self.folder)
        }
        spec = specs[name]
        if name == "sink":
            return replace(spec, argv=(*spec.argv, "--ledger", str(self.sink_ledger)))
        return spec

    def start(self, spec: ProcessSpec) -> Process:
        """Start one more process; it is stopped with the house."""
        process = Process(spec)
        self._ending.callback(process.stop)
        process.start()
        self.ours[spec.name] = process
        return process

    def start_senders(self) -> None:
        """Start the worker and the scheduler."""
        for name in ("worker", "scheduler"):
            self.start_ours(name)

    def start_ours(self, name: str) -> Process:
        """Start one of our own services by its name."""
        return self.start(self._our_spec(name))

    @property
    def processes(self) -> Mapping[str, Process]:
        """Every process by name, servers too."""
        return {**self.ours, **{server.name: server for server in self.stack.servers}}

    def fill(self, recipients: int) -> UUID:
        """Return a new draft with so many recipients, as an upload leaves it.

        What that costs Postgres is added to `filling_s`.
        """
        with self.database.transaction() as connection, self._filling(connection):
            batch_id = uploads.create_batch(
                connection, self._config, name="bench", payload=CONTENT
            )
            count = {"batch_id": batch_id, "recipients": recipients}
            connection.execute(_FILL, count)
            connection.execute(_FILLED, {"batch_id": batch_id, "n": recipients})
        return batch_id

    @contextmanager
    def _filling(self, connection: Connection) -> Iterator[None]:
        pid = connection.exec_driver_sql("select pg_backend_pid()").scalar_one()
        session = psutil.Process(pid)
        before = session.cpu_times()
        yield
        after = session.cpu_times()
        self.filling_s += after.user + after.system - before.user - before.system

    def settle(self) -> None:
        """Do Postgres' housekeeping after a large upload before anything is timed."""
        with self.database.statement() as connection:
            connection.exec_driver_sql("vacuum analyze recipients")
            connection.exec_driver_sql("checkpoint")

    def queue(self, batch_id: UUID) -> None:
        """Send a draft: seal it and put it in the queue."""
        with self.database.transaction() as connection:
            batch = control.locked_batch(connection, self.tenant, batch_id)
            plan = Plan.seal(batch, batch["config"], largest_chunk=self.chunk)
            control.queue_batch(connection, batch, plan)

    def batch(self, batch_id: UUID) -> dict[str, Any]:
        """Return a batch's row."""
        with self.database.statement() as connection:
            return reads.batch_by_id(connection, self.tenant, batch_id)

    def stations(self, batch_id: UUID) -> list[reads.Station]:
        """Return the times of a batch's stations."""
        with self.database.statement() as connection:
            batch = reads.batch_by_id(connection, self.tenant, batch_id)
            return reads.stations(connection, batch)

    def logged(self, batch_id: UUID) -> int:
        """Return how many of a batch's recipients ClickHouse knows the outcome of."""
        counts = reports.batch_stats(self.analytics, batch_id)
        return sum(count for name, count in counts.items() if name != "queued")

    def sent(self, batch_id: UUID) -> list[int]:
        """Return the seqs that Postgres says were sent, in order."""
        query = text(
            "select seq from recipients where batch_id = :id and status >= 'sent'"
            " order by seq"
        )
        with self.database.statement() as connection:
            return list(connection.execute(query, {"id": batch_id}).scalars())

    def recorded(self, batch_id: UUID) -> set[int]:
        """Return the seqs that have an outcome in Postgres, whichever it is."""
        query = text(
            "select seq from recipients where batch_id = :id"
            " and status not in ('pending', 'queued', 'sending')"
        )
        with self.database.statement() as connection:
            return set(connection.execute(query, {"id": batch_id}).scalars())

    def read_sink(self) -> SinkLedger:
        """Return what the sink wrote down."""
        return sink_ledger.read(self.sink_ledger)
