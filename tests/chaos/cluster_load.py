"""A steady load on a cluster, and what became of it."""

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dramatiq import Message
from dramatiq.errors import BrokerConnectionError

from embedded.process import Process, ProcessSpec
from tests.chaos.cluster_actors import TENANTS, Journal, cluster_broker
from tests.chaos.nats_cluster import NatsCluster, Node

_HOME = Path(__file__).absolute().parent.parent.parent
#: What one publisher stores at once, how often, and how many publishers there are.
AT_ONCE, EVERY_S, PUBLISHERS = 10, 0.04, 3
#: Every publisher's calls by turns: a plain page, a page of tenants, a delayed message.
KINDS = 3


class Load:
    """Publishers in this process, and a real `dramatiq` with two worker processes.

    Args:
        cluster: Where to.
        folder: Where the workers' journal and log are.
        first: The only node that the publishers know; the others it tells them.

    Attributes:
        broker: What is published through.
        journal: What the workers note.
        stored: Each number whose storage was acknowledged, and when.
        refused: What `enqueue` raised.
    """

    def __init__(self, cluster: NatsCluster, folder: Path, first: Node) -> None:
        self.broker = cluster_broker([first.url])
        self.journal = Journal(folder)
        self.stored: dict[int, float] = {}
        self.refused: list[BrokerConnectionError] = []
        # No number is ever used twice on one cluster, which knows each as an id.
        self._numbers = itertools.count(time.monotonic_ns())
        self._over = threading.Event()
        self.workers = Process(
            ProcessSpec(
                name="workers",
                argv=_workers(),
                log_path=folder / "workers.log",
                ready=lambda: True,
                env={
                    "CHAOS_SERVERS": ",".join(cluster.urls),
                    "CHAOS_JOURNAL": str(folder),
                    "PYTHONPATH": str(_HOME),
                },
                cwd=_HOME,
            )
        )

    def stop(self) -> None:
        """End the workers and disconnect."""
        self.workers.stop()
        self.broker.close()

    def store(self, count: int) -> float:
        """Store so many messages at once; return how many seconds it took."""
        begin = time.monotonic()
        self._store_page("plain", count)
        return time.monotonic() - begin

    @contextmanager
    def running(self) -> Iterator[None]:
        """Publish steadily, from several threads, until the block ends."""
        self._over.clear()
        threads = [
            threading.Thread(target=self._publish, args=(n,)) for n in range(PUBLISHERS)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def done(self) -> dict[int, float]:
        """Return each number that was worked on, and when."""
        return dict(self.journal.lines("done"))

    def missing(self) -> set[int]:
        """Return what was acknowledged and is not worked on yet."""
        return self.stored.keys() - self.done().keys()

    def _publish(self, turn: int) -> None:
        while not self._over.wait(EVERY_S):
            turn += 1
            try:
                self._store_some(turn % KINDS)
            except BrokerConnectionError as error:
                self.refused.append(error)

    def _store_some(self, kind: int) -> None:
        if kind == 0:
            self._store_page("plain", AT_ONCE)
        elif kind == 1:
            self._store_page("tenants", AT_ONCE)
        else:
            number = next(self._numbers)
            self.broker.enqueue(_message("plain", number), delay=1500)
            self.stored[number] = time.monotonic()

    def _store_page(self, queue: str, count: int) -> None:
        numbers = list(itertools.islice(self._numbers, count))
        messages = [_message(queue, number) for number in numbers]
        self.broker.enqueue_many(messages, dedup_ids=[str(n) for n in numbers])
        now = time.monotonic()
        self.stored.update((number, now) for number in numbers)


def longest_gap_s(times: Any, *, after: float) -> float:
    """Return the longest time between two events, from `after` on."""
    moments = [after, *sorted(one for one in times if one > after)]
    return max(b - a for a, b in itertools.pairwise(moments))


def _message(queue: str, number: int) -> Message[Any]:
    name = "default" if queue == "plain" else queue
    tenant = TENANTS[number % len(TENANTS)]
    return Message(name, queue, (number,), {}, {"tenant": tenant})


def _workers() -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "dramatiq", "tests.chaos.cluster_actors"),
        *("--processes", "2", "--threads", "4"),
    )
