"""Metrics of jobs and queues for Prometheus, by those who add them.

Needs `prometheus-client`; nothing else of this package imports it. `Metrics` counts
what its own process does, `QueueCollector` asks the server about all. Where processes
fork, set `PROMETHEUS_MULTIPROC_DIR` before they start, and serve `served`.
"""

import logging
import os
import threading
import time
from collections.abc import Iterable
from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.errors import BrokerError
from dramatiq.message import Message
from dramatiq.middleware import Middleware
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from brokers.delivery import delivery_of
from brokers.figures import QueueFigures, StoreFigures, TenantClass
from brokers.jetstream import JetStreamBroker

_PUBLISH_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 10)
_JOB_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600)
#: Up to so many messages a tenant's backlog is small, or medium.
SMALL, MEDIUM = 10, 1000
_BY_QUEUE = {
    "ready": "Messages that no worker has.",
    "in_flight": "Messages that workers have.",
    "redelivered": "Messages in flight that were delivered before.",
    "delayed": "Messages that wait for their time.",
    "dead": "Dead letters.",
    "tenants": "Tenants with messages.",
    "oldest_s": "Age of the oldest message, in seconds: the lag.",
}
_BY_CLASS = {
    "tenants": "Tenants of the class with messages.",
    "stored": "Messages of the class, in flight or not.",
    "oldest_s": "Age of the oldest message of the class, in seconds: the lag.",
}

_log = logging.getLogger(__name__)


class Metrics(Middleware):
    """Counts and times the jobs and the publishing of this process.

    Put it last, so that its times leave out the other middleware's own work.

    Args:
        registry: Where the metrics are registered, once in a process.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        def counter(name: str, text: str) -> Counter:
            labels = ("queue", "actor")
            return Counter(f"dramatiq_nats_{name}", text, labels, registry=registry)

        self._processed = counter("jobs_processed", "Jobs that ended, failed or not.")
        self._failed = counter("jobs_failed", "Jobs that raised.")
        self._skipped = counter("jobs_skipped", "Jobs that middleware skipped.")
        self._retried = counter("jobs_retried", "Jobs enqueued to be tried again.")
        self._redelivered = counter("jobs_redelivered", "Jobs delivered before.")
        self._job_seconds = Histogram(
            "dramatiq_nats_job_seconds",
            "Seconds from the actor's begin to its end.",
            ("queue", "actor"),
            buckets=_JOB_S,
            registry=registry,
        )
        self._publish_seconds = Histogram(
            "dramatiq_nats_publish_seconds",
            "Seconds until the server had stored a message, or its page of messages.",
            ("queue",),
            buckets=_PUBLISH_S,
            registry=registry,
        )
        self._times = threading.local()
        # Looking a label up costs more than counting.
        self._known: dict[tuple[str, str], tuple[Histogram, Counter]] = {}

    def before_enqueue(
        self, broker: Broker, message: Message[Any], delay: int | None
    ) -> None:
        """Note when this thread began to store."""
        self._times.storing = time.perf_counter()

    def after_enqueue(
        self, broker: Broker, message: Message[Any], delay: int | None
    ) -> None:
        """Observe how long it took."""
        took_s = time.perf_counter() - self._times.storing
        self._publish_seconds.labels(message.queue_name).observe(took_s)
        if "retries" in message.options:
            self._retried.labels(message.queue_name, message.actor_name).inc()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Note when this thread's job began."""
        self._times.job = time.perf_counter()
        delivery = delivery_of(message)
        if delivery is not None and delivery.deliveries > 1:
            self._redelivered.labels(message.queue_name, message.actor_name).inc()

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """Count the job, and observe how long it took."""
        job_seconds, processed = self._ended(message.queue_name, message.actor_name)
        # Missing where another middleware refused the message before us.
        began = self._times.__dict__.pop("job", None)
        if began is not None:
            job_seconds.observe(time.perf_counter() - began)
        processed.inc()
        if exception is not None:
            self._failed.labels(message.queue_name, message.actor_name).inc()

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Count the job as skipped."""
        self._skipped.labels(message.queue_name, message.actor_name).inc()

    def _ended(self, queue: str, actor: str) -> tuple[Histogram, Counter]:
        known = self._known.get((queue, actor))
        if known is None:
            labels = (queue, actor)
            known = self._job_seconds.labels(*labels), self._processed.labels(*labels)
            self._known[labels] = known
        return known


def by_backlog(tenant: str, stored: int) -> str:  # noqa: ARG001 - another class may look at the name
    """Return a tenant's class by how many messages it has: a small one shall not wait.

    Three classes, however many tenants there are.
    """
    if stored <= SMALL:
        return "small"
    return "medium" if stored <= MEDIUM else "large"


class QueueCollector(Collector):
    """Asks the server about the queues whenever it is scraped; register it once.

    In a cluster of processes one is enough: all would tell the same. Where the server
    does not answer, `dramatiq_nats_up` is 0 and nothing is said of the queues.

    Args:
        broker: Asks the server.
        queues: Which queues; none for those declared when it is scraped.
        tenant_class: Names a tenant's class; each class becomes a label's value, so
            there should be few.
    """

    def __init__(
        self,
        broker: JetStreamBroker,
        *,
        queues: Iterable[str] | None = None,
        tenant_class: TenantClass = by_backlog,
    ) -> None:
        self._broker = broker
        self._queues = None if queues is None else tuple(queues)
        self._tenant_class = tenant_class

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering asks nobody."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the figures of all queues."""
        try:
            found, store = self._look()
        except BrokerError as error:
            _log.warning("The queues cannot be looked at: %s", error)
            found, store = [], None
        up = GaugeMetricFamily("dramatiq_nats_up", "Whether the server answers.")
        up.add_metric((), float(store is not None))
        yield up
        yield from _by_queue(found)
        yield from _by_class(found)
        if store is not None:
            yield from _of_store(store)

    def _look(self) -> tuple[list[QueueFigures], StoreFigures]:
        queues = self._queues or sorted(self._broker.get_declared_queues())
        found = [
            self._broker.figures(queue, tenant_class=self._tenant_class)
            for queue in queues
        ]
        return found, self._broker.store_figures()


