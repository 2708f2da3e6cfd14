"""What ClickHouse knows of a batch and of one recipient, for people to read.

All figures are as of the last insert, a few seconds behind the ledger. Every
function raises `NeighbourUnavailableError` when ClickHouse does not answer; a view
then shows what it has from elsewhere.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from analytics.client import Client
from analytics.sql import statement

#: The order of the counts in `batch_stats.sql`.
_COUNTS = ("queued", "sent", "failed", "unknown", "suppressed", "cancelled")


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that happened to a recipient.

    Attributes:
        event: A status by name, such as `sent`.
        occurred_at: When it became known, in UTC.
        provider_message_id: The provider's id, or `""`.
        error: The reason a tenant may read, or `""`.
    """

    event: str
    occurred_at: datetime
    provider_message_id: str
    error: str


@dataclass(frozen=True, slots=True)
class Rate:
    """How many events of a kind a second of a batch had.

    Attributes:
        second: Its begin, in UTC.
        event: A status by name.
        events: How many.
    """

    second: datetime
    event: str
    events: int


def batch_stats(client: Client, batch_id: UUID) -> dict[str, int]:
    """Return how many recipients were queued, and how many ended in each outcome.

    Keys: `queued sent failed unknown suppressed cancelled`; all 0 for a batch that
    nobody knows. The outcomes are final and exclude each other: who was unknown and
    then sent counts as sent. Exact, however often a chunk was logged.
    """
    [counts] = client.rows(statement("batch_stats"), {"batch_id": batch_id})
    return dict(zip(_COUNTS, counts, strict=True))


def timeline(
    client: Client, tenant_id: UUID, batch_id: UUID, seq: int
) -> list[TimelineEntry]:
    """Return what happened to a recipient, in order; empty if the tenant has none."""
    found = client.rows(
        statement("timeline"),
        {"tenant_id": tenant_id, "batch_id": batch_id, "seq": seq},
    )
    return [TimelineEntry(*row) for row in found]


def rate_by_second(client: Client, batch_id: UUID) -> list[Rate]:
    """Return the events of each second that had any, in order of time."""
    found = client.rows(statement("rate_by_second"), {"batch_id": batch_id})
    return [Rate(second, event, events) for event, second, events in found]
