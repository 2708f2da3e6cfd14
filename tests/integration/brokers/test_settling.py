"""What becomes of a message is decided by its actor, its worker's life or an error."""

import base64
import json
import threading
import time

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.middleware import Retries

from brokers import Route, current_delivery
from tests.integration.brokers.conftest import until


@pytest.fixture
def quick(make_broker):
    """A broker whose messages come back after a second without a sign of life."""
    return make_broker(ack_wait_ms=1000)


def taking(broker, runs, job, queue="default"):
    """Give the broker an actor that notes that it runs, then does the job."""

    @dramatiq.actor(actor_name="work", queue_name=queue, broker=broker)
    def actor():
        runs.append(time.time())
        job()


def send(broker, *, queue="default", **options):
    broker.enqueue(Message(queue, "work", (), {}, options))


def dead_letters(broker, queue="default"):
    link = broker._connection.link()
    answer = link.run(
        link.api("STREAM.MSG.GET.dead-letters", {"last_by_subj": f"dead.{queue}"})
    )
    return answer["message"]


def test_a_postponed_message_comes_again_after_its_delay(quick, work):
    times = []

    @dramatiq.actor(actor_name="work", broker=quick)
    def actor():
        times.append((time.time(), current_delivery().deliveries))
        if len(times) == 1:
            current_delivery().postpone(0.5)

    work(quick)
    send(quick)

    quick.join("default", timeout=5000)
    assert [deliveries for _, deliveries in times] == [1, 2]
    assert 0.5 <= times[1][0] - times[0][0] < 1.5


def test_a_postponed_message_is_not_dead_when_its_actor_raises(make_broker, work):
    quick = make_broker(middleware=[Retries(max_retries=0)])
    times = []

    @dramatiq.actor(actor_name="work", broker=quick)
    def actor():
        times.append(time.time())
        if len(times) == 1:
            current_delivery().postpone(0.2)
            raise RuntimeError

    work(quick)
    send(quick)

    until(lambda: len(times) == 2)
    quick.join("default", timeout=5000)


def test_a_message_of_a_batch_is_postponed_alone(broker, work):
    """No message is the current one of a batched actor; each has its delivery."""
    calls = []

    @dramatiq.actor(actor_name="work", broker=broker, batch_size=3)
    def actor(messages):
        calls.append((current_delivery(), [one.message_id for one in messages]))
        if len(calls) == 1:
            messages[1].delivery.postpone(0.2)

    for _ in range(3):
        send(broker)
    work(broker)

    broker.join("default", timeout=5000)
    assert calls[1] == (None, [calls[0][1][1]])
    assert calls[0][0] is None


def test_a_message_left_alone_comes_again_after_the_ack_wait(quick, work):
    times = []

    @dramatiq.actor(actor_name="work", broker=quick)
    def actor():
        times.append(time.time())
        if len(times) == 1:
            current_delivery().leave()

    work(quick)
    send(quick)

    until(lambda: len(times) == 2)
    assert times[1] - times[0] >= 0.9


def test_a_job_that_does_not_move_is_given_to_another(make_broker, work):
    """On a route with patience the heartbeats end when the job stops moving."""
    route = Route("slow", "patience", "patience.slow", job_patience_s=0.3)
    broker = make_broker(routes=[route], ack_wait_ms=1000)
    runs = []

    @dramatiq.actor(actor_name="work", queue_name="slow", broker=broker)
    def actor():
        runs.append(current_delivery().deliveries)
        if len(runs) == 1:
            until(lambda: len(runs) == 2)

    work(broker, threads=2)
    send(broker, queue="slow")

    until(lambda: runs == [1, 2])
    broker.join("slow", timeout=5000)


def test_a_job_that_moves_is_kept(make_broker, work):
    route = Route("moving", "moving", "moving.slow", job_patience_s=0.6)
    runs = []

    def move():
        for _ in range(10):
            threading.Event().wait(0.2)
            current_delivery().touch()

    for _ in range(2):
        broker = make_broker(routes=[route], ack_wait_ms=1000)
        taking(broker, runs, move, queue="moving")
        work(broker, threads=1)
    send(broker, queue="moving")

    broker.join("moving", timeout=8000)
    assert len(runs) == 1


def test_a_failed_message_becomes_a_dead_letter_with_its_reason(make_broker, work):
    broker = make_broker(middleware=[Retries(max_retries=0)])

    @dramatiq.actor(actor_name="work", broker=broker)
    def actor():
        raise ValueError("first\nsecond")

    work(broker)
    send(broker)

    until(lambda: broker.get_queue_message_counts("default")[0] == 0)
    letter = dead_letters(broker)
    headers = base64.b64decode(letter["hdrs"]).decode()
    body = json.loads(base64.b64decode(letter["data"]))
    assert 'Dead-Error: "ValueError: first\\nsecond"' in headers
    assert "Dead-Traceback" in headers
    assert body["actor_name"] == "work"
