"""Batch after batch for some time: does the rate hold, and is memory flat?"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

from benchmarks.house import House
from benchmarks.meters import FILLING, Meter, per_recipient_us
from benchmarks.report import show
from benchmarks.run import balance, follow
from models.status import OUTCOMES

#: Batches under way or waiting, so that the pipeline never runs dry.
_AHEAD = 2
#: The run is looked at in equal parts of about this length.
_PART_S = 60.0
_TELL_EVERY_S = 10.0
_ASK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a run is at one moment.

    Attributes:
        at_s: On the clock of `time.perf_counter`.
        through: Recipients whose outcome is counted in Postgres.
        cpu_s: Since the begin, by process; the making of recipients apart.
        rss_mb: By process.
    """

    at_s: float
    through: int
    cpu_s: Mapping[str, float]
    rss_mb: Mapping[str, float]

    def since(self, before: "Mark") -> dict[str, Any]:
        """Return rate and cost from then to now, and the memory of now."""
        done = self.through - before.through
        spent = {n: s - before.cpu_s.get(n, 0.0) for n, s in self.cpu_s.items()}
        return {
            "recipients_per_s": round(done / (self.at_s - before.at_s)),
            "us_per_recipient": per_recipient_us(spent, done),
            "rss_mb": dict(self.rss_mb),
        }


@dataclass(slots=True)
class _Drive:
    """A run under way: what was sent, and the marks that were made."""

    house: House
    meter: Meter
    recipients: int
    say: Callable[[str], None]
    batches: dict[UUID, int] = field(default_factory=dict)
    running: set[UUID] = field(default_factory=set)
    marks: list[Mark] = field(default_factory=list)
    rates: list[int] = field(default_factory=list)
    filled_before_s: float = 0.0

    @property
    def through(self) -> int:
        """Return how many are through, by the last look."""
        return sum(self.batches.values())

    def go(self, seconds: float) -> None:
        """Keep two batches on their way for so long."""
        parts = max(1, round(seconds / _PART_S))
        self.filled_before_s = self.house.filling_s
        self.marks.append(self._mark())
        begun = told_at = time.perf_counter()
        told = 0
        while (now := time.perf_counter()) < begun + seconds:
            # Before anything is told: a batch that was just made took its time.
            self._look()
            if now >= begun + len(self.marks) * seconds / parts:
                self.marks.append(self._mark())
            if now - told_at >= _TELL_EVERY_S:
                self._tell((self.through - told) / (now - told_at))
                told_at, told = now, self.through
            if len(self.running) < _AHEAD:
                self._send_another()
            time.sleep(_ASK_EVERY_S)
        self._look()
        self.marks.append(self._mark())

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU time by process, with Postgres' filling on its own."""
        spent = self.meter.cpu_s()
        filling = self.house.filling_s - self.filled_before_s
        return {**spent, "postgres": spent["postgres"] - filling, FILLING: filling}

    def _mark(self) -> Mark:
        self.meter.look()
        rss_mb = {name: round(m.last, 1) for name, m in self.meter.memory.items()}
        return Mark(time.perf_counter(), self.through, self.cpu_s(), rss_mb)

    def _tell(self, per_s: float) -> None:
        self.rates.append(round(per_s))
        self.say(f"{self.rates[-1]:>10,} recipients/s, {self.through:,} so far")

    def _look(self) -> None:
        for batch_id in tuple(self.running):
            row = self.house.batch(batch_id)
            self.batches[batch_id] = sum(row[str(name)] for name in OUTCOMES)
            if row["finished_at"] is not None:
                self.running.remove(batch_id)

    def _send_another(self) -> None:
        batch_id = self.house.fill(self.recipients)
        self.house.queue(batch_id)
        self.batches[batch_id] = 0
        self.running.add(batch_id)


def steady(
    house: House, recipients: int, seconds: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Keep sending for so long; returns the fields of the last line.

    The rate includes making the batches, which goes on beside their sending; what
    that costs Postgres is told apart.
    """
    began = time.perf_counter()
    with Meter(house.processes) as meter:
        drive = _Drive(house, meter, recipients, say)
        drive.go(seconds)
        for batch_id in drive.batches:
            follow(house, batch_id, lambda _: None)
        took_s = time.perf_counter() - began
        cpu_s = drive.cpu_s()
    sink = house.read_sink()
    balances = [balance(house, house.batch(one), sink) for one in drive.batches]
    everybody = recipients * len(balances)
    parts = [now.since(then) for then, now in pairwise(drive.marks)]
    memory = _memory(drive)
    _show(parts, memory)
    return {
        "recipients": everybody,
        "batches": len(balances),
        "chunk": house.chunk,
        "seconds": round(took_s, 1),
        "recipients_per_s": round(everybody / took_s),
        "recipients_per_s_by_10_s": drive.rates,
        "lost": sum(lost for lost, _ in balances),
        "repeated": sum(repeated for _, repeated in balances),
        "us_per_recipient": per_recipient_us(cpu_s, everybody),
        "part_s": round(seconds / len(parts), 1),
        "parts": parts,
        "rss_mb": memory,
    }


def _memory(drive: _Drive) -> dict[str, dict[str, float]]:
    """Return each process's memory at the begin, in the middle, and at the end."""
    marks = drive.marks
    return {
        name: {
            "start": marks[0].rss_mb[name],
            "middle": marks[len(marks) // 2].rss_mb[name],
            "end": marks[-1].rss_mb[name],
            "max": round(seen.largest, 1),
        }
        for name, seen in drive.meter.memory.items()
    }


def _show(
    parts: list[dict[str, Any]], memory: Mapping[str, Mapping[str, float]]
) -> None:
    show(
        "Recipients a second, and µs of CPU a recipient, part by part",
        ("", *(str(number) for number in range(1, len(parts) + 1))),
        [
            ("recipients/s", *(part["recipients_per_s"] for part in parts)),
            *(
                (name, *(part["us_per_recipient"][name] for part in parts))
                for name in parts[0]["us_per_recipient"]
            ),
        ],
    )
    show(
        "Memory in MB",
        ("process", "start", "middle", "end", "largest"),
        [(name, *figures.values()) for name, figures in memory.items()],
    )
