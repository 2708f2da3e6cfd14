"""Names, encodings and values of the broker that need no server."""

import queue
from itertools import pairwise
from types import SimpleNamespace

import orjson
import pytest
from dramatiq.errors import DecodeError
from dramatiq.middleware import Middleware

from brokers import JetStreamBroker, Route
from brokers.delivery import Choice, Delivery
from brokers.dispatch import routes, to_message
from brokers.encoding import ENCODER
from brokers.priorities import SHARE, Turns
from brokers.worker_hooks import WorkQueue
from models.jobs import ExpandBatch, RecordWebhook, SendChunk

CHUNK = next(route for route in routes() if route.queue == "chunk")


def test_a_fragment_is_embedded_as_it_is():
    body = ENCODER.encode({"kwargs": {"rows": orjson.Fragment(b'[{"a":1}]')}})

    assert ENCODER.decode(body) == {"kwargs": {"rows": [{"a": 1}]}}


def test_a_result_of_any_kind_is_read_back():
    assert ENCODER.decode(ENCODER.encode([1, None])) == [1, None]


def test_what_is_no_json_is_named_with_its_actor():
    with pytest.raises(TypeError, match="for send_chunk"):
        ENCODER.encode({"actor_name": "send_chunk", "args": (object(),)})


@pytest.mark.parametrize("body", [b"\xff", b"{", b""])
def test_what_is_no_json_does_not_decode(body):
    with pytest.raises(DecodeError):
        ENCODER.decode(body)


def test_a_tenants_names():
    assert CHUNK.target({"tenant": "t-1"}) == "email.user.t-1.chunk"
    assert CHUNK.filter("t-1") == "email.user.t-1.>"
    assert CHUNK.filter() == "email.user.*.>"
    assert CHUNK.consumer_name("t-1") == "user-t-1"
    assert CHUNK.tenant_of("email.user.t-1.send") == "t-1"


@pytest.mark.parametrize("tenant", ["", "a.b", "*", ">", "a b", "a\r\nPUB"])
def test_a_tenant_is_one_plain_token(tenant):
    with pytest.raises(ValueError, match="tenant"):
        CHUNK.target({"tenant": tenant})


def test_dots_of_a_queue_are_no_dots_of_a_subject():
    assert Route("a.b", "s", "s.x").dead == "dead.a=b"


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.stream.consumer.3.42.7.1700000000.5",
        "$JS.ACK._.hash.stream.consumer.3.42.7.1700000000.5",
        "$JS.ACK.domain.hash.stream.consumer.3.42.7.1700000000.5.token",
    ],
)
def test_the_reply_subject_tells_about_the_delivery(reply):
    delivery = Delivery("q", reply, None)

    assert (delivery.deliveries, delivery.sequence, delivery.pending) == (3, 42, 5)
    assert delivery.identity == "stream.42.1700000000"
    assert delivery.choice is Choice.ACK


def test_only_a_job_that_does_not_move_is_given_up():
    delivery = Delivery("q", "$JS.ACK.s.c.1.1.1.1.0", 10.0)

    assert delivery.is_alive(now=1e9)
    delivery.touch()
    assert not delivery.is_alive(now=1e9)


def test_a_job_becomes_its_actors_arguments():
    rows = orjson.Fragment(b"[]")
    job = SendChunk("b", "t", 0, 0, 500, 1, addresses=rows)

    message = to_message(job)

    assert (message.queue_name, message.actor_name) == ("chunk", "send_chunk")
    assert message.kwargs["addresses"] is rows
    assert message.options == {"tenant": "t"}


def test_a_providers_words_become_tokens():
    message = to_message(RecordWebhook("custom", "email.opened now", {}))

    assert message.options == {"provider": "custom", "event": "email_opened_now"}


def test_a_job_may_take_another_queue():
    assert to_message(ExpandBatch("b"), queue="priority").queue_name == "priority"


def test_the_work_queue_keeps_priority_and_order():
    work = WorkQueue()
    items = [SimpleNamespace(priority=p, n=n) for n, p in enumerate([1, 0, 1, 0])]
    for item in items:
        work.put(item)

    assert [work.get_nowait().n for _ in items] == [1, 3, 0, 2]
    assert (work.qsize(), work.unfinished_tasks) == (0, 4)
    with pytest.raises(queue.Empty):
        work.get(timeout=0)


def test_hooks_are_called_in_dramatiqs_order():
    called = []

    class Noting(Middleware):
        def __init__(self, name):
            self.name = name

        def before_declare_queue(self, broker, queue_name):
            called.append(f"before {self.name}")

        def after_declare_queue(self, broker, queue_name):
            called.append(f"after {self.name}")
            raise RuntimeError

    broker = JetStreamBroker(middleware=[Noting("one")])
    broker.add_middleware(Noting("two"))

    broker.declare_queue("q")
    broker.declare_queue("q")

    assert called == ["before one", "before two", "after two", "after one"]
    assert broker.get_declared_queues() == {"q"}
    assert broker.get_declared_delay_queues() == set()


@pytest.mark.parametrize("others", [{0}, {0, 1}, set(range(8))])
def test_every_class_has_its_turn(others):
    """Each within a share for each; the highest has all other turns."""
    turns = Turns(9)

    given = [turns.next(8, others) for _ in range(720)]

    for one in others:
        places = [place for place, other in enumerate(given) if other == one]
        gaps = [b - a for a, b in pairwise([-1, *places])]
        assert max(gaps) == SHARE * len(others)
    assert given.count(8) == 720 * (SHARE - 1) // SHARE


def test_whoever_is_only_woken_finds_nothing():
    work = WorkQueue()

    work.wake(1)

    with pytest.raises(queue.Empty):
        work.get(timeout=1)
    assert not work.unfinished_tasks
