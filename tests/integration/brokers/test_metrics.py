"""What Prometheus reads is what happened, in one process and in several."""

import os
import subprocess
import sys

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.middleware import Middleware, MiddlewareError, Retries, SkipMessage
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from brokers import JetStreamBroker, Route, current_delivery
from brokers.metrics import Metrics, QueueCollector, by_backlog, served
from tests.integration.brokers.conftest import until


def scraped(registry):
    """Return what a scrape finds: values by name and the labels' values."""
    text = generate_latest(registry).decode()
    return {
        (sample.name.removeprefix("dramatiq_nats_"), *sample.labels.values()): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Skipping(Middleware):
    """Skips or refuses what asks for it."""

    def before_process_message(self, broker, message):
        if message.options.get("skip"):
            raise SkipMessage
        if message.options.get("refuse"):
            raise MiddlewareError


def test_jobs_and_publishing_are_counted_and_timed(make_broker, work):
    """Each end of a job has its counter; a redelivery is told from a retry."""
    registry = CollectorRegistry()
    retries = Retries(max_retries=1, min_backoff=1, max_backoff=1)
    broker = make_broker(middleware=[retries, Skipping(), Metrics(registry)])

    @dramatiq.actor(actor_name="work", broker=broker)
    def actor(what):
        if what == "fail":
            raise ValueError
        if what == "again" and current_delivery().deliveries == 1:
            current_delivery().postpone(0)

    for what in ("do", "do", "fail", "again"):
        broker.enqueue(Message("default", "work", (what,), {}, {}))
    for wish in ("skip", "refuse"):
        options = {wish: True, "max_retries": 0}
        broker.enqueue(Message("default", "work", ("do",), {}, options))
    work(broker)
    broker.join("default", timeout=10_000)

    # Labels come in the order of their names: actor, queue.
    job = ("work", "default")
    until(lambda: scraped(registry).get(("jobs_skipped_total", *job)))
    until(lambda: scraped(registry).get(("jobs_failed_total", *job)) == 3)
    found = scraped(registry)
    assert found["jobs_processed_total", *job] == 7
    assert found["jobs_failed_total", *job] == 3
    assert found["jobs_retried_total", *job] == 1
    assert found["jobs_redelivered_total", *job] == 1
    assert found["job_seconds_count", *job] == 6
    assert found["publish_seconds_count", "default"] == 7
    assert 0 < found["publish_seconds_sum", "default"] < 60


def test_queues_are_looked_at_when_scraped(make_broker, broker):
    """Tenants are told by class, so that their number does not matter."""
    route = Route("t", "collected", "collected.{tenant}.x")
    broker = make_broker(routes=[route])
    registry = CollectorRegistry()
    registry.register(QueueCollector(broker, queues=["t"]))
    empty = scraped(registry)
    messages = [("big", 12), ("ann", 1), ("bob", 2)]
    for tenant, count in messages:
        one = Message("t", "work", (), {}, {"tenant": tenant})
        broker.enqueue_many([one] * count)
    broker.enqueue(Message("t", "work", (), {}, {"tenant": "ann"}), delay=60_000)

    found = scraped(registry)

    assert (empty["up",], empty["queue_ready", "t"]) == (1, 0)
    assert (found["queue_ready", "t"], found["queue_delayed", "t"]) == (15, 1)
    assert (found["queue_in_flight", "t"], found["queue_tenants", "t"]) == (0, 3)
    assert found["queue_oldest_seconds", "t"] > 0
    assert found["tenant_tenants", "t", "small"] == 2
    assert found["tenant_stored", "t", "medium"] == 12
    assert found["tenant_oldest_seconds", "t", "small"] > 0
    assert ("tenant_tenants", "t", "large") not in found


@pytest.mark.parametrize(
    ("stored", "name"),
    [(10, "small"), (11, "medium"), (1000, "medium"), (1001, "large")],
)
def test_a_tenants_class_is_the_length_of_its_backlog(stored, name):
    assert by_backlog("any", stored) == name


def test_a_scrape_without_a_server_says_so():
    """Other metrics of the same page are still told."""
    broker = JetStreamBroker("nats://127.0.0.1:1", publish_timeout_s=0.1)
    registry = CollectorRegistry()
    registry.register(QueueCollector(broker, queues=["default"]))

    assert scraped(registry) == {("up",): 0}

    broker.close()


#: A parent that makes the broker, two children that work, and a scrape of all.
FORKING = """
import os, sys
import dramatiq
from dramatiq import Message, Worker
from prometheus_client import generate_latest
from brokers import JetStreamBroker
from brokers.metrics import Metrics, served

url = sys.argv[1]
children = []
broker = JetStreamBroker(url, namespace="forking", middleware=[Metrics()])
dramatiq.actor(lambda: None, actor_name="work", broker=broker)
for _ in range(2):
    child = os.fork()
    if not child:
        broker.enqueue_many([Message("default", "work", (), {}, {})] * 5)
        worker = Worker(broker, worker_threads=1, worker_timeout=50)
        worker.start()
        broker.join("default")
        worker.stop()
        broker.close()
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
sys.stdout.buffer.write(generate_latest(served()))
"""


def test_forked_processes_are_counted_together(server, tmp_path):
    """As Dramatiq's command line forks its workers."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", FORKING, server.url],
        check=True, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    lines = done.stdout.splitlines()
    labels = '{actor="work",queue="default"}'
    assert f"dramatiq_nats_jobs_processed_total{labels} 10.0" in lines
    assert 'dramatiq_nats_publish_seconds_count{queue="default"} 10.0' in lines


def test_a_process_alone_serves_its_own_registry():
    registry = CollectorRegistry()

    assert served(registry) is registry
