"""Compare brokers: the same no-op jobs, on the same machine, in one run.

Each contender has its own server and two worker processes, with eight threads each
where it has threads. The last line is one JSON object with each figure, and ours by
the others' as ratios.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self, cast

from benchmarks.brokers.contenders import OURS, PEERS, Contender, serving
from benchmarks.brokers.marks import Marks
from benchmarks.brokers.producer import LATENCY_PER_S
from benchmarks.meters import machine
from benchmarks.report import show
from embedded.process import Process, ProcessSpec, StartError

#: How many jobs are enqueued one by one, in bulk by us, and in a steady trickle.
ONE_BY_ONE = 4_000
PACED = 1_000
#: How long nothing happens while that is measured.
IDLE_S = 5.0
#: A contender is given up when no job was done for so long.
_STANDSTILL_S = 30.0
_HOME = Path(__file__).absolute().parent.parent.parent


class Arena:
    """One contender with its processes, ready to work.

    Args:
        contender: Who.
        folder: For everything it writes.
        server: Its server.
        url: Where that listens.
    """

    def __init__(
        self, contender: Contender, folder: Path, server: Process, url: str
    ) -> None:
        self.contender = contender
        path = folder / "marks"
        self.marks = Marks.create(path, contender.jobs)
        env = {
            **contender.env,
            "BENCH_BROKER": contender.server,
            "BENCH_URL": url,
            "BENCH_MARKS": str(path),
        }
        self._producer = Producer(contender.app, env)
        self.worker = Process(
            ProcessSpec(
                name="worker",
                argv=(sys.executable, *contender.worker),
                log_path=folder / "logs" / "worker.log",
                ready=lambda: True,
                env=env,
                cwd=_HOME,
            )
        )
        self.server = server

    def __enter__(self) -> Self:
        """Start the workers, and wait until they work."""
        self.worker.start()
        self.produce("one_by_one", 100)
        self.finish(100)
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes."""
        self.worker.stop()
        self._producer.close()

    def produce(self, what: str, jobs: int) -> dict[str, float]:
        """Enqueue jobs from 0 on; returns `seconds` and `cpu_s` of the producer."""
        return self._producer.order(what, jobs)

    def finish(self, jobs: int) -> int:
        """Return how often jobs were repeated, once all were done at least once.

        Raises:
            StartError: Nothing moved for long.
        """
        left, moved_at = jobs, time.monotonic()
        while left:
            time.sleep(0.002)
            now = self.marks.left(jobs)
            if now != left:
                left, moved_at = now, time.monotonic()
            elif time.monotonic() - moved_at > _STANDSTILL_S or self.worker.died:
                raise StartError(
                    f"{self.contender.name} left {left} jobs:\n{self.worker.log_tail()}"
                )
        return self.marks.repeated(jobs)

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds spent so far."""
        return {
            "worker": self.worker.cpu_seconds(),
            "server": self.server.cpu_seconds(),
        }


class Producer:
    """A process that enqueues what it is told to."""

    def __init__(self, app: str, env: Mapping[str, str]) -> None:
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "benchmarks.brokers.producer", app],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **env},
            cwd=_HOME,
            text=True,
        )

    def order(self, what: str, jobs: int) -> dict[str, float]:
        """Return what it answers once it has done so."""
        child = self._child
        orders, answers = cast("IO[str]", child.stdin), cast("IO[str]", child.stdout)
        print(json.dumps({"do": what, "jobs": jobs}), file=orders, flush=True)
        answer: dict[str, float] = json.loads(answers.readline())
        return answer

    def close(self) -> None:
        """End it."""
        self._child.communicate()


@contextmanager
def arena(contender: Contender) -> Iterator[Arena]:
    """Start a contender, and end it."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        serving(contender.server, Path(folder)) as (url, server),
        Arena(contender, Path(folder), server, url) as ready,
    ):
        yield ready


