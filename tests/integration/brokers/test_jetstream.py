"""The broker keeps what it accepted and gives each message to a worker."""

import contextlib
import os
import threading
import time

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.errors import BrokerConnectionError, BrokerError, QueueJoinTimeout

from brokers import JetStreamBroker, MessageTooLarge, Route, current_delivery
from tests.integration.brokers.conftest import until


def job(n=0, queue="default", actor="note", **options):
    return Message(queue, actor, (n,), {}, options)


@pytest.fixture
def noted(broker):
    """Numbers and times, as an actor `note` of `broker` sees them."""
    seen = []
    dramatiq.actor(
        lambda n: seen.append((n, time.time())), actor_name="note", broker=broker
    )
    return seen


def test_what_was_enqueued_is_processed_once(broker, noted, work):
    work(broker)

    for n in range(20):
        broker.enqueue(job(n))

    broker.join("default", timeout=5000)
    assert [n for n, _ in sorted(noted)] == list(range(20))


def test_a_message_outlives_its_broker(make_broker):
    """`enqueue` returns only when the message is stored."""
    namespace = "outlives"
    first = make_broker(namespace=namespace)

    first.enqueue(job())
    first.close()

    assert make_broker(namespace=namespace).stored("default") == {"": 1}


def test_the_same_message_may_be_enqueued_again(broker):
    message = job()

    broker.enqueue(message)
    broker.enqueue(message)

    assert broker.stored("default") == {"": 2}


def test_a_delay_is_kept_by_the_server_and_never_short(broker, noted, work):
    work(broker)
    sent = time.time()

    broker.enqueue(job(1), delay=1000)

    assert broker.get_queue_message_counts("default") == (0, 1, 0)
    broker.join("default", timeout=8000)
    assert noted[0][1] - sent >= 1.0


def test_join_tells_when_it_does_not_end(broker):
    broker.enqueue(job())

    with pytest.raises(QueueJoinTimeout):
        broker.join("default", timeout=50)


def test_flush_drops_ready_and_delayed_messages(broker):
    broker.declare_queue("default")
    broker.enqueue(job())
    broker.enqueue(job(), delay=60_000)

    broker.flush_all()

    assert broker.get_queue_message_counts("default") == (0, 0, 0)


def test_an_id_is_stored_once(broker):
    assert broker.enqueue_many([job(1), job(2)], dedup_ids=["a", "b"]) == 2

    assert broker.enqueue_many([job(2), job(3)], dedup_ids=["b", "c"]) == 1

    assert broker.stored("default") == {"": 3}


def test_an_atomic_page_with_a_duplicate_is_stored_one_by_one(broker):
    broker.enqueue_many([job(1)], dedup_ids=["a"])

    new = broker.enqueue_many(
        [job(n) for n in range(4)], dedup_ids=["x", "a", "y", "z"], atomic=True
    )

    assert new == 3
    assert broker.stored("default") == {"": 4}


def test_an_id_twice_in_one_atomic_page_is_stored_once(broker):
    new = broker.enqueue_many([job(n) for n in range(3)], dedup_ids="aba", atomic=True)

    assert new == 2
    assert broker.stored("default") == {"": 2}


def test_an_atomic_page_with_a_message_refused_is_not_stored(make_broker):
    """One by one, all but the refused message are stored."""
    broker = make_broker(namespace="refusing", publish_timeout_s=0.5)
    broker.enqueue(job())
    link = broker._connection.link()
    config = link.run(link.api("STREAM.INFO.refusing"))["config"]
    link.run(link.api("STREAM.UPDATE.refusing", config | {"max_msg_size": 1000}))
    jobs = [job(1), job("x" * 2000), job(2)]

    with pytest.raises(BrokerError):
        broker.enqueue_many(jobs, atomic=True)
    assert broker.stored("default") == {"": 1}

    with pytest.raises(BrokerError, match="refused"):
        broker.enqueue_many(jobs)
    assert broker.stored("default") == {"": 3}


def test_many_messages_are_stored_in_pages_and_in_order(broker, noted, work):
    assert broker.enqueue_many([job(n) for n in range(2500)], atomic=True) == 2500
    assert broker.enqueue_many([job(n) for n in range(2500, 5000)]) == 2500

    work(broker, threads=1)

    broker.join("default", timeout=15000)
    assert [n for n, _ in noted] == list(range(5000))


def test_a_message_too_large_is_refused_before_it_is_sent(broker):
    with pytest.raises(MessageTooLarge):
        broker.enqueue(job("x" * 2_000_000))

    broker.enqueue(job("small"))
    assert broker.stored("default") == {"": 1}


def test_many_threads_enqueue_at_once(broker):
    def send():
        for n in range(50):
            broker.enqueue(job(n))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert broker.stored("default") == {"": 400}


def test_a_forked_child_opens_a_connection_of_its_own(broker):
    broker.enqueue(job())

    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            broker.enqueue(job())
            broker.close()
            os._exit(0)
        os._exit(1)

    assert os.waitpid(child, 0)[1] == 0
    broker.enqueue(job())
    assert broker.stored("default") == {"": 3}


def test_a_vanished_stream_is_made_again(make_broker, work):
    seen = []
    broker = make_broker(namespace="vanishing")
    dramatiq.actor(seen.append, actor_name="note", broker=broker)
    work(broker)
    broker.enqueue(job(1))
    until(lambda: seen == [1])
    link = broker._connection.link()

    link.run(link.api("STREAM.DELETE.vanishing"))

    broker.enqueue(job(2))
    until(lambda: seen == [1, 2])


def test_requests_that_expire_are_made_again(broker, noted, work, monkeypatch):
    monkeypatch.setattr("brokers.pulls.EXPIRES_S", 0.3)
    monkeypatch.setattr("brokers.pulls.HEARTBEAT_S", 0.1)
    worker = work(broker)
    pulls = until(lambda: worker.consumers["default"].consumer)._source
    until(lambda: pulls._latest > 3)

    for n in range(20):
        broker.enqueue(job(n))

    broker.join("default", timeout=5000)
    assert len(noted) == 20
    assert pulls._asked <= 8


def test_a_queue_with_dots_has_a_subject_of_its_own(broker):
    broker.enqueue(job(queue="a.b"))
    broker.enqueue(job(queue="a"))

    assert broker.stored("a.b") == {"": 1}


def test_an_existing_stream_gets_what_it_lacks(make_broker):
    old = make_broker(routes=[Route("one", "shared", "shared.one")])
    old.enqueue(job(queue="one"))

    new = make_broker(
        routes=[
            Route("one", "shared", "shared.one"),
            Route("two", "shared", "shared.two"),
        ]
    )
    new.enqueue(job(queue="two"))

    assert new.stored("two") == new.stored("one") == {"": 1}


def test_without_a_server_enqueue_says_so_in_time():
    broker = JetStreamBroker("nats://127.0.0.1:1", publish_timeout_s=0.2)

    with pytest.raises(BrokerConnectionError):
        broker.enqueue(job())

    broker.close()


def test_an_option_that_is_no_token_is_refused(make_broker):
    broker = make_broker(routes=[Route("t", "tokens", "tokens.{tenant}")])

    with pytest.raises(ValueError, match="option tenant"):
        broker.enqueue(job(queue="t", tenant="a.b"))


def test_no_delivery_is_current_outside_an_actor():
    assert current_delivery() is None
