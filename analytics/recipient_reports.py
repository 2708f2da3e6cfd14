"""A batch's recipients as the event log knows them: how many, which, and where each.

Nobody has an address here (ADR 0045); a recipient is its `seq`. All is as of the
last insert. Every function raises `NeighbourUnavailableError` when ClickHouse does
not answer, and finds nothing of a batch that is another tenant's or not logged yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from analytics.client import Client
from analytics.sql import statement
from models.status import RecipientStatus

#: Those that are logged, lowest first: a recipient stands at the highest it had.
RANKED: Final = [
    str(status)
    for status in RecipientStatus
    if status not in (RecipientStatus.PENDING, RecipientStatus.SENDING)
]


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """How many of a batch's recipients.

    Attributes:
        standing: By status, those who stand there now: they add up to all.
        reached: By event, those who ever had it.
    """

    standing: dict[str, int]
    reached: dict[str, int]


class Standing(NamedTuple):
    """Where a recipient stands.

    Attributes:
        seq: The recipient's number in the batch.
        status: The highest of its events.
        occurred_at: When that happened, in UTC.
        provider_message_id: Of that event or the sending, or `""`.
        error: Of that event, or `""`.
    """

    seq: int
    status: str
    occurred_at: datetime
    provider_message_id: str
    error: str


@dataclass(frozen=True, slots=True)
class StandingPage:
    """Some recipients by seq.

    Attributes:
        rows: At most as many as asked for.
        following: The seq to go on after; none at the end.
    """

    rows: list[Standing] = field(default_factory=list)
    following: int | None = None


def batch_counts(client: Client, tenant_id: UUID, batch_id: UUID) -> BatchCounts:
    """Return a batch's counts, exact however often an event came in."""
    found = client.rows(
        statement("batch_counts"),
        {"tenant_id": tenant_id, "batch_id": batch_id, "ranked": RANKED},
    )
    return BatchCounts(
        standing={event: stand for event, _, stand in found if stand},
        reached={event: had for event, had, _ in found},
    )


def standing_page(
    client: Client,
    batch: tuple[UUID, UUID],
    *,
    status: RecipientStatus | None,
    after: int,
    limit: int,
) -> StandingPage:
    """Return recipients with a seq above `after`, -1 for the first, by seq.

    Args:
        client: The event log.
        batch: The tenant's and the batch's id.
        status: Only those who stand there; none for all.
        after: The last seq of the page before.
        limit: At most so many.
    """
    seqs = _page_of_seqs(client, batch, status, (after + 1, limit + 1))
    page = seqs[:limit]
    if not page:
        return StandingPage()
    found = client.rows(
        statement("recipients_events"), {**_of(batch), "events": RANKED, "seqs": page}
    )
    return StandingPage(_standings(found), page[-1] if len(seqs) > limit else None)


def _page_of_seqs(
    client: Client,
    batch: tuple[UUID, UUID],
    status: RecipientStatus | None,
    window: tuple[int, int],
) -> list[int]:
    place = RANKED.index(status) if status in RANKED else None
    if status is not None and place is None:
        return []
    first, limit = window
    found = client.rows(
        statement("recipients_page"),
        {
            **_of(batch),
            "wanted": RANKED if place is None else RANKED[place : place + 1],
            "higher": [] if place is None else RANKED[place + 1 :],
            "first": first,
            "limit": limit,
        },
    )
    return list(found[0][0]) if found else []


def _standings(events: Sequence[Sequence[Any]]) -> list[Standing]:
    """Return each recipient at its highest event, by seq."""
    highest: dict[int, Standing] = {}
    for event in sorted(events, key=lambda row: (row[0], RANKED.index(row[1]))):
        here = Standing(*event)
        before = highest.get(here.seq)
        if before and not here.provider_message_id:
            here = here._replace(provider_message_id=before.provider_message_id)
        highest[here.seq] = here
    return list(highest.values())


def _of(batch: tuple[UUID, UUID]) -> dict[str, UUID]:
    tenant_id, batch_id = batch
    return {"tenant_id": tenant_id, "batch_id": batch_id}
