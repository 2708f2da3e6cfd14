"""What becomes of a message is decided by its actor, its worker's life or an error."""

import base64
import json
import threading
import time

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.middleware import Middleware, Retries, TimeLimitExceeded

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


def test_heartbeats_keep_a_long_job_and_those_behind_it(make_broker, work):
    """Two workers: what one has in its hands never comes to the other."""
    runs = []
    brokers = [make_broker(namespace="long", ack_wait_ms=1000) for _ in range(2)]
    for broker in brokers:
        taking(broker, runs, lambda: threading.Event().wait(1.8))
    for _ in range(4):
        send(broker)

    for broker in brokers:
        work(broker, threads=1)

    broker.join("default", timeout=12_000)
    assert len(runs) == 4


def test_heartbeats_go_on_while_a_worker_stops(make_broker, work):
    runs = []
    first, second = (make_broker(namespace="stop", ack_wait_ms=1000) for _ in range(2))
    taking(first, runs, lambda: threading.Event().wait(2.5))
    taking(second, runs, lambda: None)
    worker = work(first, threads=1)
    send(first)
    until(lambda: runs)

    work(second)
    worker.stop()

    second.join("default", timeout=3000)
    assert len(runs) == 1


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


def test_an_undecodable_message_becomes_a_dead_letter(broker, work):
    runs = []
    dramatiq.actor(lambda: runs.append(1), actor_name="work", broker=broker)
    broker.flush("default")
    send(broker)
    stream = broker._topology.route("default").subject
    link = broker._connection.link()
    for body in (b"\xff", b"[]", b'{"args": 1}'):
        link.run(link.request(stream, body))

    work(broker)
    send(broker)

    broker.join("default", timeout=5000)
    assert runs == [1, 1]
    assert broker.get_queue_message_counts("default")[2] == 3


def test_a_message_delivered_too_often_becomes_a_dead_letter(make_broker, work):
    broker = make_broker(max_deliveries=2)
    broker.flush("default")

    @dramatiq.actor(actor_name="work", broker=broker)
    def actor():
        current_delivery().postpone(0)

    work(broker)
    send(broker)

    until(lambda: broker.get_queue_message_counts("default")[2] == 1)
    assert broker.stored("default") == {"": 0}


def test_a_stopped_worker_gives_back_what_it_has_not_begun(broker, work):
    began = []

    @dramatiq.actor(actor_name="work", broker=broker)
    def actor():
        began.append(1)
        threading.Event().wait(0.3)

    worker = work(broker, threads=1)
    for _ in range(2):
        send(broker)
    until(lambda: began)
    worker.stop()

    assert broker.stored("default") == {"": 1}
    work(broker)
    broker.join("default", timeout=5000)


def test_a_thread_survives_what_is_raised_outside_its_actor(make_broker, work):
    class Striking(Middleware):
        def after_process_message(self, broker, message, **_):
            if message.options.get("strike"):
                raise TimeLimitExceeded

    broker = make_broker(middleware=[Striking()])
    runs = []
    dramatiq.actor(lambda: runs.append(1), actor_name="work", broker=broker)
    worker = work(broker, threads=2)

    for _ in range(3):
        send(broker, strike=True)
    send(broker)

    until(lambda: len(runs) == 4)
    assert all(thread.is_alive() for thread in worker.workers)
