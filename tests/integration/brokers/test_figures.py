"""What the server tells of a queue is what its workers and tenants see."""

import threading

import dramatiq
from dramatiq import Message

from brokers import QueueFigures, Route
from tests.integration.brokers.conftest import until


def by_size(tenant, stored):
    return "large" if stored > 1 else "small"


def test_a_queue_that_was_never_used_holds_nothing(broker):
    assert broker.figures("unused") == QueueFigures("unused")
    assert broker._topology.is_ready(broker._topology.settings.namespace) is False


def test_ready_delayed_and_in_flight_are_counted(broker, work):
    """Rates are of what moved between two looks."""
    go_on = threading.Event()
    dramatiq.actor(lambda n: go_on.wait(20), actor_name="wait", broker=broker)
    for n in range(30):
        broker.enqueue(Message("default", "wait", (n,), {}, {}))
    for _ in range(3):
        broker.enqueue(Message("default", "wait", (0,), {}, {}), delay=60_000)
    idle = broker.figures("default")
    assert (idle.ready, idle.in_flight, idle.delayed) == (30, 0, 3)
    assert 0 < idle.oldest_s < 60

    work(broker, threads=2)

    held = until(lambda: (it := broker.figures("default")).in_flight == 4 and it)
    assert held.ready == 26
    go_on.set()
    done = until(lambda: (it := broker.figures("default")).ready == 0 and it)
    until(lambda: broker.stored("default") == {"": 0})
    after = broker.figures("default")
    assert (after.in_flight, after.oldest_s) == (0, 0.0)
    assert after.rates_since(held, 2.0) == (0.0, 15.0)
    assert done.queue == "default"


def test_tenants_are_counted_and_classed(make_broker, work):
    """Neither another queue's consumers in the stream nor its tenants count."""
    routes = [
        Route("t", "figures", "figures.{tenant}.x"),
        Route("u", "figures", "figures.{tenant}.y"),
    ]
    broker = make_broker(routes=routes)
    go_on = threading.Event()
    for queue in ("t", "u"):
        dramatiq.actor(
            lambda: go_on.wait(20), actor_name=queue, queue_name=queue, broker=broker
        )
    for queue, tenants in (("t", "aab"), ("u", "ccc")):
        for one in tenants:
            broker.enqueue(Message(queue, queue, (), {}, {"tenant": one}))

    work(broker, threads=6)

    found = until(
        lambda: (it := broker.figures("t", tenant_class=by_size)).in_flight == 3 and it
    )
    assert (found.tenants, found.ready, len(found.settled)) == (2, 0, 2)
    classes = {name: (it.tenants, it.stored) for name, it in found.classes.items()}
    assert classes == {"large": (1, 2), "small": (1, 1)}
    assert all(it.oldest_s > 0 for it in found.classes.values())
    go_on.set()
    broker.join("t", timeout=5000)
    broker.join("u", timeout=5000)
