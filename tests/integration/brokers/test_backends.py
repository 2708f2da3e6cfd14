"""Results, limiters and barriers do here what they do with Dramatiq's own backends."""

import threading
import time
from collections import Counter

import dramatiq
import pytest
from dramatiq import Message, group, pipeline
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import GroupCallbacks, Pipelines, Retries
from dramatiq.rate_limits import (
    Barrier,
    BucketRateLimiter,
    ConcurrentRateLimiter,
    WindowRateLimiter,
)
from dramatiq.rate_limits.backends import RedisBackend as RedisLimits
from dramatiq.rate_limits.backends import StubBackend as StubLimits
from dramatiq.results import ResultFailure, ResultMissing, Results, ResultTimeout
from dramatiq.results.backends import RedisBackend as RedisResults
from dramatiq.results.backends import StubBackend as StubResults

from brokers import rate_limits, results
from tests.integration.brokers.conftest import until

KINDS = ["jetstream", "stub", "redis"]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def limits(kind, request):
    if kind == "stub":
        return StubLimits()
    if kind == "redis":
        return RedisLimits(url=request.getfixturevalue("dragonfly_url"))
    return rate_limits.JetStreamBackend(request.getfixturevalue("broker"))


@pytest.fixture
def stored_results(kind, request):
    if kind == "stub":
        return StubResults()
    if kind == "redis":
        return RedisResults(url=request.getfixturevalue("dragonfly_url"))
    return results.JetStreamBackend(request.getfixturevalue("broker"))


@pytest.fixture
def app(kind, request, limits, stored_results):
    """A working broker of the kind, with all that its compositions need."""
    if kind == "stub":
        broker = StubBroker(middleware=[])
        broker.emit_after("process_boot")
    else:
        broker = request.getfixturevalue("broker")
    for middleware in (
        Retries(max_retries=0),
        Pipelines(),
        GroupCallbacks(limits),
        Results(backend=stored_results, store_results=True),
    ):
        broker.add_middleware(middleware)
    dramatiq.actor(lambda a, b: a + b, actor_name="add", broker=broker)
    return broker


@pytest.fixture
def key():
    return f"key-{time.time_ns()}"


def add(a, *more):
    return Message("default", "add", (a, *more), {}, {})


def test_a_count_stays_between_its_bounds(limits, key):
    assert limits.add(key, 1, 60_000)
    assert not limits.add(key, 5, 60_000)

    assert limits.incr(key, 2, maximum=3, ttl=60_000)
    assert not limits.incr(key, 1, maximum=3, ttl=60_000)
    assert limits.decr(key, 3, minimum=0, ttl=60_000)
    assert not limits.decr(key, 1, minimum=0, ttl=60_000)


def test_a_count_that_is_not_there_is_0(limits, key):
    assert not limits.decr(key, 1, minimum=0, ttl=60_000)
    assert limits.incr(key, 1, maximum=1, ttl=60_000)


def test_many_who_count_at_once_lose_nothing(limits, key):
    counted = []

    def count():
        counted.extend(limits.incr(key, 1, maximum=50, ttl=60_000) for _ in range(10))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Counter(counted) == {True: 50, False: 30}


def test_a_sum_counts_all_its_keys(limits, key):
    keys = [f"{key}@{second}" for second in (3, 2, 1)]
    for one in keys[1:]:
        limits.add(one, 2, 60_000)

    assert limits.incr_and_sum(keys[0], lambda: keys, 1, maximum=5, ttl=60_000)
    assert not limits.incr_and_sum(keys[0], lambda: keys, 1, maximum=5, ttl=60_000)
    assert not limits.incr_and_sum(keys[1], list, 1, maximum=2, ttl=60_000)


def test_keys_of_no_family_are_summed_too(limits, key):
    keys = [f"{key}-{name}" for name in "ab"]
    limits.add(keys[1], 2, 60_000)

    assert limits.incr_and_sum(keys[0], lambda: keys, 1, maximum=3, ttl=60_000)
    assert not limits.incr_and_sum(keys[0], lambda: keys, 1, maximum=3, ttl=60_000)


@pytest.mark.parametrize("kind", ["jetstream", "redis"], indirect=True)
def test_who_waits_later_was_notified_as_well(limits, key):
    """The stub's wait does not see an earlier word."""
    limits.wait_notify(key, ttl=60_000)

    assert limits.wait(key, 1000)
    assert limits.wait(key, 1000)


def test_who_is_not_notified_waits_in_vain(limits, key):
    assert not limits.wait(key, 1000)


def test_a_mutex_has_one_holder_among_many(limits, key):
    limiter = ConcurrentRateLimiter(limits, key, limit=1)
    inside, most, entered = [], [], []

    def enter():
        for _ in range(5):
            with limiter.acquire(raise_on_failure=False) as acquired:
                if acquired:
                    inside.append(1)
                    most.append(len(inside))
                    entered.append(1)
                    inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(most) == 1
    with limiter.acquire():
        pass


