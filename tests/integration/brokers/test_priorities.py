"""Higher priorities come first, and lower ones still come."""

import time
from itertools import pairwise

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.middleware import Retries

from brokers import Route
from brokers.priorities import SHARE
from tests.integration.brokers.conftest import until


@pytest.fixture
def classed(make_broker):
    """A broker with three classes, 0 to 2."""
    broker = make_broker(max_priority=2)
    broker.declare_queue("default")
    return broker


@pytest.fixture
def seen(classed):
    """What an actor `note` of `classed` gets, in order."""
    seen = []
    dramatiq.actor(seen.append, actor_name="note", broker=classed)
    return seen


def job(what, priority=None, queue="default", actor="note"):
    options = {} if priority is None else {"broker_priority": priority}
    return Message(queue, actor, (what,), {}, options)


def by_subject(broker, stream, subjects):
    link = broker._connection.link()
    body = {"subjects_filter": subjects}
    answer = link.run(link.api(f"STREAM.INFO.{stream}", body))
    return answer["state"].get("subjects") or {}


def test_a_backlog_is_worked_off_from_the_highest_class(classed, seen, work):
    """Of the lower classes no more comes before it than their share."""
    for priority in (None, 1, 2):
        classed.enqueue_many([job(priority or 0, priority) for _ in range(200)])

    work(classed, threads=1)

    classed.join("default", timeout=20_000)
    assert len(seen) == 600
    before = seen[: len(seen) - seen[::-1].index(2)]
    assert len(before) <= 200 * SHARE / (SHARE - 1) + 10
    middle = [one for one in seen if one != 2]
    last = len(middle) - middle[::-1].index(1)
    assert middle[:last].count(0) <= 200 / (SHARE - 1) + 10 + 200 / SHARE


def test_a_flood_of_high_ones_does_not_starve_the_others(classed, work):
    """Between two messages of a lower class there is a bounded number of others."""
    order, low = [], 40

    @dramatiq.actor(broker=classed)
    def note(priority):
        order.append(priority)
        if priority == 2 and order.count(0) + order.count(1) < 2 * low:
            classed.enqueue_many([job(2, 2), job(2, 2)])

    for priority in (0, 1):
        classed.enqueue_many([job(priority, priority) for _ in range(low)])
    classed.enqueue_many([job(2, 2) for _ in range(200)])

    work(classed, threads=2)

    until(lambda: order.count(0) + order.count(1) == 2 * low, within_s=60)
    in_hands = 4 + 2
    for priority in (0, 1):
        places = [place for place, one in enumerate(order) if one == priority]
        gaps = [b - a for a, b in pairwise(places)]
        assert places[0] <= 2 * SHARE + in_hands
        assert max(gaps) <= 2 * SHARE + in_hands
    assert order.count(2) > 4 * low
    classed.flush("default")


