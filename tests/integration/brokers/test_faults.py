"""A killed server costs time, never a message."""

from itertools import chain

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.middleware import Retries

from brokers import JetStreamBroker, Route
from tests.integration.brokers.conftest import Server, until


@pytest.fixture
def mortal(tmp_path):
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


def test_all_that_was_acknowledged_survives_the_servers_death(mortal, work):
    """Two kills in mid-flow; jobs may run twice, none is missing."""
    broker = JetStreamBroker(mortal.url, middleware=[], ack_wait_ms=2000)
    done = set()
    dramatiq.actor(done.add, actor_name="note", broker=broker)
    work(broker)
    stored = []

    for part in range(3):
        first = part * 2000
        messages = [
            Message("default", "note", (n,), {}, {}) for n in range(first, first + 2000)
        ]
        broker.enqueue_many(messages[:1000])
        if part:
            mortal.kill()
            mortal.start()
        broker.enqueue_many(messages[1000:], atomic=True)
        stored += range(first, first + 2000)

    until(lambda: done >= set(stored))
    broker.join("default", timeout=10_000)
    broker.close()


def test_no_retry_of_a_batch_is_lost(mortal, work):
    """Each message that cannot be retried comes again; the others are done."""
    retries = Retries(max_retries=5, min_backoff=1, max_backoff=1)
    # Verdicts that were on their way when the server died are lost, and given again.
    broker = JetStreamBroker(
        mortal.url, middleware=[retries], publish_timeout_s=0.3, ack_wait_ms=1000
    )
    calls = []

    @dramatiq.actor(actor_name="note", broker=broker, batch_size=4)
    def note(messages):
        calls.append(sorted(message.args[0] for message in messages))
        if len(calls) == 1:
            mortal.kill()
            for message in messages[2:]:
                message.fail(ValueError())

    broker.enqueue_many([Message("default", "note", (n,), {}, {}) for n in range(4)])
    worker = work(broker, threads=1)
    until(lambda: calls and mortal.process.returncode is not None)

    # Until the retries have failed.
    until(lambda: not worker.work_queue.unfinished_tasks)
    mortal.start()

    until(lambda: {2, 3} <= set(chain(*calls[1:])))
    broker.join("default", timeout=15_000)
    assert calls[0] == [0, 1, 2, 3]
    broker.close()


def test_tenants_are_served_again_after_a_restart(mortal, work):
    """Tenants' consumers live in the server's memory."""
    route = Route("t", "tenants", "tenants.{tenant}.x")
    broker = JetStreamBroker(mortal.url, middleware=[], routes=[route])
    done = []
    dramatiq.actor(done.append, actor_name="note", queue_name="t", broker=broker)
    work(broker)
    broker.enqueue(Message("t", "note", (1,), {}, {"tenant": "a"}))
    until(lambda: done == [1])
    broker.join("t", timeout=5000)

    mortal.kill()
    mortal.start()

    broker.enqueue(Message("t", "note", (2,), {}, {"tenant": "a"}))
    until(lambda: done == [1, 2])
    broker.join("t", timeout=5000)
    broker.close()
