"""Tenants spread over several streams, and what a changed number leaves behind."""

import itertools
from base64 import b64decode

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.middleware import Retries

from brokers import Route
from tests.integration.brokers.conftest import until

_streams = itertools.count()
TENANTS = [f"t{n}" for n in range(20)]


@pytest.fixture
def spread(make_broker):
    """Return brokers that spread one queue over so many shards."""
    name = f"spread{next(_streams)}"

    def make(shards, **options):
        route = Route("chunk", name, f"{name}.user.{{tenant}}", shards=shards)
        return make_broker(routes=[route], **options)

    make.stream = name
    return make


def job(tenant, n=0):
    return Message("chunk", "note", (tenant, n), {}, {"tenant": tenant})


def noting(broker, done):
    dramatiq.actor(
        lambda tenant, n: done.append(tenant),
        actor_name="note",
        queue_name="chunk",
        broker=broker,
    )
    return broker


def streams(broker, name):
    link = broker._connected_link()
    found = link.run(link.api("STREAM.LIST", {}))["streams"]
    named = {one["config"]["name"]: one for one in found}
    return {key: one for key, one in named.items() if key.startswith(f"{name}-")}


def test_every_tenant_is_served_from_its_shard(spread, work):
    broker, done = spread(4), []
    broker.enqueue_many([job(tenant) for tenant in TENANTS], atomic=True)

    found = streams(broker, spread.stream)
    assert set(found) == {f"{spread.stream}-{n}" for n in range(4)}
    assert all(one["state"]["messages"] for one in found.values())
    work(noting(broker, done))

    broker.join("chunk", timeout=20_000)
    assert sorted(done) == sorted(TENANTS)


def test_all_shards_are_counted_and_flushed(spread):
    broker = spread(3)
    broker.enqueue_many([job(tenant) for tenant in TENANTS])
    for tenant in TENANTS[:6]:
        broker.enqueue(job(tenant), delay=60_000)

    assert broker.stored("chunk") == dict.fromkeys(TENANTS, 1)
    assert broker.get_queue_message_counts("chunk") == (20, 6, 0)
    figures = broker.figures("chunk", tenant_class=lambda tenant, count: "all")
    assert (figures.ready, figures.delayed, figures.tenants) == (20, 6, 20)
    assert figures.classes["all"].stored == 20
    broker.flush("chunk")
    assert broker.get_queue_message_counts("chunk") == (0, 0, 0)


def test_delayed_and_dead_messages_stay_their_shards(spread, work):
    """The delay returns to its own stream; the letter tells which one it was."""
    broker = spread(3, middleware=[Retries(max_retries=0)])

    @dramatiq.actor(actor_name="note", queue_name="chunk", broker=broker)
    def note(tenant, n):
        raise ValueError(tenant)

    broker.enqueue(job("t0"), delay=200)
    (stream,) = streams(broker, spread.stream)
    work(broker)

    until(lambda: broker.get_queue_message_counts("chunk") == (0, 0, 1))
    link = broker._connected_link()
    letter = link.run(
        link.api("STREAM.MSG.GET.dead-letters", {"last_by_subj": "dead.chunk"})
    )
    headers = b64decode(letter["message"]["hdrs"]).decode()
    assert f"Dead-Stream: {stream}\r\n" in headers


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (3, 2), (2, 3)])
def test_a_changed_number_leaves_nothing_behind(spread, work, before, after):
    """What was stored under the old number is counted and worked off, once."""
    spread(before).enqueue_many([job(tenant, 0) for tenant in TENANTS])
    broker, done = spread(after), []
    broker.enqueue_many([job(tenant, 1) for tenant in TENANTS])
    assert broker.stored("chunk") == dict.fromkeys(TENANTS, 2)

    work(noting(broker, done))

    broker.join("chunk", timeout=20_000)
    assert sorted(done) == sorted(TENANTS * 2)


def test_a_job_is_unique_within_its_shard(spread, work):
    """The lock lies beside its job, and goes with it."""
    broker, done = spread(3), []
    once = [job(tenant).copy(options={"unique_for": 60_000}) for tenant in TENANTS[:6]]

    for message in [*once, *once]:
        broker.enqueue(message.copy())
    assert broker.stored("chunk") == dict.fromkeys(TENANTS[:6], 1)
    work(noting(broker, done))
    broker.join("chunk", timeout=20_000)

    assert sorted(done) == TENANTS[:6]
    until(
        lambda: (
            not any(
                one["state"]["messages"]
                for one in streams(broker, spread.stream).values()
            )
        )
    )
