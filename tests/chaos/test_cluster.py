"""One node of three may die or freeze at any time: it costs seconds, no message.

Each case prints how long nothing was stored, and how long nothing was worked on.
"""

import time

import dramatiq
import pytest
from dramatiq import Message, Worker

from tests.chaos.cluster_actors import STREAM, cluster_broker
from tests.chaos.cluster_load import Load, longest_gap_s
from tests.chaos.house import until
from tests.chaos.nats_cluster import NatsCluster

#: How long a node is frozen: much longer than the others need to elect.
FROZEN_S = 20.0
#: So many messages show that the cluster serves.
SERVES = 600
#: Messages that are stored, then worked on, as fast as it goes.
MANY = 10_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = NatsCluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        broker = cluster_broker(cluster.urls)
        broker.enqueue(Message("default", "plain", (0,), {}, {}))
        broker.close()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def leader(cluster):
    cluster.wait_until_current()
    return cluster.leader_of(STREAM)


@pytest.fixture
def load(cluster, leader, tmp_path, request):
    """Publishers that are connected to the leader, or with `False` to another node."""
    others = [node for node in cluster.nodes if node is not leader]
    first = leader if getattr(request, "param", True) else others[0]
    load = Load(cluster, tmp_path, first)
    try:
        load.workers.start()
        yield load
    finally:
        load.stop()


@pytest.fixture
def say(capsys, request):
    """Print a line also where the test passes."""

    def write(text):
        with capsys.disabled():
            print(f"\n{request.node.name}: {text}")  # noqa: T201 - as asked for

    return write


def serve(load):
    """Wait until messages are stored and worked on."""
    stored, done = len(load.stored), len(load.done())
    until(lambda: len(load.stored) > stored + SERVES, "publishes go on")
    until(lambda: len(load.done()) > done + SERVES, "jobs go on")


def assert_nothing_lost(load):
    """All that was acknowledged is worked on once; no publish was given up."""
    until(lambda: not load.missing(), "all that was stored is worked on")
    done = [number for number, _ in load.journal.lines("done")]
    assert len(done) == len(set(done))
    assert load.refused == []


def outage(load, at):
    """Return what the fault at that time cost."""
    publishes = longest_gap_s(load.stored.values(), after=at)
    jobs = longest_gap_s(load.done().values(), after=at)
    again = len(load.journal.lines("repeated"))
    return (
        f"no publish for {publishes:.1f} s, no job for {jobs:.1f} s; "
        f"{len(load.stored)} stored, {again} delivered again"
    )


@pytest.mark.parametrize("load", [True, False], ids=["lost", "kept"], indirect=True)
def test_a_killed_leader(leader, load, say):
    """With the publishers' connection lost, and with it kept to another node."""
    with load.running():
        serve(load)
        at = time.monotonic()

        leader.kill()

        serve(load)
        leader.start()
        serve(load)
    assert_nothing_lost(load)
    say(outage(load, at))


def test_a_frozen_leader(leader, load, say):
    """Its connections stay open and silent; awake again it must not lead on."""
    with load.running():
        serve(load)
        at = time.monotonic()

        leader.pause()

        try:
            serve(load)
            until(lambda: time.monotonic() - at > FROZEN_S, "it stays frozen")
        finally:
            leader.resume()
        serve(load)
    assert_nothing_lost(load)
    say(outage(load, at))


def test_a_rolling_restart(cluster, load, say):
    """One after the other, each once all are current again."""
    with load.running():
        serve(load)
        at = time.monotonic()

        for node in cluster.nodes:
            node.restart()
            cluster.wait_until_current()

        serve(load)
    assert_nothing_lost(load)
    say(outage(load, at))


def test_a_stream_gets_more_copies_when_they_are_asked_for(cluster):
    """Also where tenants have consumers from before, which lived in memory."""
    done = []
    for replicas in (1, 3):
        broker = cluster_broker(cluster.urls, stream="grown", replicas=replicas)
        dramatiq.actor(
            done.append, actor_name="tenants", queue_name="tenants", broker=broker
        )
        worker = Worker(broker, worker_timeout=100)
        worker.start()

        message = Message("tenants", "tenants", (replicas,), {}, {"tenant": "a"})
        broker.enqueue(message)

        until(lambda one=replicas: one in done, "the tenant is served")
        worker.stop()
        broker.close()
    cluster.wait_until_current()
    grown = cluster.nodes[0].streams()["grown-tenants"]
    assert len(grown["cluster"]["replicas"]) == 2


def test_how_fast_it_is_without_faults(load, say):
    """Nothing waits in the workers' hands while messages are stored."""
    load.workers.stop()
    took_s = load.store(MANY)

    load.workers.start()

    assert_nothing_lost(load)
    times = load.done().values()
    say(
        f"{MANY / took_s:.0f} durable publishes/s, "
        f"{MANY / (max(times) - min(times)):.0f} jobs/s, each stored three times"
    )
