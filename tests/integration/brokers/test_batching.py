"""A batched actor gets many messages at once; each has a fate of its own."""

import threading
import time
from itertools import chain

import dramatiq
from dramatiq import Message
from dramatiq.errors import Retry
from dramatiq.middleware import (
    AsyncIO,
    Callbacks,
    Middleware,
    Retries,
    SkipMessage,
    TimeLimit,
    TimeLimitExceeded,
)

from brokers import Route
from tests.integration.brokers.conftest import until

RETRYING = {"max_retries": 2, "min_backoff": 1, "max_backoff": 1}


class Noting(Middleware):
    """Notes what comes after each message."""

    def __init__(self):
        self.after = []

    def after_process_message(self, broker, message, *, result=None, exception=None):
        self.after.append((message.args[0], result, type(exception).__name__))

    def after_skip_message(self, broker, message):
        self.after.append((message.args[0], "skipped", message.failed))


def jobs(count, *, start=0, queue="default", **options):
    return [
        Message(queue, "gather", (n,), {}, dict(options))
        for n in range(start, start + count)
    ]


def batched(broker, function, **options):
    options = {"batch_size": 50, "batch_wait_ms": 100} | options
    return dramatiq.actor(function, actor_name="gather", broker=broker, **options)


def numbers(messages):
    return [message.args[0] for message in messages]


def test_a_backlog_comes_in_full_batches_and_in_order(broker, work):
    calls = []
    batched(broker, lambda messages: calls.append(numbers(messages)))
    broker.enqueue_many(jobs(420))

    work(broker, threads=1)

    broker.join("default", timeout=10_000)
    assert list(chain(*calls)) == list(range(420))
    assert [len(call) for call in calls].count(50) >= 6


def test_a_batch_begins_when_its_first_message_waited_long_enough(broker, work):
    calls = []
    batched(broker, calls.append, batch_wait_ms=300)
    work(broker)
    sent = time.monotonic()

    broker.enqueue_many(jobs(3))

    until(lambda: calls)
    assert time.monotonic() - sent >= 0.3
    broker.join("default", timeout=5000)
    assert [numbers(call) for call in calls] == [[0, 1, 2]]


def test_a_batch_grows_while_all_threads_are_busy(broker, work):
    calls, go_on = [], threading.Event()

    def gather(messages):
        calls.append(numbers(messages))
        go_on.wait(20)

    batched(broker, gather, batch_size=5, batch_wait_ms=50)
    worker = work(broker, threads=1)
    broker.enqueue_many(jobs(1))
    until(lambda: calls)

    for n in range(1, 8):
        broker.enqueue_many(jobs(1, start=n))
        until(lambda n=n: broker._in_flight[1].held("default") == n + 1)
        until(worker.work_queue.qsize)
    go_on.set()

    broker.join("default", timeout=10_000)
    assert calls == [[0], [1, 2, 3, 4, 5], [6, 7]]
    gathering = worker.consumers["default"].consumer._gathering
    until(lambda: not gathering._growing)


def test_single_messages_fail_and_are_retried_alone(make_broker, work):
    """Each is retried on its own count, and becomes a dead letter on its own."""
    noting = Noting()
    broker = make_broker(middleware=[Retries(), noting], namespace="alone")
    broker.flush("default")
    calls = []

    def gather(messages):
        calls.append(numbers(messages))
        for message in messages:
            if message.args[0] % 2:
                message.fail(ValueError("odd"))

    batched(broker, gather, **RETRYING)
    work(broker)

    broker.enqueue_many(jobs(6))

    broker.join("default", timeout=10_000)
    assert broker.get_queue_message_counts("default") == (0, 0, 3)
    runs = list(chain(*calls))
    assert [runs.count(n) for n in range(6)] == [1, 3, 1, 3, 1, 3]
    assert noting.after.count((1, None, "ValueError")) == 3
    assert noting.after.count((2, None, "NoneType")) == 1


