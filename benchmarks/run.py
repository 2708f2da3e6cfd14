"""One batch on the whole way: from *queued* to every outcome in both databases."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from benchmarks.house import House
from benchmarks.meters import Memory, Meter
from benchmarks.writes import Written, written
from embedded.process import StartError
from embedded.sink_ledger import SinkLedger
from models.status import OUTCOMES

#: A run that is not at its end by then is given up.
MOST_S = 900.0
#: A small batch before the timed one opens every connection and imports all code.
WARM_UP = 2_000
_ASK_EVERY_S = 0.1
#: Told to a bar: how many of the recipients are through.
Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Run:
    """What one batch took.

    Attributes:
        recipients: How many it had.
        seconds: From *queued* until all was in Postgres and in ClickHouse.
        outcomes: Recipients by outcome, as the batch counts them.
        lost: Called sent by Postgres and never taken by the sink.
        repeated: Taken by the sink more than once.
        stations: By name, begin and end in seconds after *queued*.
        cpu_s: By process.
        memory: By process.
        asked: Transactions of our own, for asking how far it is.
        written_before: What Postgres had written when the batch was queued.
    """

    recipients: int
    seconds: float
    outcomes: Mapping[str, int]
    lost: int
    repeated: int
    stations: Mapping[str, tuple[float, float]]
    cpu_s: Mapping[str, float]
    memory: Mapping[str, Memory]
    asked: int
    written_before: Written

    @property
    def per_s(self) -> float:
        """Recipients a second."""
        return self.recipients / self.seconds


@contextmanager
def bar(title: str, recipients: int) -> Iterator[Told]:
    """Show how many recipients are through, with the time that is left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=recipients)
        yield lambda through: progress.update(task, completed=through)


def warm_up(house: House) -> None:
    """Bring a small batch through, so that nothing is met for the first time."""
    batch_id = house.fill(WARM_UP)
    house.queue(batch_id)
    follow(house, batch_id, lambda _: None)


def send(house: House, recipients: int, title: str) -> Run:
    """Fill, queue and follow one batch; nothing is timed but its way."""
    batch_id = house.fill(recipients)
    house.settle()
    with house.database.statement() as connection:
        before = written(connection)
    with bar(title, recipients) as told, Meter(house.processes) as meter:
        began = time.perf_counter()
        house.queue(batch_id)
        asked = follow(house, batch_id, told)
        seconds = time.perf_counter() - began
        cpu_s = meter.cpu_s()
        meter.look()
    batch = house.batch(batch_id)
    lost, repeated = balance(house, batch, house.read_sink())
    return Run(
        recipients=recipients,
        seconds=seconds,
        outcomes={str(name): batch[str(name)] for name in OUTCOMES},
        lost=lost,
        repeated=repeated,
        stations=_stations(house, batch_id, batch["queued_at"]),
        cpu_s=cpu_s,
        memory=meter.memory,
        asked=asked,
        written_before=before,
    )


def follow(house: House, batch_id: UUID, told: Told) -> int:
    """Wait until every outcome is in both databases; returns how often we asked."""
    deadline = time.monotonic() + MOST_S
    for asked in range(1, int(MOST_S / _ASK_EVERY_S)):
        batch = house.batch(batch_id)
        told(sum(batch[str(name)] for name in OUTCOMES))
        if batch["finished_at"] is not None and _is_logged(house, batch_id, batch):
            return asked
        for process in house.processes.values():
            if process.died:
                raise StartError(
                    f"{process.name} ended during the run:\n{process.log_tail()}"
                )
        if time.monotonic() > deadline:
            break
        time.sleep(_ASK_EVERY_S)
    raise StartError(
        f"The batch is {batch['status']} after {MOST_S:.0f} s; see the logs in"
        f" {house.folder / 'logs'}."
    )


def _is_logged(house: House, batch_id: UUID, batch: Mapping[str, Any]) -> bool:
    # ClickHouse has it all a moment before the ledger says so.
    return (
        house.logged(batch_id) == batch["recipients"]
        and house.stations(batch_id)[-1].ended_at is not None
    )


def balance(
    house: House, batch: Mapping[str, Any], ledger: SinkLedger
) -> tuple[int, int]:
    """Return how many were lost and how many repeated, by the sink's own ledger."""
    everybody = batch["sent"] == batch["recipients"]
    sent = batch["recipients"] if everybody else house.sent(batch["id"])
    key = str(batch["id"])
    undecided = batch["recipients"] - sum(batch[str(name)] for name in OUTCOMES)
    return len(ledger.lost(key, sent)) + undecided, len(ledger.repeated(key))


def _stations(
    house: House, batch_id: UUID, queued_at: Any
) -> dict[str, tuple[float, float]]:
    return {
        station.name: (
            (station.started_at - queued_at).total_seconds(),
            (station.ended_at - queued_at).total_seconds(),
        )
        for station in house.stations(batch_id)
        if station.started_at and station.ended_at
    }
