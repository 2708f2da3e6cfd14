"""What is left of a batch when its worker is killed in the middle and started again."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from benchmarks.house import House
from benchmarks.report import show
from benchmarks.run import follow, warm_up
from embedded.process import Process, StartError

#: A killed run waits for leases, so it is kept small.
MOST_RECIPIENTS = 100_000
#: The share that the sink has when the worker is killed.
_MIDDLE = 0.4
_PATIENCE_S = 60.0


def kill_midway(house: House, worker: Process, recipients: int) -> None:
    """End a worker with all its children by SIGKILL, and start it again at once."""
    deadline = time.monotonic() + _PATIENCE_S
    while _calls(house) * house.chunk < recipients * _MIDDLE:
        if time.monotonic() > deadline:
            raise StartError(f"{worker.name} sends nothing:\n{worker.log_tail()}")
        time.sleep(0.01)
    worker.kill()
    worker.start()


def ours(chunk: int, recipients: int) -> dict[str, int]:
    """Do the same to our worker; returns who was left how, as `left`."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        House(Path(folder) / "data", chunk=chunk) as house,
    ):
        house.start_senders()
        warm_up(house)
        batch_id = house.fill(recipients)
        house.queue(batch_id)
        kill_midway(house, house.ours["worker"], recipients)
        follow(house, batch_id, lambda _: None)
        return left(house, batch_id, recipients)


def left(house: House, batch_id: UUID, recipients: int) -> dict[str, int]:
    """Return how many have neither message nor record, no record, or two messages.

    *Unknown* is a record: a call was made and nobody can tell.
    """
    ledger, key = house.read_sink(), str(batch_id)
    reached = set(range(recipients)).difference(ledger.lost(key, recipients))
    recorded = house.recorded(batch_id)
    return {
        "unsent": recipients - len(reached | recorded),
        "unrecorded": len(reached - recorded),
        "repeated": len(ledger.repeated(key)),
        "unknown": house.batch(batch_id)["unknown"],
    }


def show_left(found: Mapping[str, Mapping[str, int]]) -> None:
    """Print them side by side."""
    show(
        "After kill -9 of the worker in the middle",
        ("", "unsent", "unrecorded", "repeated", "unknown"),
        [(name, *figures.values()) for name, figures in found.items()],
    )


def _calls(house: House) -> int:
    with house.sink_ledger.open("rb") as lines:
        return sum(1 for _ in lines)
