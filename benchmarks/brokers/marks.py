"""What jobs leave behind: shared memory that every process of a contender writes to."""

import mmap
import os
import struct
import time
from pathlib import Path

#: Of one job: how often it was done; and how late it began, in µs.
_COUNT = struct.Struct("=B")
_LATE = struct.Struct("=I")


class Marks:
    """One byte and one number for each job.

    Args:
        path: A file that all processes share; made by `create`.
    """

    def __init__(self, path: Path) -> None:
        self._jobs = path.stat().st_size // (_COUNT.size + _LATE.size)
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)

    @classmethod
    def create(cls, path: Path, jobs: int) -> "Marks":
        """Return room for so many jobs, none of them done."""
        with path.open("wb") as file:
            file.truncate(jobs * (_COUNT.size + _LATE.size))
        return cls(path)

    def clear(self) -> None:
        """Forget all jobs."""
        self._memory[:] = bytes(len(self._memory))

    def done(self, job: int) -> None:
        """Note that a job was done."""
        self._memory[job] += 1

    def begun(self, job: int, sent_at: float) -> None:
        """Note that a job was done, and how long after it was sent."""
        late_us = int((time.monotonic() - sent_at) * 1e6)
        _LATE.pack_into(self._memory, self._jobs + job * _LATE.size, late_us)
        self.done(job)

    def left(self, jobs: int) -> int:
        """Return how many of the first jobs were not done."""
        return self._memory[:jobs].count(0)

    def repeated(self, jobs: int) -> int:
        """Return how many of the first jobs were done more than once."""
        seen = self._memory[:jobs]
        return jobs - seen.count(0) - seen.count(1)

    def late_ms(self, jobs: int) -> list[float]:
        """Return how late the first jobs were, the earliest first."""
        late = self._memory[self._jobs : self._jobs + jobs * _LATE.size]
        return sorted(us / 1000 for (us,) in _LATE.iter_unpack(late))


def of_this_process() -> Marks:
    """Return the marks that the benchmark named in the environment."""
    return Marks(Path(os.environ["BENCH_MARKS"]))
