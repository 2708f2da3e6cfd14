"""What tenants are given: weights, caps, turns at once, and consumers while needed."""

import itertools
import logging
import threading
from collections import Counter

import dramatiq
import pytest
from dramatiq import Message

from brokers import Route, TenantShare, current_delivery
from tests.integration.brokers.conftest import until

_streams = itertools.count()


@pytest.fixture
def tenants(make_broker):
    """Return brokers that share one route by tenant; its policy is `shares`."""
    name, shares = f"tenants{next(_streams)}", {}
    route = Route(
        "chunk",
        name,
        f"{name}.user.{{tenant}}.chunk",
        consumer="user-{tenant}",
        tenants=lambda tenant: shares.get(tenant, TenantShare()),
    )

    def make(**options):
        return make_broker(routes=[route], **options)

    make.shares = shares
    make.stream = name
    return make


def actor(broker, work):
    dramatiq.actor(work, actor_name="note", queue_name="chunk", broker=broker)
    return broker


def jobs(tenant, count):
    return [
        Message("chunk", "note", (tenant, n), {}, {"tenant": tenant})
        for n in range(count)
    ]


def asked(broker, path, body=None):
    link = broker._connected_link()
    return link.run(link.api(path, body))


def consumers(broker, stream):
    found = asked(broker, f"CONSUMER.LIST.{stream}", {})["consumers"] or []
    return {one["name"]: one for one in found}


def test_small_tenants_are_done_before_a_hundredth_of_the_large_one(tenants, work):
    """Two workers share; 30,000 were stored before 99 times 10."""
    order = []
    publisher = tenants()
    publisher.enqueue_many(jobs("big", 30_000))
    publisher.enqueue_many([job for n in range(99) for job in jobs(f"small-{n}", 10)])

    workers = [actor(tenants(), lambda tenant, n: order.append(tenant)) for _ in "ab"]
    for broker in workers:
        work(broker)

    until(lambda: len(order) - order.count("big") == 990, within_s=60)
    last = max(n for n, tenant in enumerate(order) if tenant != "big")
    assert order[:last].count("big") <= 300
    publisher.flush("chunk")


def test_a_tenant_gets_turns_by_its_weight(tenants, work):
    order = []
    tenants.shares["heavy"] = TenantShare(weight=4)
    broker = tenants()
    for tenant in ("light", "heavy", "plain"):
        broker.enqueue_many(jobs(tenant, 1500))

    work(actor(broker, lambda tenant, n: order.append(tenant)), threads=2)
    until(lambda: len(order) >= 1200)

    got = Counter(order[:1200])
    assert got["heavy"] == pytest.approx(800, rel=0.15)
    assert got["light"] == pytest.approx(200, rel=0.4)
    broker.flush("chunk")


def test_a_cap_holds_over_all_workers_and_follows_its_policy(tenants, work):
    """Two workers with a thread for each message; the policy changes meanwhile."""
    running, most, go_on = [], [], threading.Event()
    tenants.shares["capped"] = TenantShare(cap=3)

    def job(tenant, n):
        running.append(tenant)
        most.append(running.count("capped"))
        go_on.wait(60)
        running.remove(tenant)

    first, second = actor(tenants(), job), actor(tenants(), job)
    first.enqueue_many(jobs("capped", 40))
    work(first, threads=8)
    work(second, threads=8)
    until(lambda: running.count("capped") == 3)
    first.enqueue_many(jobs("free", 2))
    until(lambda: running.count("free") == 2)
    assert max(most) == 3

    tenants.shares["capped"] = TenantShare(cap=5)

    until(lambda: running.count("capped") == 5)
    known = consumers(first, tenants.stream)["user-capped"]
    assert (known["num_ack_pending"], known["config"]["max_ack_pending"]) == (5, 5)
    go_on.set()
    first.join("chunk", timeout=30_000)
    assert max(most) == 5


