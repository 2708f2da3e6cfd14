"""The broker keeps what it accepted and gives each message to a worker."""

import time

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.errors import BrokerError

from brokers import Route, current_delivery
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
    # What was fetched ahead of fast jobs is not asked for again.
    until(lambda: pulls._asked <= 8)


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


def test_an_option_that_is_no_token_is_refused(make_broker):
    broker = make_broker(routes=[Route("t", "tokens", "tokens.{tenant}")])

    with pytest.raises(ValueError, match="option tenant"):
        broker.enqueue(job(queue="t", tenant="a.b"))


def test_no_delivery_is_current_outside_an_actor():
    assert current_delivery() is None
