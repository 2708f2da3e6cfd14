"""While one unique job is queued, delayed or running, another is not stored."""

import threading
from types import SimpleNamespace

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.errors import BrokerConnectionError
from dramatiq.middleware import Middleware, Retries, SkipMessage

from brokers import JetStreamBroker, current_delivery
from brokers.errors import RefusedError
from brokers.publishing import Publisher
from brokers.unique import duplicate_of, is_duplicate
from tests.integration.brokers.conftest import until

HOUR_MS = 3_600_000


def job(n=0, queue="default", **options):
    return Message(queue, "work", (n,), {}, {"unique_for": HOUR_MS} | options)


@pytest.fixture
def retrying(make_broker):
    return make_broker(middleware=[Retries(max_retries=1, min_backoff=1)])


@pytest.fixture
def gate():
    """Holds the actor that `held` gives a broker until the test opens it."""
    return SimpleNamespace(runs=[], open=threading.Event(), error=None)


def held(broker, gate, **options):
    @dramatiq.actor(actor_name="work", broker=broker, **options)
    def work(n):
        gate.runs.append(n)
        assert gate.open.wait(20)
        if gate.error:
            raise gate.error

    return work


def is_free(broker, message=None):
    """Tell whether such a job can be stored; it is removed again."""
    probe = message or job()
    broker.enqueue(probe)
    if is_duplicate(probe):
        return False
    broker.flush(probe.queue_name)
    return True


def test_the_same_job_is_stored_once(broker):
    first = broker.enqueue(job(1))

    second = broker.enqueue(job(1))
    other = broker.enqueue(job(2))

    assert not is_duplicate(first)
    assert duplicate_of(second) == first.message_id
    assert not is_duplicate(other)
    assert broker.stored("default") == {"": 2}


