"""Measure what tenants cost a server, by shards; prints one line of JSON.

`fairness`: one tenant stores many jobs first, then many small ones store ten each; how
far the large one is when the last small job is done, for workers that share the load.
`cost`: so many tenants with a few jobs each, by number of shards; the server's CPU is
that of publishing, delivering and acknowledging, consumers included.
`turn`: how long one job waits whose tenant had none, published by another broker; with
hints and, for comparison, by looks alone.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dramatiq
from dramatiq import Message, Worker

from benchmarks.brokers.contenders import serving
from brokers import JetStreamBroker, Route, wakes
from brokers.encoding import ENCODER
from embedded.process import Process

Numbers = dict[str, float]


def route(shards: int = 1) -> Route:
    """Return a queue by tenant."""
    return Route(
        "chunk", "chunks", "chunk.{tenant}", consumer="user-{tenant}", shards=shards
    )


def job(tenant: str) -> Message[None]:
    """Return a no-op job of the tenant's."""
    return Message("chunk", "job", (tenant, time.time()), {}, {"tenant": tenant})


@contextmanager
def server() -> Iterator[tuple[str, Process]]:
    """Run a NATS server; give its URL, and itself. Its data goes with it."""
    with tempfile.TemporaryDirectory() as folder, serving("nats", Path(folder)) as one:
        yield one


@contextmanager
def working(
    url: str, shards: int, done: Callable[[str, float], None], workers: int = 1
) -> Iterator[None]:
    """Run workers that call `done` with each job's tenant and time."""
    running = []
    for _ in range(workers):
        broker = JetStreamBroker(url, routes=[route(shards)], middleware=[])
        dramatiq.actor(actor_name="job", queue_name="chunk", broker=broker)(done)
        worker = Worker(broker, worker_threads=8)
        worker.start()
        running.append((broker, worker))
    try:
        yield
    finally:
        for broker, worker in running:
            worker.stop()
            broker.close()


def fairness(url: str, *, large: int, small: int, workers: int = 2) -> Numbers:
    """Return how many jobs of the large tenant were done before all small ones."""
    broker = JetStreamBroker(url, routes=[route()], middleware=[], publish_timeout_s=60)
    for first in range(0, large, 10_000):
        broker.enqueue_many(
            [job("large") for _ in range(first, min(large, first + 10_000))]
        )
    broker.enqueue_many([job(f"small-{n}") for n in range(small) for _ in range(10)])
    before, left, over = [0], [small * 10], threading.Event()

    def done(tenant: str, _: float) -> None:
        if tenant != "large":
            left[0] -= 1
            if not left[0]:
                over.set()
        elif left[0]:
            before[0] += 1

    began = time.perf_counter()
    with working(url, 1, done, workers):
        if not over.wait(180):
            raise SystemExit(f"{left[0]} jobs of small tenants are not done.")
        took_s = time.perf_counter() - began
        broker.flush("chunk")
    broker.close()
    return {
        "large": large,
        "small_tenants": small,
        "large_before_last_small": before[0],
        "percent": round(100 * before[0] / large, 3),
        "seconds": round(took_s, 2),
    }


def cost(shards: int, tenants: int, each: int) -> Numbers:
    """Return the server's CPU for each job, and its memory."""
    with server() as (url, process):
        broker = JetStreamBroker(url, routes=[route(shards)], middleware=[])
        broker.get_queue_message_counts("chunk")
        count, over = [0], threading.Event()
        lock = threading.Lock()

        def done(_: str, __: float) -> None:
            with lock:
                count[0] += 1
                if count[0] == tenants * each:
                    over.set()

        cpu_before, began = process.cpu_seconds(), time.perf_counter()
        broker.enqueue_many([job(f"t{n}") for _ in range(each) for n in range(tenants)])
        with working(url, shards, done):
            if not over.wait(240):
                raise SystemExit(f"Only {count[0]} jobs are done.")
            broker.join("chunk", timeout=60_000)
            took_s = time.perf_counter() - began
            cpu_s = process.cpu_seconds() - cpu_before
            rss = process.rss_bytes()
        broker.close()
    return {
        "shards": shards,
        "tenants": tenants,
        "jobs_per_s": round(tenants * each / took_s),
        "server_us_per_job": round(cpu_s / tenants / each * 1e6),
        "server_mb": round(rss / 2**20),
    }


@contextmanager
def deaf() -> Iterator[None]:
    """Have no ring heed a hint."""
    before, wakes.MOST_PER_S = wakes.MOST_PER_S, 0
    yield
    wakes.MOST_PER_S = before


def turn(url: str, *, jobs: int) -> Numbers:
    """Return how long jobs wait whose tenants had none, in milliseconds."""
    waits: list[float] = []
    other = JetStreamBroker(url, routes=[route()], middleware=[], publish_timeout_s=60)

    def done(_: str, at: float) -> None:
        waits.append((time.time() - at) * 1000)

    with working(url, 1, done):
        other.join("chunk", timeout=10_000)
        other.enqueue(job("first"))
        for n in range(jobs):
            while len(waits) <= n:
                time.sleep(0.01)
            # Not in step with the looks.
            time.sleep(0.37 + n % 7 * 0.11)
            other.enqueue(job(f"t{n}"))
        while len(waits) <= jobs:
            time.sleep(0.01)
    other.close()
    waits = sorted(waits[1:])
    return {"p50_ms": round(statistics.median(waits), 1), "most_ms": round(waits[-1])}


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", type=int, default=200_000, help="its jobs")
    parser.add_argument("--small", type=int, default=999, help="small tenants")
    parser.add_argument("--tenants", type=int, default=2_000, help="for `cost`")
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--turns", type=int, default=30, help="jobs for `turn`")
    chosen = parser.parse_args()
    dramatiq.set_encoder(ENCODER)
    found: dict[str, object] = {}
    with server() as (url, _):
        found["turn"] = turn(url, jobs=chosen.turns)
        with deaf():
            found["turn_by_looks"] = turn(url, jobs=chosen.turns)
        found["fairness"] = fairness(url, large=chosen.large, small=chosen.small)
    found["cost"] = [cost(n, chosen.tenants, 5) for n in chosen.shards]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
