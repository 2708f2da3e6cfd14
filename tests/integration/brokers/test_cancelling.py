"""What no actor has begun can be taken back by its id."""

import threading

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.errors import BrokerConnectionError
from dramatiq.middleware import Middleware, Retries

from brokers import JetStreamBroker
from brokers.unique import is_duplicate
from tests.integration.brokers.conftest import Server, until


class Noting(Middleware):
    """Notes what was skipped."""

    def __init__(self):
        self.skipped = []

    def after_skip_message(self, broker, message):
        self.skipped.append(message.message_id)


@pytest.fixture
def noting():
    return Noting()


@pytest.fixture
def noted(make_broker, noting):
    """A broker whose middleware notes what was skipped, and its actor's runs."""
    broker = make_broker(middleware=[noting, Retries(max_retries=3, min_backoff=1)])
    broker.runs = []
    dramatiq.actor(broker.runs.append, actor_name="note", broker=broker)
    return broker


def job(n=0, **options):
    return Message("default", "note", (n,), {}, options)


def test_a_delayed_message_is_removed(noted):
    message = noted.enqueue(job(1), delay=60_000)
    noted.enqueue(job(2), delay=60_000)

    done = noted.cancel(message.message_id)

    assert (done.message_id, done.delayed) == (message.message_id, 1)
    assert noted.get_queue_message_counts("default")[:2] == (0, 1)
    assert noted.cancel(message.message_id).delayed == 0


def test_a_message_enqueued_twice_waits_and_is_removed_twice(noted, work):
    twice, both = job(1), job(2)
    for message in (twice, both):
        noted.enqueue(message, delay=500)
        noted.enqueue(message, delay=500)
    assert noted.get_queue_message_counts("default")[:2] == (0, 4)

    assert noted.cancel(both.message_id).delayed == 2

    work(noted)
    noted.join("default", timeout=10_000)
    assert noted.runs == [1, 1]


@pytest.mark.parametrize("message_id", ["a.b", "*", ">", "a b", "жук", "x.>"])
def test_any_text_is_a_message_id(noted, message_id):
    """And none of them is another's."""
    noted.enqueue(job(1), delay=60_000)
    noted.enqueue(job(2).copy(message_id=message_id), delay=60_000)

    assert noted.cancel(message_id).delayed == 1

    assert noted.get_queue_message_counts("default")[:2] == (0, 1)


def test_a_queued_message_is_skipped_when_its_turn_comes(noted, noting, work):
    """By a worker that starts later."""
    messages = [noted.enqueue(job(n)) for n in range(3)]

    assert noted.cancel(messages[1].message_id).delayed == 0

    work(noted)
    noted.join("default", timeout=10_000)
    assert sorted(noted.runs) == [0, 2]
    assert noting.skipped == [messages[1].message_id]
    assert noted.get_queue_message_counts("default")[:2] == (0, 0)


def test_running_workers_are_told(make_broker, noting, work):
    """What they have in their hands already is dropped too; what runs is not."""
    gate, runs = threading.Event(), []
    broker = make_broker(middleware=[noting], namespace="told")

    @dramatiq.actor(actor_name="note", broker=broker)
    def note(n):
        runs.append(n)
        gate.wait(20)

    work(broker, threads=1)
    messages = [broker.enqueue(job(n)) for n in range(3)]
    until(lambda: runs)
    other = make_broker(namespace="told")

    for n in (0, 1):
        other.cancel(messages[n].message_id)

    until(lambda: len(broker._cancelling._marks) == 2)
    gate.set()
    broker.join("default", timeout=10_000)
    assert runs == [0, 2]
    assert noting.skipped == [messages[1].message_id]


def test_what_is_cancelled_while_it_runs_is_not_retried(noted, noting, work):
    gate, runs = threading.Event(), []

    @dramatiq.actor(actor_name="fail", broker=noted)
    def fail(n):
        runs.append(n)
        gate.wait(20)
        raise ValueError

    work(noted)
    message = noted.enqueue(job().copy(actor_name="fail"))
    until(lambda: runs)

    noted.cancel(message.message_id)
    until(lambda: len(noted._cancelling._marks) == 1)
    gate.set()

    noted.join("default", timeout=10_000)
    assert runs == [0]
    assert noting.skipped == [message.message_id]


def test_a_cancelled_job_leaves_no_lock(noted, work):
    delayed = noted.enqueue(job(1, unique_for=3_600_000), delay=60_000)
    queued = noted.enqueue(job(2, unique_for=3_600_000))

    noted.cancel(delayed.message_id)
    noted.cancel(queued.message_id)

    assert not is_duplicate(noted.enqueue(job(1, unique_for=3_600_000)))
    work(noted)
    until(lambda: not is_duplicate(noted.enqueue(job(2, unique_for=3_600_000))))


def test_a_namespace_is_any_streams_name(make_broker, work):
    broker = make_broker(namespace="app:1")
    broker.declare_queue("default")
    work(broker)

    broker.cancel("any")

    until(lambda: broker._cancelling._marks and "any" in broker._cancelling._marks)


def test_a_mark_ends(noted, work, monkeypatch):
    monkeypatch.setattr("brokers.key_sets.RELOAD_S", 0.5)
    work(noted)

    noted.cancel("gone", keep_ms=1000)

    marks = noted._cancelling._marks
    until(lambda: "gone" in marks)
    until(lambda: "gone" not in marks)


def test_a_worker_hears_later_what_it_missed(tmp_path, work):
    """A mark that was set while the worker had no connection."""
    server = Server(tmp_path)
    server.start()
    broker = JetStreamBroker(server.url, middleware=[])
    broker.declare_queue("default")
    work(broker)
    until(lambda: broker._cancelling._marks is not None)
    marks = broker._cancelling._marks
    broker.cancel("early")
    until(lambda: "early" in marks)
    link = broker._connection.link()
    # As if nothing of it had been told.
    link.call(marks._keys.clear)
    until(lambda: "early" not in marks)

    server.kill()
    server.start()

    until(lambda: "early" in marks)
    broker.close()
    server.kill()


def test_without_a_server_nothing_is_cancelled():
    broker = JetStreamBroker("nats://127.0.0.1:1", publish_timeout_s=0.2)

    with pytest.raises(BrokerConnectionError):
        broker.cancel("any")

    broker.close()
