"""Events that providers report: buffered, and written so that repeats count once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from analytics.buffer import Buffer
from analytics.client import Client, Column
from analytics.masking import without_addresses
from analytics.spool import Row
from telemetry import EVENT_ROWS

_COLUMNS = (
    ("tenant_id", "UUID"),
    ("batch_id", "UUID"),
    ("event", "LowCardinality(String)"),
    ("seq", "UInt32"),
    ("occurred_at", "DateTime64(3, 'UTC')"),
    ("provider_message_id", "String"),
    ("error", "String"),
)


@dataclass(frozen=True, slots=True)
class ReportedEvent:
    """One thing that a provider says happened to a recipient.

    Attributes:
        tenant_id: Whose batch it is.
        batch_id: The batch.
        event: A status by name, such as `delivered`.
        seq: The recipient's number in the batch.
        occurred_at: When it happened by the provider's clock, aware of its zone. Of
            two with one recipient and event the earlier stays.
        provider_message_id: The provider's id, or `""`.
        error: The reason, or `""`; addresses in it are left out when it is written.
    """

    tenant_id: UUID
    batch_id: UUID
    event: str
    seq: int
    occurred_at: datetime
    provider_message_id: str = ""
    error: str = ""


class EventWriter:
    """Stores reported events; the same event again, in any company, counts once.

    One for a process, made after a fork: it holds a `Buffer`, whose promises are its
    own.
    """

    def __init__(self, client: Client, spool_dir: Path, **limits: Any) -> None:
        """Begin; what a killed process left in the folder is written, too.

        Args:
            client: Used by this writer's thread alone.
            spool_dir: Below it is a folder `events`, shared by all such writers.
            limits: Those of a `Buffer`.
        """
        insert = partial(_insert, client)
        self._buffer = Buffer(insert, spool_dir / "events", **limits)

    def write(self, events: Iterable[ReportedEvent]) -> None:
        """Take events; when it returns they are on the disk, and nothing loses them.

        Give many at once: each call waits for the disk. Fails closed: raises
        `NeighbourUnavailableError` when there is no room, and the caller keeps the
        message that told of them.
        """
        self._buffer.add([_row(event) for event in events])

    def flush(self, *, timeout_s: float = 60.0) -> bool:
        """Write all that waits, now, and tell whether ClickHouse has it."""
        return self._buffer.flush(timeout_s=timeout_s)

    def close(self, *, timeout_s: float = 10.0) -> bool:
        """Write what waits and end; tells whether nothing is left on the disk."""
        return self._buffer.close(timeout_s=timeout_s)


def _row(event: ReportedEvent) -> Row:
    return (
        str(event.tenant_id),
        str(event.batch_id),
        str(event.event),
        event.seq,
        milliseconds(event.occurred_at),
        event.provider_message_id,
        without_addresses(event.error),
    )


def milliseconds(moment: datetime) -> int:
    """Return a moment as ClickHouse stores it; a naive one would be read as local."""
    return int(moment.timestamp() * 1000)


def _insert(client: Client, rows: Sequence[Row], token: str) -> None:
    # In the order of the table, so that the server has nothing to sort.
    ordered = sorted(map(tuple, rows))
    client.insert("reported_log", columns_of(_COLUMNS, ordered), token=token)
    EVENT_ROWS.inc(len(rows))


def columns_of(
    types: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]]
) -> list[Column]:
    """Return rows, at least one, as columns of the given names and types."""
    values = zip(*rows, strict=True)
    return [
        Column(name, of_type, column)
        for (name, of_type), column in zip(types, values, strict=True)
    ]