def test_a_cap_of_one_does_not_wait_for_looks(tenants, work):
    """The place that a settled message leaves is taken at once."""
    done = []
    tenants.shares["a"] = TenantShare(cap=1)
    broker = actor(tenants(), lambda tenant, n: done.append(n))
    broker.enqueue_many(jobs("a", 60))

    work(broker)

    # By looks alone it would be 60 times 0.25 s.
    until(lambda: len(done) == 60, within_s=10)
    assert done == list(range(60))


def test_a_postponed_message_holds_its_place_under_the_cap(tenants, work):
    order = []
    tenants.shares["a"] = TenantShare(cap=1)

    def job(tenant, n):
        order.append(n)
        if order == [0]:
            current_delivery().postpone(0.5)

    broker = actor(tenants(), job)
    broker.enqueue_many(jobs("a", 3))

    work(broker)

    broker.join("chunk", timeout=20_000)
    assert order == [0, 0, 1, 2]


def test_a_policy_that_fails_stops_nobody(tenants, work, caplog):
    done = []
    tenants.shares["odd"] = {"weight": 2}
    broker = actor(tenants(), lambda tenant, n: done.append(tenant))

    with caplog.at_level(logging.ERROR):
        broker.enqueue_many([*jobs("odd", 2), *jobs("even", 2)])
        work(broker)
        broker.join("chunk", timeout=20_000)

    assert sorted(done) == ["even", "even", "odd", "odd"]
    assert "A policy returns a TenantShare" in caplog.text


def test_an_idle_tenants_consumer_goes_and_comes_back(tenants, work):
    done = []
    broker = actor(tenants(idle_tenant_s=0.5), lambda tenant, n: done.append(tenant))
    other = tenants()
    work(broker)
    other.enqueue_many(jobs("a", 3))
    until(lambda: len(done) == 3)
    assert list(consumers(other, tenants.stream)) == ["user-a"]

    until(lambda: not consumers(other, tenants.stream))
    other.enqueue_many([*jobs("a", 5), *jobs("b", 1)])

    until(lambda: sorted(done) == ["a"] * 8 + ["b"])
    broker.join("chunk", timeout=20_000)


def test_anothers_message_is_heard_of_at_once(tenants, work, monkeypatch):
    """There is no look that could have found it."""
    monkeypatch.setattr("brokers.ring.LOOK_S", (60.0, 60.0))
    done = []
    broker = actor(tenants(), lambda tenant, n: done.append(tenant))
    work(broker)
    until(lambda: broker._rings)

    for tenant in "abc":
        tenants().enqueue(jobs(tenant, 1)[0])

    until(lambda: sorted(done) == ["a", "b", "c"])


def test_who_hears_too_much_rests_and_listens_again(tenants, work, monkeypatch):
    monkeypatch.setattr("brokers.wakes.MOST_PER_S", 5)
    monkeypatch.setattr("brokers.wakes.REST_S", 1)
    done = []
    broker = actor(tenants(), lambda tenant, n: done.append(tenant))
    work(broker)
    _, ring = until(lambda: broker._rings.get("chunk"))

    tenants().enqueue_many([job for n in range(50) for job in jobs(f"t{n}", 1)])

    until(lambda: not ring._wakes._listening)
    until(lambda: len(done) == 50)
    until(lambda: ring._wakes._listening)


def test_a_stream_of_before_is_given_what_it_lacks(tenants, work):
    """It was made before streams republished anything."""
    broker = tenants()
    subjects = [f"{tenants.stream}.user.*.chunk"]
    old = {"name": tenants.stream, "subjects": subjects, "retention": "workqueue"}
    asked(broker, f"STREAM.CREATE.{tenants.stream}", old)

    broker.enqueue_many(jobs("a", 1))

    config = asked(broker, f"STREAM.INFO.{tenants.stream}")["config"]
    assert config["republish"]["headers_only"]
    assert config["republish"]["dest"] == f"wake.{tenants.stream}.>"
