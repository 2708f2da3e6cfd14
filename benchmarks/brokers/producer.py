"""Puts jobs into a contender's queue, in a process of its own.

Reads one order a line from standard input, `{"do": …, "jobs": …}`, and answers each
with a line, `{"seconds": …, "cpu_s": …}`.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

#: Jobs a second while lateness is measured.
LATENCY_PER_S = 200


def one_by_one(app: Any, jobs: int) -> None:
    """Wait for each job to be stored."""
    for job in range(jobs):
        app.enqueue(job)


def in_bulk(app: Any, jobs: int) -> None:
    """Hand over all jobs at once, where that is possible."""
    app.enqueue_all(range(jobs))


def paced(app: Any, jobs: int) -> None:
    """Send `LATENCY_PER_S` jobs a second, each with its time."""
    began = time.monotonic()
    for job in range(jobs):
        time.sleep(max(0.0, began + job / LATENCY_PER_S - time.monotonic()))
        app.enqueue_stamp(job, time.monotonic())


_ORDERS: dict[str, Callable[[Any, int], None]] = {
    "one_by_one": one_by_one,
    "in_bulk": in_bulk,
    "paced": paced,
}


def main() -> None:
    """Serve until standard input ends."""
    app = import_module(sys.argv[1])
    for line in sys.stdin:
        order = json.loads(line)
        began, cpu = time.perf_counter(), time.process_time()
        _ORDERS[order["do"]](app, order["jobs"])
        answer = {
            "seconds": time.perf_counter() - began,
            "cpu_s": time.process_time() - cpu,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
