"""Each tenant gets its turn."""

import itertools

import dramatiq
import pytest
from dramatiq import Message

from brokers import Route
from tests.integration.brokers.conftest import until

_streams = itertools.count()


@pytest.fixture
def routed(make_broker):
    name = f"ring{next(_streams)}"
    route = Route(
        "chunk",
        name,
        f"{name}.user.{{tenant}}.chunk",
        consumer="user-{tenant}",
        consumer_filter=f"{name}.user.{{tenant}}.>",
    )
    return make_broker(routes=[route])


def job(tenant, n=0):
    return Message("chunk", "note", (tenant, n), {}, {"tenant": tenant})


def test_a_backlog_is_in_nobodys_way(routed, work):
    """Fifty small tenants finish early behind one with 2000 messages."""
    order = []
    dramatiq.actor(
        lambda tenant, n: order.append(tenant),
        actor_name="note",
        queue_name="chunk",
        broker=routed,
    )
    small = [f"small-{i}" for i in range(50)]
    routed.enqueue_many([job("big", n) for n in range(2000)])
    routed.enqueue_many([job(t, n) for n in range(5) for t in small])

    work(routed, threads=4)

    routed.join("chunk", timeout=20_000)
    assert len(order) == 2250
    last_small = max(i for i, tenant in enumerate(order) if tenant != "big")
    assert order[:last_small].count("big") < 300


def test_stored_messages_are_counted_by_tenant(routed):
    routed.enqueue_many([job("a"), job("a"), job("b")], atomic=True)

    assert routed.stored("chunk") == {"a": 2, "b": 1}


def test_a_tenants_delayed_message_is_found_when_due(routed, work):
    done = []
    dramatiq.actor(
        lambda tenant, n: done.append(n),
        actor_name="note",
        queue_name="chunk",
        broker=routed,
    )
    work(routed)

    routed.enqueue(job("a", 7), delay=300)

    until(lambda: done == [7])
