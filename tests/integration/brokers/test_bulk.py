"""Many messages stored at once, with and without faults."""

from uuid import UUID

import dramatiq
import pytest
from dramatiq import Message

from brokers import JetStreamBroker, Route, calls
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


def test_messages_may_be_made_while_others_are_sent(broker, work):
    """They are stored in order too, each with an id of its own."""
    done, ids = [], set()
    note = dramatiq.actor(done.append, actor_name="note", broker=broker)

    def noted():
        for one in calls(note, ((n,) for n in range(1100))):
            ids.add(one.message_id)
            yield one

    assert broker.enqueue_many(noted()) == 1100

    assert len(ids) == 1100
    assert broker.stored("default") == {"": 1100}
    work(broker, threads=1)
    broker.join("default", timeout=30_000)
    assert done == list(range(1100))


def test_a_call_is_the_message_that_its_actor_makes(broker):
    note = dramatiq.actor(print, actor_name="note", queue_name="other", broker=broker)

    [one] = calls(note, [(1, "a")])

    made = note.message(1, "a")
    like = one.copy(
        message_id=made.message_id, message_timestamp=made.message_timestamp
    )
    assert like == made
    assert UUID(one.message_id).version == 4
    assert abs(made.message_timestamp - one.message_timestamp) < 60_000


def test_what_comes_before_an_error_of_the_iterable_may_be_stored(broker):
    """It is raised as it is, and the broker goes on."""

    def broken():
        yield from messages(FEWEST * 2)
        raise LookupError

    with pytest.raises(LookupError):
        broker.enqueue_many(broken())

    assert broker.enqueue_many(iter(messages(FEWEST))) == FEWEST
    assert sum(broker.stored("default").values()) <= FEWEST * 3


def test_many_in_a_row_go_by_several_ingests(broker, monkeypatch):
    """So that no more than a part of them is kept in memory."""
    monkeypatch.setattr("brokers.bulk.LONGEST", 300)

    broker.enqueue_many(iter(messages(1000)))

    assert broker.stored("default") == {"": 1000}


def test_unique_messages_of_an_iterable_are_stored_once(broker):
    one = Message("default", "note", (), {}, {"unique_for": 60_000})

    assert broker.enqueue_many(iter([*messages(3), one, one.copy()])) == 4


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


@pytest.mark.parametrize("given", [list, iter])
@pytest.mark.parametrize("count", [0, 1, FEWEST - 1, FEWEST, FEWEST + 1])
def test_any_number_is_stored(broker, given, count):
    assert broker.enqueue_many(given(messages(count))) == count

    assert sum(broker.stored("default").values()) == count