def test_raising_fails_whatever_is_not_finished(make_broker, work):
    noting = Noting()
    broker = make_broker(
        middleware=[Retries(max_retries=0), noting], namespace="raising"
    )

    def gather(messages):
        messages[0].finish("kept")
        raise KeyError("lost")

    broker.flush("default")
    batched(broker, gather)
    broker.enqueue_many(jobs(4))
    work(broker)

    broker.join("default", timeout=5000)
    assert broker.get_queue_message_counts("default")[2] == 3
    assert sorted(noting.after) == [
        (0, "kept", "NoneType"),
        *((n, None, "KeyError") for n in (1, 2, 3)),
    ]


def test_a_retry_chooses_its_delay_and_has_its_traceback(make_broker, work):
    broker = make_broker(middleware=[Retries()])
    seen = []

    def gather(messages):
        for message in messages:
            seen.append((time.monotonic(), message.options.get("traceback", "")))
            if len(seen) == 1:
                message.fail(Retry("later", delay=300))

    batched(broker, gather)
    work(broker)

    broker.enqueue_many(jobs(1))

    until(lambda: len(seen) == 2)
    assert seen[1][0] - seen[0][0] >= 0.3
    assert seen[1][1].count("Retry: later") == 1


def test_results_and_callbacks_are_each_messages_own(make_broker, work):
    broker = make_broker(middleware=[Callbacks()])
    results = []
    dramatiq.actor(
        lambda message, result: results.append((message["args"][0], result)),
        actor_name="note",
        broker=broker,
    )

    def gather(messages):
        for message in messages:
            message.finish(message.args[0] * 10)

    batched(broker, gather, on_success="note")
    work(broker)

    broker.enqueue_many(jobs(3))

    broker.join("default", timeout=5000)
    assert sorted(results) == [(0, 0), (1, 10), (2, 20)]


def test_a_hook_leaves_a_message_out_and_the_time_limit_stays(make_broker, work):
    """The limit is the thread's: skipping one must not lift it for the others."""

    class Skipping(Middleware):
        def before_process_message(self, broker, message):
            if message.args[0] == 2:
                raise SkipMessage
            if message.args[0] == 3:
                message.fail()
                raise SkipMessage

    limit, noting = TimeLimit(time_limit=300, interval=50), Noting()
    broker = make_broker(
        middleware=[limit, Retries(max_retries=0), Skipping(), noting], namespace="skip"
    )
    broker.flush("default")
    calls = []

    def gather(messages):
        calls.append(numbers(messages))
        until(lambda: False, within_s=15)

    batched(broker, gather)
    broker.emit_after("process_boot")
    broker.enqueue_many(jobs(4))
    work(broker)

    broker.join("default", timeout=10_000)
    assert calls == [[0, 1]]
    assert sorted(noting.after) == [
        (0, None, "TimeLimitExceeded"),
        (1, None, "TimeLimitExceeded"),
        (2, "skipped", False),
        (3, "skipped", True),
    ]
    assert broker.get_queue_message_counts("default")[2] == 3


def test_a_worker_that_stops_gives_back_what_it_gathered(broker, work):
    """Neither a batch that gathers nor one that waits for a thread is lost."""
    began, go_on = threading.Event(), threading.Event()

    def gather(messages):
        began.set()
        go_on.wait(10)

    batched(broker, gather, batch_size=3, batch_wait_ms=60_000)
    worker = work(broker, threads=1)
    broker.enqueue_many(jobs(6))
    assert began.wait(10)
    broker.enqueue_many(jobs(2))
    consumer = worker.consumers["default"].consumer
    until(lambda: broker._in_flight[1].held("default") >= 6)
    threading.Timer(0.2, go_on.set).start()

    worker.stop()

    assert broker.stored("default") == {"": 5}
    assert not consumer._gathering.take_all()
    until(lambda: broker._in_flight[1].held("default") == 0)