def test_an_idle_worker_gets_each_class_at_once(make_broker, work):
    """Also where it has fewer threads than there are classes."""
    broker = make_broker(max_priority=9)
    seen = []
    dramatiq.actor(
        lambda what: seen.append(time.monotonic()), actor_name="note", broker=broker
    )
    work(broker, threads=1)
    broker.enqueue(job(0))
    until(lambda: seen)

    began = time.monotonic()
    for n in range(30):
        broker.enqueue(job(n, n // 3))
        until(lambda n=n: len(seen) == n + 2)

    # Far less than one look a second for each.
    assert time.monotonic() - began < 10


def test_counts_join_and_flush_cover_all_classes(classed, work):
    for priority in (None, 0, 1, 2):
        classed.enqueue(job(0, priority))
    classed.enqueue(job(0, 2), delay=60_000)

    assert classed.stored("default") == {"": 4}
    assert classed.get_queue_message_counts("default") == (4, 1, 0)
    figures = classed.figures("default")
    assert (figures.ready, figures.delayed) == (4, 1)
    assert figures.oldest_s > 0

    classed.flush("default")
    assert classed.get_queue_message_counts("default") == (0, 0, 0)


def test_a_delayed_message_keeps_its_class(classed):
    classed.enqueue(job(0, 2), delay=100)
    stream = classed._topology.settings.namespace

    found = until(lambda: by_subject(classed, stream, f"{stream}.q.>"))

    assert found == {f"{stream}.q.default.p2": 1}


def test_a_failed_message_is_retried_in_its_class_and_then_dead(make_broker, work):
    broker = make_broker(
        middleware=[Retries(max_retries=1, min_backoff=1, max_backoff=1)],
        namespace="failing",
        max_priority=2,
    )
    broker.flush("failing")
    subjects = []

    @dramatiq.actor(
        actor_name="note", queue_name="failing", broker=broker, broker_priority=1
    )
    def note(what):
        subjects.append(by_subject(broker, "failing", "failing.q.>"))
        raise ValueError

    work(broker)
    broker.enqueue(job(0, queue="failing"))

    broker.join("failing", timeout=10_000)
    assert [set(found) for found in subjects] == [{"failing.q.failing.p1"}] * 2
    assert broker.get_queue_message_counts("failing") == (0, 0, 1)


@pytest.mark.parametrize("priority", [3, -1, "2", 1.0, True])
def test_a_priority_that_there_is_not_is_refused(classed, priority):
    with pytest.raises(ValueError, match="priorities from 0 to 2"):
        classed.enqueue(job(0, priority))
    with pytest.raises(ValueError, match="priorities from 0 to 2"):
        classed.enqueue_many([job(0), job(0, priority)])

    assert classed.stored("default") == {"": 0}


def test_without_classes_the_option_changes_nothing(make_broker, work):
    broker = make_broker()
    seen = []
    dramatiq.actor(seen.append, actor_name="note", broker=broker)
    work(broker)

    broker.enqueue(job(7, 7))

    broker.join("default", timeout=5000)
    stream, link = broker._topology.settings.namespace, broker._connection.link()
    consumers = link.run(link.api(f"CONSUMER.NAMES.{stream}"))["consumers"]
    assert (seen, consumers) == ([7], ["default"])


def test_a_route_gets_classes_and_keeps_its_old_messages(make_broker, work):
    """What was stored before there were classes is of class 0."""
    old = make_broker(routes=[Route("jobs", "classes", "classes.jobs")])
    old.enqueue(job("old", queue="jobs"))
    new = make_broker(routes=[Route("jobs", "classes", "classes.jobs", max_priority=1)])
    seen = []
    dramatiq.actor(seen.append, actor_name="note", queue_name="jobs", broker=new)

    new.enqueue(job("new", 1, queue="jobs"))
    work(new)

    new.join("jobs", timeout=5000)
    assert sorted(seen) == ["new", "old"]


def test_vanished_consumers_are_made_again(classed, seen, work):
    work(classed)
    classed.enqueue(job(1, 1))
    until(lambda: seen == [1])
    stream, link = classed._topology.settings.namespace, classed._connection.link()

    link.run(link.api(f"STREAM.DELETE.{stream}"))

    for priority in (0, 1, 2):
        classed.enqueue(job(priority, priority))
    until(lambda: sorted(seen) == [0, 1, 1, 2])


def test_a_server_that_was_away_is_asked_again(server, classed, seen, work):
    work(classed)
    classed.enqueue(job(1, 1))
    until(lambda: seen == [1])
    classed.join("default", timeout=10_000)

    server.kill()
    server.start()

    for priority in (0, 1, 2):
        classed.enqueue(job(priority, priority))
    until(lambda: sorted(seen) == [0, 1, 1, 2], within_s=30)


@pytest.mark.parametrize(
    "options",
    [
        {"max_priority": 10},
        {"max_priority": 0},
        {"max_priority": 3, "max_in_flight": 3},
        {"max_priority": 3, "consumer_filter": "a.>"},
    ],
)
def test_classes_that_cannot_be_are_refused_at_once(options):
    with pytest.raises(ValueError, match=r"max_priority|max_in_flight|subjects"):
        Route("a", "a", "a.b", **options)


def test_a_queue_of_many_tenants_has_no_classes():
    with pytest.raises(ValueError, match="subjects"):
        Route("a", "a", "a.{tenant}", max_priority=3)


def test_a_batched_actor_gets_the_higher_ones_first(classed, work):
    calls = []

    @dramatiq.actor(actor_name="note", broker=classed, batch_size=20)
    def note(messages):
        calls.append([message.args[0] for message in messages])

    for priority in (0, 2):
        classed.enqueue_many([job(priority, priority) for _ in range(100)])

    work(classed, threads=1)

    classed.join("default", timeout=10_000)
    assert sum(len(call) for call in calls) == 200
    assert calls[0].count(2) >= 20 * (SHARE - 1) // SHARE
