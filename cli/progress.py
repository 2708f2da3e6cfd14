"""A batch on its way, as a line that moves."""

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cli.api import Api, Json
from cli.report import waits_for
from models.errors import BatchSenderError, NeighbourUnavailableError

_POLL_S = 0.25
#: How long the API may be away while we watch; the batch does not need it.
_PATIENCE_S = 60.0
#: How long a batch may be held up by what a person must mend while we watch.
_STANDSTILL_S = 15.0
#: How long the event log is waited for once a batch is over.
_LOG_PATIENCE_S = 3.0


def follow(api: Api, batch_id: str, console: Console) -> Json:
    """Return the batch when it is over; shows counts, rate and time left meanwhile.

    A paused batch is waited for. Interrupting the wait changes nothing.

    Raises:
        BatchSenderError: Something that a person must mend holds the batch up, such as
            a full disk; it goes on by itself then, whether watched or not.
        NeighbourUnavailableError: The API was away for a minute.
    """
    with sending_progress(console) as progress:
        line = progress.add_task("", total=None, counts="")
        batch = _asked(api, batch_id)
        moved_at, through = time.monotonic(), 0
        while batch["finishedAt"] is None:
            now = sum(_newest(batch).values())
            # A queue that is short of room holds up the rest, and not what is in it.
            if now != through or batch["status"] != "processing" or not batch["reason"]:
                moved_at, through = time.monotonic(), now
            elif time.monotonic() - moved_at > _STANDSTILL_S:
                raise BatchSenderError(f"The batch waits: {batch['reason']}")
            progress.update(line, **_moved(batch))
            time.sleep(_POLL_S)
            batch = _asked(api, batch_id)
        progress.update(line, **_moved(batch))
        # The event log follows the end closely; whoever waits sees its time too.
        late = time.monotonic() + _LOG_PATIENCE_S
        while not _is_logged(batch) and time.monotonic() < late:
            time.sleep(_POLL_S)
            batch = _asked(api, batch_id)
    return batch


def _is_logged(batch: Mapping[str, Any]) -> bool:
    return all(station["endedAt"] for station in batch["stations"] or ())


def sending_progress(console: Console) -> Progress:
    """Return the bar's layout."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        _RateColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


class _RateColumn(ProgressColumn):
    """Recipients a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        # All may arrive between two looks, which is no speed yet.
        if not speed and task.elapsed:
            speed = task.completed / task.elapsed
        return Text(f"{speed:,.0f}/s" if speed else "-/s")


def _moved(batch: Mapping[str, Any]) -> dict[str, Any]:
    counts = batch["counts"] if batch["finishedAt"] else _newest(batch)
    words = [f"{count:,} {name}" for name, count in counts.items() if count]
    why = batch["reason"] or waits_for(batch)
    reason = f": {why}" if why else ""
    return {
        "total": batch["recipients"],
        "completed": sum(counts.values()),
        "description": f"{batch['status']}{reason}",
        "counts": ", ".join(words),
    }


def _newest(batch: Mapping[str, Any]) -> Mapping[str, int]:
    counts: Mapping[str, int] = batch["counts"]
    live: Mapping[str, int] = batch["live"] or {}
    # Live bits run ahead of Postgres, unless Dragonfly came back empty.
    return max(counts, live, key=lambda five: sum(five.values()))


def _asked(api: Api, batch_id: str) -> Json:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return api.batch(batch_id)
        except NeighbourUnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)


def upload_progress(console: Console) -> Progress:
    """Return the bar of an upload, in bytes."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        console=console,
    )
