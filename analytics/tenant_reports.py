"""What became of all that a tenant sent: its batches, rates by day, and reasons.

All is as of the last insert. Every function raises `NeighbourUnavailableError` when
ClickHouse does not answer. Days are those of UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple
from uuid import UUID

from analytics.client import Client
from analytics.sql import statement

_NO_BATCH = UUID(int=0)
#: After every batch there is.
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_LARGEST_ID = UUID(int=2**128 - 1)

#: A rate, what is counted, and of what: an open cannot be before a delivery.
_RATES = (
    ("delivery", "delivered", "sent"),
    ("bounce", "bounced", "sent"),
    ("complaint", "complained", "delivered"),
    ("open", "opened", "delivered"),
    ("click", "clicked", "delivered"),
)


@dataclass(frozen=True, slots=True)
class Day:
    """One day that had events.

    Attributes:
        day: The day in UTC.
        counts: By event, the recipients who had it first on this day.
    """

    day: date
    counts: dict[str, int]


class Reason(NamedTuple):
    """Why messages failed.

    Attributes:
        event: What they came to, such as `bounced`.
        error: The reason, without addresses.
        recipients: How many.
    """

    event: str
    error: str
    recipients: int


class LoggedBatch(NamedTuple):
    """A batch of which something is logged.

    Attributes:
        batch_id: The batch.
        name: Its name.
        first_at: When its first event happened, in UTC.
        last_at: When its last one did.
        as_of: When the newest of them came in.
    """

    batch_id: UUID
    name: str
    first_at: datetime
    last_at: datetime
    as_of: datetime


def as_of(
    client: Client, tenant_id: UUID, batch_id: UUID | None = None
) -> datetime | None:
    """Return when the newest event of a tenant or batch came in; none for none."""
    given = {"tenant_id": tenant_id, "batch_id": batch_id or _NO_BATCH}
    found = client.rows(statement("as_of"), given)
    return found[0][0] if found else None


def days(client: Client, tenant_id: UUID, first: date, last: date) -> list[Day]:
    """Return the days from `first` to `last` that had events, in order.

    A recipient counts once for each kind of event, on the first day that has it,
    however often and whenever it was logged again.
    """
    found = client.rows(
        statement("rates"), {"tenant_id": tenant_id, "first": first, "last": last}
    )
    by_day: dict[date, dict[str, int]] = {}
    for day, event, recipients in found:
        if recipients:
            by_day.setdefault(day, {})[event] = recipients
    return [Day(day, counts) for day, counts in by_day.items()]


def rates(counts: Mapping[str, int]) -> dict[str, float | None]:
    """Return the five rates of some counts; none where there is nothing to divide by.

    Delivery and bounce are of those sent, complaint, open and click of those
    delivered. Days that begin in mid-campaign may show more than 1.0.
    """
    return {
        name: counts.get(event, 0) / counts[of] if counts.get(of) else None
        for name, event, of in _RATES
    }


def failures(
    client: Client, tenant_id: UUID, first: date, last: date, *, limit: int
) -> list[Reason]:
    """Return the reasons that most recipients had in these days, most first."""
    given = {"tenant_id": tenant_id, "first": first, "last": last, "limit": limit}
    return [Reason(*row) for row in client.rows(statement("failures"), given)]


def batch_page(
    client: Client,
    tenant_id: UUID,
    *,
    before: tuple[datetime, UUID] | None = None,
    limit: int,
) -> list[LoggedBatch]:
    """Return a tenant's batches, newest first; single messages are not among them.

    Args:
        client: The event log.
        tenant_id: Whose.
        before: The `first_at` and id of the last one of the page before.
        limit: At most so many.
    """
    time, batch_id = before or (_LATEST, _LARGEST_ID)
    given = {
        "tenant_id": tenant_id,
        "before_ms": round(time.timestamp() * 1000),
        "before_id": batch_id,
        "limit": limit,
    }
    return [LoggedBatch(*row) for row in client.rows(statement("batch_page"), given)]
