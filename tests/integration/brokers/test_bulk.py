"""Many messages stored at once, with and without faults."""

import dramatiq
import pytest
from dramatiq import Message

from brokers import JetStreamBroker, Route
from brokers.bulk import FEWEST
from brokers.ingest import Ingest


def messages(count, queue="default"):
    return [Message(queue, "note", (n,), {}, {}) for n in range(count)]


def test_all_of_many_are_stored_once_and_in_order(broker, work):
    """Order is promised for one worker thread and one queue."""
    done = []
    dramatiq.actor(done.append, actor_name="note", broker=broker)

    assert broker.enqueue_many(messages(3000)) == 3000

    assert broker.stored("default") == {"": 3000}
    work(broker, threads=1)
    broker.join("default", timeout=30_000)
    assert done == list(range(3000))


def test_many_of_several_streams_are_stored(make_broker):
    broker = make_broker(routes=[Route("other", "others", "others.q")])
    mixed = [
        one
        for pair in zip(messages(FEWEST), messages(FEWEST, "other"), strict=True)
        for one in pair
    ]

    broker.enqueue_many(mixed)

    assert broker.stored("default") == {"": FEWEST}
    assert broker.stored("other") == {"": FEWEST}


def test_what_the_server_stored_of_a_failed_ingest_is_there_once(broker, monkeypatch):
    """Whatever was confirmed or not, all is stored again under the same ids."""
    whole = Ingest.commit

    def doubtful(self):
        whole(self)
        return False

    monkeypatch.setattr(Ingest, "commit", doubtful)

    broker.enqueue_many(messages(FEWEST * 2))

    assert broker.stored("default") == {"": FEWEST * 2}


def test_an_ingest_that_the_server_refuses_is_not_taken_for_stored(broker):
    """A message of another stream ends the batch."""
    broker.enqueue(messages(1)[0])
    route = broker._topology.route("default")
    good = [(route.subject, b"{}")] * 10
    wrong = ("nobody.listens", b"{}")

    assert not stored(broker, [*good[:5], wrong, *good[5:]])
    assert stored(broker, good)


def stored(broker, some):
    """Tell whether an ingest stored all of them."""
    ingest = Ingest(broker._connection.link(), broker._topology.route("default").stream)
    ingest.add(some)
    return ingest.commit()


def test_a_stream_made_before_gets_what_it_lacks(server):
    """An upgrade does not need a new stream."""
    namespace = "grown"
    old = JetStreamBroker(server.url, namespace=namespace, middleware=[])
    old.enqueue(messages(1)[0])
    link = old._connection.link()
    config = link.run(link.api(f"STREAM.INFO.{namespace}"))["config"]
    link.run(link.api(f"STREAM.UPDATE.{namespace}", config | {"allow_batched": False}))
    old.close()
    new = JetStreamBroker(server.url, namespace=namespace, middleware=[])

    new.enqueue_many(messages(FEWEST))

    assert new.stored("default") == {"": FEWEST + 1}
    new.close()


@pytest.mark.parametrize("count", [0, 1, FEWEST - 1, FEWEST, FEWEST + 1])
def test_any_number_is_stored(broker, count):
    assert broker.enqueue_many(messages(count)) == count

    assert sum(broker.stored("default").values()) == count
