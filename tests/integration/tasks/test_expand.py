"""What is open and unpublished is published, page by page, and never more than due."""

import time

import dramatiq
import pytest

from brokers import dispatch
from embedded.data_dir import choose_ports
from embedded.nats_server import NatsServer
from models.jobs import ExpandBatch, SendChunk, job_of
from models.limit import Limit
from models.queries import control, publishing
from tasks import expand
from tests.factories import (
    fields_of,
    make_config,
    make_started,
    set_chunk,
    statuses_of,
)


@pytest.fixture(scope="module")
def broker(environment):
    encoder = dramatiq.get_encoder()
    broker = dispatch.connect(environment.nats_url, middleware=[])
    broker.declare_queue("chunk")
    yield broker
    broker.close()
    dramatiq.set_encoder(encoder)


@pytest.fixture
def config(ledger_database):
    return make_config(ledger_database, url="http://127.0.0.1:9/")


def expanded(worker, broker, batch_id):
    return expand.expand(worker, broker, ExpandBatch(batch_id=str(batch_id)))


def stored(broker, config):
    return broker.stored("chunk").get(str(config["tenant_id"]), 0)


def taken(broker, config, count):
    """Return the tenant's messages in the queue, as jobs by number."""
    consumer = broker.consume("chunk", prefetch=count, timeout=100)
    found = {}
    deadline = time.monotonic() + 20
    while len(found) < count:
        assert time.monotonic() < deadline, "They did not come."
        message = next(consumer)
        if message is not None:
            job = job_of(SendChunk, message.kwargs)
            if job.tenant_id == str(config["tenant_id"]):
                found[job.no] = job
            consumer.ack(message)
    consumer.close()
    return found


def test_every_chunk_is_published_once_with_its_recipients(
    *, worker, broker, config, ledger_database
):
    """Pages of `expand_page_size` recipients; then there is nothing left to do."""
    batch_id = make_started(ledger_database, config, recipients=2501, chunk=500)

    assert expanded(worker, broker, batch_id) == 6
    assert expanded(worker, broker, batch_id) == 0

    assert stored(broker, config) == 6
    jobs = taken(broker, config, 6)
    assert sorted(jobs) == [0, 1, 2, 3, 4, 5]
    assert [len(jobs[no].addresses) for no in range(6)] == [500] * 5 + [1]
    assert jobs[5].first == 2500
    assert jobs[5].variables == [{"name": "Name 2500"}]


def test_a_second_copy_of_one_decision_is_not_stored(
    *, worker, broker, config, ledger_database
):
    """Killed before the mark: the same id. A new epoch is a new message."""
    batch_id = make_started(ledger_database, config, recipients=2, chunk=1)
    expanded(worker, broker, batch_id)
    for no in (0, 1):
        set_chunk(ledger_database, batch_id, "published_at = null", no=no)
    set_chunk(ledger_database, batch_id, "epoch = 1", no=1)

    assert expanded(worker, broker, batch_id) == 2

    assert stored(broker, config) == 3
    rows = [fields_of(ledger_database, "chunks", batch_id, no=n) for n in (0, 1)]
    assert all(row["published_at"] for row in rows)
    taken(broker, config, 2)


def test_no_more_is_out_than_the_config_may_send_in_a_minute(
    *, worker, broker, ledger_database
):
    """But at least 16 chunks; done ones make room."""
    config = make_config(ledger_database, limit=Limit(1.0, 4.0))
    batch_id = make_started(ledger_database, config, recipients=80, chunk=4)
    assert expanded(worker, broker, batch_id) == 16
    assert expanded(worker, broker, batch_id) == 0

    done = "state = 'done', sent = ~sent"
    for no in range(3):
        set_chunk(ledger_database, batch_id, done, no=no)

    assert expanded(worker, broker, batch_id) == 3


def test_a_chunk_too_large_to_carry_travels_by_name(
    *, worker, broker, config, ledger_database
):
    """The worker reads its range; what was suppressed travels along."""
    people = [{"name": "x" * 25_000}] * 400
    batch_id = make_started(ledger_database, config, recipients=people)

    assert expanded(worker, broker, batch_id) == 1

    [job] = taken(broker, config, 1).values()
    assert (job.addresses, job.variables, job.size) == (None, None, 400)


@pytest.mark.parametrize("stop", [control.pause_batch, control.cancel_batch])
def test_a_batch_that_stands_publishes_nothing(
    *, worker, broker, config, ledger_database, stop
):
    """Whatever job still asks for it; nor does one that does not exist."""
    batch_id = make_started(ledger_database, config)
    with ledger_database.transaction() as connection:
        stop(connection, config["tenant_id"], batch_id)

    assert expanded(worker, broker, batch_id) == 0
    assert expanded(worker, broker, config["id"]) == 0

    assert stored(broker, config) == 0


def test_the_suppressed_are_named_by_position(
    *, worker, broker, config, ledger_database
):
    """In each chunk its own."""
    batch_id = make_started(ledger_database, config, recipients=4, chunk=2)
    with ledger_database.transaction() as connection:
        connection.exec_driver_sql(
            "insert into suppressions (channel, address, reason) values"
            " ('email', 'user1@example.com', ''), ('email', 'user2@example.com', '')"
        )

    expanded(worker, broker, batch_id)

    with ledger_database.transaction() as connection:
        connection.exec_driver_sql("delete from suppressions")
    jobs = taken(broker, config, 2)
    assert [list(jobs[no].suppressed) for no in (0, 1)] == [[1], [0]]


def test_a_batch_that_nobody_can_send_fails(*, worker, broker, ledger_database):
    """Its reason is shown; it does not stay in processing for ever."""
    config = make_config(ledger_database)
    content = {"text": "Hello {{ name"}
    batch_id = make_started(ledger_database, config, content=content)

    assert expanded(worker, broker, batch_id) == 0

    batch = fields_of(ledger_database, "batches", batch_id)
    assert batch["status"] == "failed"
    assert "text" in batch["reason"]
    with ledger_database.statement() as connection:
        plan = publishing.sealed_plan(connection, str(batch_id))
        assert publishing.next_page(connection, plan, chunks=9) == []
    assert statuses_of(ledger_database, batch_id) == ["pending"] * 3


def test_a_full_queue_is_the_reason_until_it_has_room(
    *, worker, broker, ledger_database, config, tmp_path
):
    """The tenant reads what to do; nothing is lost and the batch goes on by itself."""
    (port,) = choose_ports(tmp_path, ["nats"], explicit={}).values()
    full = NatsServer(tmp_path, port, "secret", max_stored_bytes=20_000)
    full.start()
    refused = dispatch.connect(full.url, middleware=[], publish_timeout_s=1)
    batch_id = make_started(ledger_database, config, recipients=1000)
    job = ExpandBatch(batch_id=str(batch_id))

    assert expand.expand_or_wait(worker, refused, job) == 0
    refused.close()
    full.stop()
    waiting = fields_of(ledger_database, "batches", batch_id)
    assert expand.expand_or_wait(worker, broker, job) == 2

    assert (waiting["status"], "disk" in waiting["reason"]) == ("processing", True)
    assert fields_of(ledger_database, "batches", batch_id)["reason"] is None
    assert stored(broker, config) == 2