def measured(contender: Contender) -> dict[str, Any]:
    """Return a contender's figures."""
    with arena(contender) as ready:
        figures = _stored(ready) | _processed(ready) | _latency(ready) | _idle(ready)
    return {name: _rounded(value) for name, value in figures.items()}


def _stored(ready: Arena) -> dict[str, Any]:
    ready.marks.clear()
    ready.worker.pause()
    told = ready.produce("one_by_one", ONE_BY_ONE)
    ready.worker.resume()
    ready.finish(ONE_BY_ONE)
    return {"enqueue_per_s": ONE_BY_ONE / told["seconds"]}


def _processed(ready: Arena) -> dict[str, Any]:
    jobs = ready.contender.jobs
    ready.marks.clear()
    # All are there before the first is done, so that the producer costs nothing.
    ready.worker.pause()
    told = ready.produce("in_bulk", jobs)
    before, began = ready.cpu_s(), time.perf_counter()
    ready.worker.resume()
    repeated = ready.finish(jobs)
    seconds = time.perf_counter() - began
    cpu_us = {
        name: (spent - before[name]) / jobs * 1e6
        for name, spent in ready.cpu_s().items()
    }
    return {
        "enqueue_bulk_per_s": jobs / told["seconds"],
        "jobs": jobs,
        "jobs_per_s": jobs / seconds,
        "lost": ready.marks.left(jobs),
        "repeated": repeated,
        "worker_us": cpu_us["worker"],
        "server_us": cpu_us["server"],
        "cpu_us": sum(cpu_us.values()),
    }


def _latency(ready: Arena) -> dict[str, Any]:
    ready.marks.clear()
    ready.produce("paced", PACED)
    ready.finish(PACED)
    late_ms = ready.marks.late_ms(PACED)
    return {
        "p50_ms": late_ms[PACED // 2],
        "p99_ms": late_ms[PACED * 99 // 100],
    }


def _idle(ready: Arena) -> dict[str, Any]:
    before = sum(ready.cpu_s().values())
    time.sleep(IDLE_S)
    return {"idle_percent": (sum(ready.cpu_s().values()) - before) / IDLE_S * 100}


def _rounded(value: float) -> float:
    return round(value, 2) if value < 1000 else round(value)


def _ratios(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    higher = ("jobs_per_s", "enqueue_per_s", "enqueue_bulk_per_s", "cpu_us", "p50_ms")
    return {name: round(ours[name] / theirs[name], 2) for name in higher}


_COLUMNS = {
    "jobs/s": "jobs_per_s",
    "µs a job": "cpu_us",
    "stored/s": "enqueue_per_s",
    "in bulk/s": "enqueue_bulk_per_s",
    "p50 ms": "p50_ms",
    "p99 ms": "p99_ms",
    "idle %": "idle_percent",
    "lost": "lost",
    "twice": "repeated",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure all, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only", action="append", help="measure this one; may be repeated"
    )
    chosen = parser.parse_args(arguments)
    found: dict[str, dict[str, Any]] = {}
    for contender in (OURS, *PEERS):
        if chosen.only and contender.name not in chosen.only:
            continue
        if lacking := contender.lacks():
            print(f"{contender.name} is left out; to have it: {lacking}")
            continue
        print(f"{contender.name} …", file=sys.stderr)
        found[contender.name] = measured(contender)
    show(
        f"No-op jobs, 2 processes; p50 and p99 at {LATENCY_PER_S} jobs/s",
        ("", *_COLUMNS),
        [
            (name, *(figures[column] for column in _COLUMNS.values()))
            for name, figures in found.items()
        ],
    )
    ours = found.get(OURS.name)
    ratios = {
        name: _ratios(ours, figures)
        for name, figures in found.items()
        if ours and name != OURS.name
    }
    print(json.dumps({"machine": machine(), **found, "ours_by_theirs": ratios}))


if __name__ == "__main__":
    main()
