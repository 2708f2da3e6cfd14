"""Both middlewares around real jobs: on Dramatiq's StubBroker and on ours."""

import threading
import time
from uuid import uuid4

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.brokers.stub import StubBroker

from brokers import JetStreamBroker
from hot_state.client import connect
from hot_state.limiter import Limiter
from hot_state.outcomes import Outcomes
from middleware.idempotency import Idempotency
from middleware.rate_limit import RateLimit
from models.limit import Bucket, Limit
from models.outcome import Outcome

#: Waits of a quarter of a second; the first message has to wait like all others.
PER_S = 4.0


@pytest.fixture
def hot(stack):
    stack.dragonfly.start()
    client = connect(stack.dragonfly.url)
    yield client
    client.close()


@pytest.fixture(params=["stub", "jetstream"])
def make_broker(request, stack):
    made = []

    def make(*middleware):
        if request.param == "stub":
            made.append(StubBroker(list(middleware), fail_fast_default=False))
        else:
            stack.nats.start()
            made.append(JetStreamBroker(stack.nats.url, middleware=list(middleware)))
        return made[-1]

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def work():
    workers = []

    def start(broker):
        workers.append(Worker(broker, worker_threads=2, worker_timeout=100))
        workers[-1].start()

    yield start
    for worker in workers:
        worker.stop(timeout=5000)


def until(is_so, what, *, within_s=20.0):
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"Not in time: {what}."
        threading.Event().wait(0.01)


def test_jobs_wait_for_their_tokens_and_each_runs_once(make_broker, hot, work):
    """No faster than the rate; what had to wait counts no retry."""
    name = f"q{uuid4().hex}"
    broker = make_broker(RateLimit(lambda: Limiter(hot)))
    done = []
    bucket = Bucket(f"actor:{name}", Limit(PER_S, 1.0))

    @dramatiq.actor(actor_name=name, queue_name=name, broker=broker,
                    rate_limit=[bucket])  # fmt: skip
    def note(n):
        done.append((time.monotonic(), n))

    @dramatiq.actor(actor_name=f"{name}.free", queue_name=name, broker=broker)
    def free():
        done.append((time.monotonic(), "free"))

    Limiter(hot).take([bucket], 1)
    work(broker)
    for n in range(4):
        note.send(n)
    free.send()
    until(lambda: len(done) == 5, "all jobs ran")

    times = [at for at, n in done if n != "free"]
    assert sorted(n for _, n in done if n != "free") == [0, 1, 2, 3]
    assert times[-1] - times[0] >= 0.9 * 3 / PER_S


def test_buckets_may_depend_on_the_message(make_broker, hot, work):
    """A tenant without tokens holds up no other."""
    name = f"q{uuid4().hex}"
    broker = make_broker(RateLimit(lambda: Limiter(hot)))
    done = []

    def of_tenant(message):
        return [Bucket(f"actor:{name}:{message.args[0]}", Limit(0.001, 1.0))]

    @dramatiq.actor(actor_name=name, queue_name=name, broker=broker,
                    rate_limit=of_tenant)  # fmt: skip
    def note(tenant):
        done.append(tenant)

    filled(hot, name, "rich")
    work(broker)
    for tenant in ("poor", "poor", "rich"):
        note.send(tenant)
    until(lambda: done, "the other one's job ran")

    assert done == ["rich"]


def filled(hot, name, tenant):
    """Let a bucket be full, which begins empty."""
    until(
        lambda: (
            not Limiter(hot).take(
                [Bucket(f"actor:{name}:{tenant}", Limit(1000.0, 1.0))], 1
            )
        ),
        "the bucket has a token",
    )
    Limiter(hot).give_back([Bucket(f"actor:{name}:{tenant}", Limit(0.001, 1.0))], 1)


def test_a_chunk_in_which_everybody_is_final_is_not_run(make_broker, hot, work):
    """And its message is gone; one of whom somebody is open runs."""
    name, outcomes = f"q{uuid4().hex}", Outcomes(hot)
    broker = make_broker(Idempotency(lambda: outcomes))
    done = []

    @dramatiq.actor(actor_name=name, queue_name=name, broker=broker,
                    skip_if_final=True)  # fmt: skip
    def send(batch_id, first, size):
        done.append(first)

    outcomes.record(name, 0, 1, 0, 2, Outcome(sent=0b11))
    work(broker)
    send.send(batch_id=name, first=0, size=2)
    send.send(batch_id=name, first=1, size=2)
    broker.join(name, timeout=20_000)

    assert done == [1]
