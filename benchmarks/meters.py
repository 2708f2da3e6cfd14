"""What processes cost: CPU time and memory, and the state of the machine."""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil

from embedded.process import Process

#: Processes that are no part of what is measured: the one that asks how far it is.
WATCHER = "bench"
#: What Postgres spends on making the recipients, which stands for an upload.
FILLING = "filling"
_ASIDE = (WATCHER, FILLING)
_MEMORY_EVERY_S = 2.0
_MB = 1024 * 1024


@dataclass(slots=True)
class Memory:
    """A process's memory in MB over a run, a page that several share counted once."""

    first: float = 0.0
    last: float = 0.0
    largest: float = 0.0

    def add(self, megabytes: float) -> None:
        """Take in one more look."""
        self.first = self.first or megabytes
        self.last = megabytes
        self.largest = max(self.largest, megabytes)


class Meter:
    """CPU time and memory of a house's processes between its begin and its end.

    Attributes:
        memory: By process; it is looked at from a thread, every 2 s.
    """

    def __init__(self, processes: Mapping[str, Process]) -> None:
        self._processes = processes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.memory = {name: Memory() for name in processes}

    def __enter__(self) -> Self:
        """Begin."""
        self._before = self._cpu_s()
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds since the begin, by process."""
        now = self._cpu_s()
        return {
            name: max(0.0, spent - self._before.get(name, 0.0))
            for name, spent in now.items()
        }

    def look(self) -> None:
        """Note the memory as it is now."""
        self._look()

    def _cpu_s(self) -> dict[str, float]:
        spent = {name: p.cpu_seconds() for name, p in self._processes.items()}
        spent[WATCHER] = time.process_time()
        return spent

    def _watch(self) -> None:
        while not self._ended.wait(_MEMORY_EVERY_S):
            self._look()

    def _look(self) -> None:
        for name, process in self._processes.items():
            self.memory[name].add(process.rss_bytes() / _MB)


def per_recipient_us(cpu_s: Mapping[str, float], recipients: int) -> dict[str, float]:
    """Return µs of CPU a recipient by process; `total` is of the way alone."""
    found = {name: spent / max(recipients, 1) * 1e6 for name, spent in cpu_s.items()}
    total = sum(us for name, us in found.items() if name not in _ASIDE)
    return {name: round(us, 2) for name, us in {**found, "total": total}.items()}


def machine() -> dict[str, object]:
    """Return what this machine is, and how busy others keep it before a run."""
    return {
        "cores": len(psutil.Process().cpu_affinity() or [])
        if hasattr(psutil.Process, "cpu_affinity")
        else os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
    }