def test_a_mutex_of_a_dead_holder_is_free_again(limits, key):
    limiter = ConcurrentRateLimiter(limits, key, limit=1, ttl=1000)
    assert limiter._acquire()
    assert not limiter._acquire()

    until(limiter._acquire, within_s=10)


def test_a_window_lets_as_many_in_as_its_limit(limits, key):
    """Threads that count at once never pass the limit together."""
    limiter = WindowRateLimiter(limits, key, limit=7, window=60)
    entered = Counter()

    def enter():
        for _ in range(5):
            with limiter.acquire(raise_on_failure=False) as acquired:
                entered[acquired] += 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert entered == {True: 7, False: 13}


def test_a_window_moves_on(limits, key):
    limiter = WindowRateLimiter(limits, key, limit=1, window=1)
    with limiter.acquire(raise_on_failure=False) as acquired:
        assert acquired

    until(limiter._acquire, within_s=10)


def test_a_bucket_lets_as_many_in_as_its_limit(limits, key):
    limiter = BucketRateLimiter(limits, key, limit=3, bucket=3_600_000)

    entered = [limiter._acquire() for _ in range(5)]

    assert entered == [True, True, True, False, False]


def test_a_barrier_opens_for_all_when_the_last_arrives(limits, key):
    barrier = Barrier(limits, key, ttl=60_000)
    assert barrier.create(3)
    assert not barrier.create(3)
    assert not barrier.wait(block=False)
    passed = []
    thread = threading.Thread(
        target=lambda: passed.append(barrier.wait(timeout=30_000))
    )
    thread.start()
    # The last arrives when nobody but the thread is missing before it.
    until(lambda: _count(limits, key) == 1)

    passed.append(until(lambda: barrier.wait(block=False)))

    thread.join()
    assert passed == [True, True]


def _count(limits, key):
    """Return the barrier's count, whichever backend keeps it."""
    if isinstance(limits, StubLimits):
        # The stub only wakes those who wait already.
        waiting = limits.conditions[f"{key}@events"]._waiters
        return limits.db[key][0] if waiting else None
    if isinstance(limits, RedisLimits):
        return int(limits.client.get(key))
    return int(limits._bucket.get(key).value)


def test_a_result_is_kept_and_waited_for(app, stored_results, work):
    message = app.enqueue(add(1, 2))
    with pytest.raises(ResultMissing):
        message.get_result(backend=stored_results)

    work(app)

    assert message.get_result(backend=stored_results, block=True) == 3
    assert message.get_result(backend=stored_results) == 3


def test_who_waits_for_a_result_has_a_time_out(stored_results):
    with pytest.raises(ResultTimeout):
        stored_results.get_result(add(1, 2), block=True, timeout=1000)


def test_a_failure_is_a_result(app, stored_results, work):
    work(app)

    message = app.enqueue(add(1, "b"))

    with pytest.raises(ResultFailure, match="TypeError"):
        message.get_result(backend=stored_results, block=True)


def test_a_result_may_be_nothing(stored_results):
    message = add(1)

    stored_results.store_result(message, None, 60_000)

    assert stored_results.get_result(message, block=True) is None


def test_a_result_ends_with_its_lifetime(stored_results):
    message = add(1)
    stored_results.store_result(message, 1, 1000)

    def is_gone():
        try:
            return not stored_results.get_result(message)
        except ResultMissing:
            return True

    until(is_gone, within_s=10)


def test_a_pipeline_hands_its_results_on(app, work):
    work(app)

    pipe = pipeline([add(1, 2), add(3), add(4)], broker=app).run()

    assert pipe.get_result(block=True) == 10
    assert list(pipe.get_results()) == [3, 6, 10]


def test_a_group_tells_when_all_are_done(app, work):
    done = []
    dramatiq.actor(lambda: done.append(1), actor_name="tell", broker=app)
    work(app)
    jobs = group([add(n, n) for n in range(10)], broker=app)
    jobs.add_completion_callback(Message("default", "tell", (), {}, {}))

    jobs.run()
    jobs.wait(timeout=20_000)

    assert list(jobs.get_results()) == [2 * n for n in range(10)]
    until(lambda: done)
    app.join("default", timeout=5000)
    assert done == [1]


def test_backends_may_have_a_connection_of_their_own(server, key):
    kept = results.JetStreamBackend(servers=server.url, bucket="own-results")
    limits = rate_limits.JetStreamBackend(servers=[server.url], bucket="own-limits")

    message = add(1)
    kept.store_result(message, "kept", 60_000)

    assert limits.add(key, 1, 60_000)
    assert kept.get_result(message) == "kept"
    kept.close()
    limits.close()


def test_backends_need_a_broker_or_servers(broker):
    for make in (results.JetStreamBackend, rate_limits.JetStreamBackend):
        with pytest.raises(ValueError, match="either"):
            make()
        with pytest.raises(ValueError, match="either"):
            make(broker, servers="nats://127.0.0.1:1")