def _by_queue(found: Iterable[QueueFigures]) -> Iterable[Metric]:
    for name, text in _BY_QUEUE.items():
        family = GaugeMetricFamily(_named("queue", name), text, labels=("queue",))
        for one in found:
            family.add_metric((one.queue,), getattr(one, name))
        yield family


def _by_class(found: Iterable[QueueFigures]) -> Iterable[Metric]:
    for name, text in _BY_CLASS.items():
        labels = ("queue", "tenant_class")
        family = GaugeMetricFamily(_named("tenant", name), text, labels=labels)
        for one in found:
            for tenant_class, figures in one.classes.items():
                family.add_metric((one.queue, tenant_class), getattr(figures, name))
        yield family


def _of_store(store: StoreFigures) -> Iterable[Metric]:
    text = "Bytes that JetStream holds on disk for our account."
    yield GaugeMetricFamily("dramatiq_nats_stored_bytes", text, store.stored_bytes)
    if store.most_bytes is not None:
        text = "Bytes that the account may hold on disk; missing without a limit."
        name = "dramatiq_nats_stored_limit_bytes"
        yield GaugeMetricFamily(name, text, store.most_bytes)


def _named(group: str, name: str) -> str:
    written_out = f"{name[:-2]}_seconds" if name.endswith("_s") else name
    return f"dramatiq_nats_{group}_{written_out}"


def served(registry: CollectorRegistry = REGISTRY) -> CollectorRegistry:
    """Return the registry to serve: of all processes where they share a directory.

    A `QueueCollector` is registered with what this returns.
    """
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return registry
    shared = CollectorRegistry()
    MultiProcessCollector(shared)
    return shared