def test_heartbeats_keep_a_batch_that_waits_and_works(make_broker, work):
    """Two workers: what one gathers never comes to the other."""
    seen = []

    def gather(messages):
        threading.Event().wait(1.5)
        seen.extend(numbers(messages))

    for _ in range(2):
        broker = make_broker(namespace="beats", ack_wait_ms=1000)
        batched(broker, gather, batch_size=20, batch_wait_ms=1500)
        work(broker, threads=1)
    broker.enqueue_many(jobs(30))

    broker.join("default", timeout=20_000)
    assert sorted(seen) == list(range(30))


def test_a_jobs_patience_begins_with_its_batch(make_broker, work):
    """A batch that moves keeps all of its messages, also those before it."""
    route = Route("patient", "patient", "patient.q", job_patience_s=0.8)
    seen = []

    def gather(messages):
        for _ in range(5):
            threading.Event().wait(0.3)
            for message in messages:
                message.delivery.touch()
        seen.extend(numbers(messages))

    for _ in range(2):
        broker = make_broker(routes=[route], ack_wait_ms=1000)
        batched(broker, gather, queue_name="patient", batch_wait_ms=1200)
        work(broker, threads=1)
    broker.enqueue_many(jobs(10, queue="patient"))

    broker.join("patient", timeout=20_000)
    assert sorted(seen) == list(range(10))


def test_a_queues_other_actors_do_not_wait(broker, work):
    order = []
    batched(
        broker, lambda messages: order.append(numbers(messages)), batch_wait_ms=1500
    )
    dramatiq.actor(lambda: order.append("single"), actor_name="note", broker=broker)
    work(broker, threads=1)

    broker.enqueue_many([*jobs(2), Message("default", "note", (), {}, {})])

    broker.join("default", timeout=10_000)
    assert order == ["single", [0, 1]]


def test_what_is_raised_outside_the_actor_loses_no_message(make_broker, work):
    """An interrupt in a message's hooks: it comes again, and all that is left."""

    class Striking(Middleware):
        def after_process_message(self, broker, message, **_):
            if message.args[0] == 2 and message.delivery.deliveries == 1:
                raise TimeLimitExceeded

    broker = make_broker(middleware=[Striking()])
    calls = []
    batched(broker, lambda messages: calls.append(numbers(messages)))
    worker = work(broker, threads=1)

    broker.enqueue_many(jobs(4))

    broker.join("default", timeout=5000)
    assert calls[0] == [0, 1, 2, 3]
    assert sorted(chain(*calls[1:])) == [0, 1, 2]
    assert all(thread.is_alive() for thread in worker.workers)


def test_a_batched_actor_declared_late_gets_batches_of_one(broker, work):
    calls = []
    dramatiq.actor(calls.append, actor_name="note", broker=broker)
    worker = work(broker)
    until(lambda: worker.consumers["default"].consumer)
    batched(broker, lambda messages: calls.append(numbers(messages)))

    broker.enqueue_many(jobs(2))

    broker.join("default", timeout=5000)
    assert sorted(calls) == [[0], [1]]


def test_a_key_keeps_batches_apart(broker, work):
    calls = []
    batched(
        broker, lambda messages: calls.append(numbers(messages)), batch_key="tenant"
    )
    for n in (0, 2):
        for tenant in "ab":
            broker.enqueue_many(jobs(2, start=n, tenant=tenant))

    work(broker)

    broker.join("default", timeout=5000)
    assert calls == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_an_asynchronous_actor_takes_batches(make_broker, work):
    broker = make_broker(middleware=[AsyncIO()])
    seen = []

    async def gather(messages):
        seen.extend(numbers(messages))

    batched(broker, gather)
    broker.enqueue_many(jobs(10))
    work(broker)

    broker.join("default", timeout=5000)
    assert len(seen) == 10


def test_a_limit_below_the_batch_size_is_kept(make_broker, work):
    route = Route("few", "few", "few.q", max_in_flight=4)
    broker = make_broker(routes=[route])
    calls = []
    batched(
        broker,
        lambda messages: calls.append(len(messages)),
        queue_name="few",
        batch_wait_ms=20_000,
    )
    broker.enqueue_many(jobs(8, queue="few"))

    work(broker)

    broker.join("few", timeout=10_000)
    assert calls == [4, 4]
