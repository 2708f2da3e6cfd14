"""A worker as one process has it, real servers around it, and a real sink."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import pytest
import requests
from pydantic import SecretStr
from sqlalchemy import text

from analytics import client as analytics_client
from analytics.migrations import migrate
from brokers import Delivery
from embedded.sink_ledger import SinkCall, read
from embedded.stack import Stack
from models.jobs import SendChunk
from models.queries import publishing
from settings import Settings
from tests.factories import fields_of, make_config, make_started, set_chunk

# The actors' module reads the environment as it is imported, and connects to nothing.
with pytest.MonkeyPatch.context() as nowhere:
    for name in ("DATABASE_URL", "NATS_URL", "DRAGONFLY_URL", "CLICKHOUSE_URL"):
        nowhere.setenv(name, "redis://127.0.0.1:9")
    from tasks import send
    from tasks.worker import Worker


@dataclass(frozen=True)
class Sink:
    """A sink process and what it wrote down."""

    url: str
    ledger_file: Path

    def control(self, **wanted) -> None:
        """Let it misbehave; with nothing wanted, behave again."""
        body = orjson.dumps(wanted)
        assert requests.post(f"{self.url}control", body, timeout=5).status_code == 204

    def calls(self, batch_id: UUID) -> list[SinkCall]:
        """Return the calls that it got for a batch."""
        found = read(self.ledger_file).calls
        return [call for call in found if call.batch == str(batch_id)]


@pytest.fixture(scope="module")
def start_sink(tmp_path_factory) -> Iterator[Callable[..., Sink]]:
    """Start a sink with options; it ends with the module."""
    started = []

    def start(*options: str) -> Sink:
        ledger_file = tmp_path_factory.mktemp("sink") / "ledger"
        command = [sys.executable, "-u", "-m", "embedded.sink", "--ledger", ledger_file]
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        url = re.search(r"http\S+", process.stdout.readline())[0]
        return Sink(url, ledger_file)

    yield start
    for process in started:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture(scope="module")
def one_sink(start_sink) -> Sink:
    return start_sink("--keyed")


@pytest.fixture
def sink(one_sink) -> Iterator[Sink]:
    """One that keeps keys, and behaves at the beginning of each test."""
    yield one_sink
    one_sink.control()


@pytest.fixture(scope="module")
def environment(stack: Stack, ledger_url: str, tmp_path_factory) -> Settings:
    """Where the servers are; a call may take half a second."""
    stack.nats.start()
    stack.dragonfly.start()
    return Settings(
        database_url=ledger_url,
        nats_url=stack.nats.url,
        dragonfly_url=stack.dragonfly.url,
        clickhouse_url="http://127.0.0.1:9",
        database_pool_size=4,
        call_deadline_s=0.5,
        endpoint_networks="127.0.0.0/8",
        spool_dir=tmp_path_factory.mktemp("spool"),
    )


@pytest.fixture
def start_worker(environment, ledger_database) -> Iterator[Callable[..., Worker]]:
    """Start a worker with other settings; its doors are closed with the test."""
    started = []

    def start(**fields) -> Worker:
        settings = environment.model_copy(update=fields)
        started.append(Worker.build(settings))
        return started[-1]

    yield start
    for worker in started:
        worker.callers.shutdown()
        worker.senders.close()
        worker.close()
        worker.database.close()


@pytest.fixture
def worker(start_worker) -> Worker:
    return start_worker()


@pytest.fixture
def deliver(worker) -> Callable[..., Delivery]:
    """Hand a chunk's message to a worker, and return what became of the message."""

    def delivered(
        batch_id: UUID, *, no: int = 0, times: int = 1, by: Worker = worker, **fields
    ) -> Delivery:
        reply = f"$JS.ACK.email-system.user-t.{times}.7.9.1763800000000000000.0"
        delivery = Delivery("chunk", reply, 45.0)
        send.send(by, replace(job_of(by, batch_id, no), **fields), delivery)
        return delivery

    return delivered


def job_of(worker: Worker, batch_id: UUID, no: int) -> SendChunk:
    """The message of a chunk, as the queue carries it."""
    plan = worker.senders.of(str(batch_id)).plan
    first = no * plan.grid.chunk
    with worker.database.statement() as connection:
        addresses, variables = publishing.recipients_range(
            connection, str(batch_id), first=first, size=plan.grid.chunk
        )
    return SendChunk(
        batch_id=str(batch_id),
        tenant_id=plan.tenant_id,
        no=no,
        first=first,
        size=len(addresses),
        epoch=0,
        addresses=addresses,
        variables=variables,
        published_at=2e9,
    )


@pytest.fixture
def start(ledger_database, sink):
    """Start a batch whose endpoint is the sink."""

    def started(
        *, recipients=3, chunk=500, content=None, limit=None, policy="at_most_once",
        fallback=None, **settings,
    ):  # fmt: skip
        config = make_config(
            ledger_database,
            limit=limit,
            policy=policy,
            fallback=fallback,
            **{"url": sink.url, **settings},
        )
        batch_id = make_started(
            ledger_database, config, recipients=recipients, chunk=chunk, content=content
        )
        set_chunk(ledger_database, batch_id, "published_at = now()")
        return batch_id

    return started


@pytest.fixture
def row(ledger_database):
    return lambda batch_id, no=0: fields_of(ledger_database, "chunks", batch_id, no=no)


@pytest.fixture
def config_of(ledger_database):
    def found(batch_id):
        query = "select g.* from send_configs g join batches b on b.config_id = g.id"
        with ledger_database.statement() as connection:
            rows = connection.execute(
                text(f"{query} where b.id = :id"), {"id": batch_id}
            )
            return dict(rows.mappings().one())

    return found


@pytest.fixture(scope="module")
def analytics_url(stack):
    """A database of the module's own in ClickHouse."""
    stack.clickhouse.start()
    server, _, _ = stack.clickhouse.url.rpartition("/")
    return f"{server}/reports_{uuid4().hex}"


@pytest.fixture(scope="module")
def analytics(analytics_url):
    """Its tables are there."""
    client = analytics_client.connect(analytics_url)
    migrate(client)
    yield client
    client.command(f"DROP DATABASE `{client.database}`", in_database=False)
    client.close()


@pytest.fixture
def processor(start_worker, analytics, analytics_url):
    """A worker's, with ClickHouse, which has the events when they are logged."""
    assert analytics
    worker = start_worker(clickhouse_url=SecretStr(analytics_url))

    def logged(events):
        worker.events.write(events)
        assert worker.events.flush()

    return replace(worker.processor, log_reported=logged)