def test_of_many_at_once_one_is_stored(broker):
    messages = [job(1) for _ in range(12)]
    threads = [
        threading.Thread(target=broker.enqueue, args=(message,)) for message in messages
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [is_duplicate(message) for message in messages].count(False) == 1
    assert broker.stored("default") == {"": 1}


def test_a_delayed_job_counts_too(broker):
    broker.enqueue(job(), delay=60_000)

    assert is_duplicate(broker.enqueue(job()))
    assert is_duplicate(broker.enqueue(job(), delay=60_000))

    assert broker.get_queue_message_counts("default")[:2] == (0, 1)


def test_a_running_job_counts_until_it_is_done(broker, gate, work):
    held(broker, gate)
    work(broker)
    broker.enqueue(job())
    until(lambda: gate.runs)

    assert is_duplicate(broker.enqueue(job()))

    gate.open.set()
    until(lambda: is_free(broker))


def test_a_retry_keeps_the_lock_and_a_dead_letter_ends_it(retrying, gate, work):
    gate.error = ValueError()
    held(retrying, gate)
    work(retrying)
    retrying.enqueue(job(min_backoff=2000))
    until(lambda: gate.runs)

    gate.open.set()

    until(lambda: retrying.get_queue_message_counts("default")[:2] == (0, 1))
    assert is_duplicate(retrying.enqueue(job()))
    until(lambda: len(gate.runs) == 2)
    until(lambda: is_free(retrying))


def test_a_postponed_job_keeps_the_lock(broker, work):
    deliveries = []

    @dramatiq.actor(actor_name="work", broker=broker)
    def actor(n):
        deliveries.append(current_delivery().deliveries)
        if len(deliveries) == 1:
            current_delivery().postpone(1.5)

    work(broker)
    broker.enqueue(job())
    until(lambda: deliveries)

    assert is_duplicate(broker.enqueue(job()))

    until(lambda: len(deliveries) == 2)
    until(lambda: is_free(broker))


def test_a_skipped_job_has_ended(make_broker, gate, work):
    class Skipping(Middleware):
        def before_process_message(self, broker, message):
            raise SkipMessage

    broker = make_broker(middleware=[Skipping()])
    held(broker, gate)
    broker.enqueue(job())

    work(broker)

    broker.join("default", timeout=10_000)
    until(lambda: is_free(broker))
    assert not gate.runs


def test_a_job_that_nobody_can_do_has_ended(broker, work):
    """It is a dead letter at once."""
    broker.declare_queue("default")
    message = job().copy(actor_name="nobody")
    broker.enqueue(message)

    work(broker)

    broker.join("default", timeout=10_000)
    until(lambda: is_free(broker, job().copy(actor_name="nobody")))


def test_a_letter_that_is_not_stored_leaves_the_lock(broker, work, monkeypatch):
    """Its message comes again."""
    refused = []

    def refuse(*_, **__):
        refused.append(1)
        raise RefusedError("full")

    monkeypatch.setattr("brokers.consumer.bury", refuse)
    message = job().copy(actor_name="nobody")
    broker.enqueue(message)
    dramatiq.actor(lambda n: None, actor_name="work", broker=broker)

    work(broker)

    until(lambda: refused)
    broker.enqueue(job(1))
    until(lambda: broker.stored("default") == {"": 1})
    assert is_duplicate(broker.enqueue(job().copy(actor_name="nobody")))


def test_a_lock_ends_with_its_time(broker):
    broker.enqueue(job(unique_for=1000))

    until(lambda: not is_duplicate(broker.enqueue(job())), within_s=10)

    assert broker.stored("default") == {"": 2}


def test_a_job_that_outlived_its_lock_leaves_its_successors_alone(broker, work):
    runs, gates = [], [threading.Event(), threading.Event()]

    @dramatiq.actor(actor_name="work", broker=broker)
    def actor(n):
        runs.append(n)
        assert gates[len(runs) - 1].wait(20)

    work(broker, threads=1)
    broker.enqueue(job(unique_for=1000))
    until(lambda: runs)
    successor = job()
    until(lambda: not is_duplicate(broker.enqueue(successor)), within_s=10)

    gates[0].set()

    until(lambda: len(runs) == 2)
    assert duplicate_of(broker.enqueue(job())) == successor.message_id
    gates[1].set()


def test_a_key_may_be_given(broker):
    broker.enqueue(job(1, unique_key="user-1"))

    assert is_duplicate(broker.enqueue(job(2, unique_key="user-1")))
    assert not is_duplicate(broker.enqueue(job(2, unique_key="user-2")))
    assert not is_duplicate(broker.enqueue(job(1, queue="q", unique_key="user-1")))


def test_an_actor_may_ask_for_it(broker, gate, work):
    actor = held(
        broker, gate, unique_for=HOUR_MS, unique_key=lambda n: f"parity-{n % 2}"
    )

    actor.send(1)

    assert is_duplicate(actor.send(3))
    assert not is_duplicate(actor.send(2))
    work(broker)
    gate.open.set()
    until(lambda: not is_duplicate(actor.send(5)))


def test_the_order_of_named_arguments_does_not_matter(broker):
    options = {"unique_for": HOUR_MS}
    broker.enqueue(Message("default", "work", (), {"a": 1, "b": 2}, options.copy()))

    again = Message("default", "work", (), {"b": 2, "a": 1}, options.copy())

    assert is_duplicate(broker.enqueue(again))


def test_many_messages_may_be_unique(broker):
    messages = [job(1), job(1), job(2, unique_for=None), job(2, unique_for=None)]

    assert broker.enqueue_many(messages) == 3

    assert [is_duplicate(one) for one in messages] == [False, True, False, False]
    with pytest.raises(ValueError, match="atomic"):
        broker.enqueue_many([job(5)], atomic=True)
    assert is_free(broker, job(5))


def test_a_stored_id_takes_no_lock(broker):
    plain = job(1, unique_for=None)
    broker.enqueue_many([plain], dedup_ids=["a"])

    assert broker.enqueue_many([job(1)], dedup_ids=["a"]) == 0

    assert broker.enqueue_many([job(1)], dedup_ids=["b"]) == 1


def test_a_message_is_a_duplicate_only_while_it_is(broker):
    broker.enqueue(job())
    message = broker.enqueue(job())
    assert is_duplicate(message)
    broker.flush("default")

    broker.enqueue(message)

    assert not is_duplicate(message)
    assert broker.stored("default") == {"": 1}


def test_an_attempt_whose_answer_was_lost_is_no_duplicate(broker, monkeypatch):
    """The page is sent a second time, and the server knows its parts."""
    store, first = Publisher.store, []

    def twice(self, messages, **options):
        if not first:
            first.append(store(self, messages, **options))
        return store(self, messages, **options)

    monkeypatch.setattr(Publisher, "store", twice)

    message = broker.enqueue(job())

    assert not is_duplicate(message)
    assert broker.stored("default") == {"": 1}
    assert is_duplicate(broker.enqueue(job()))


@pytest.mark.parametrize("unique_for", [0, -1, "soon"])
def test_a_time_is_a_positive_number(broker, unique_for):
    with pytest.raises(ValueError, match="unique_for"):
        broker.enqueue(job(unique_for=unique_for))


def test_without_a_server_a_unique_job_is_refused_as_any():
    broker = JetStreamBroker("nats://127.0.0.1:1", publish_timeout_s=0.2)

    with pytest.raises(BrokerConnectionError):
        broker.enqueue(job())

    broker.close()
