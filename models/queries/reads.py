"""What a tenant looks at: batches, their recipients and the times of their way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, cast, select, text, tuple_

from models.errors import NotFoundError
from models.payload import LEGACY_COLUMNS, LEGACY_NAME
from models.status import RecipientStatus
from models.tables import batches, recipients, send_configs

#: How many recipients one page may look through for a status that few have.
SEARCHED_SEQS = 100_000

#: What a batch says is large, and not what a list of batches shows.
_UNSHOWN = frozenset({"payload", "sealed", LEGACY_NAME, *LEGACY_COLUMNS})
_FALLBACK = send_configs.alias("fallback")
_BATCH = select(
    *(c for c in batches.columns if c.name not in _UNSHOWN),
    send_configs.c.name.label("config_name"),
    send_configs.c.channel.label("channel"),
    send_configs.c.held_reason.label("held_reason"),
    _FALLBACK.c.name.label("fallback_name"),
)
_BATCH = _BATCH.join_from(
    batches, send_configs, batches.c.config_id == send_configs.c.id
).outerjoin(
    _FALLBACK,
    _FALLBACK.c.id
    == cast(batches.c.sealed["fallback"]["configId"].astext, send_configs.c.id.type),
)
_STATION_TIMES = text(
    """
    select min(published_at) as first_published, max(published_at) as last_published,
        min(done_at) as first_done, max(done_at) as last_done,
        min(folded_at) as first_folded, max(folded_at) as last_folded,
        max(logged_at) as last_logged,
        count(*) filter (where published_at is null and state = 'open') as unpublished,
        count(*) filter (where state <> 'done') as undone,
        count(*) filter (where folded_at is null) as unfolded,
        count(*) filter (where logged_at is null) as unlogged
    from chunks where batch_id = :batch_id
    """
)

_SENT_BY = text(
    """
    select coalesce(sum(bit_count(sent)), 0)::int as sent,
        coalesce(sum(bit_count(sent & by_fallback)), 0)::int as by_fallback
    from chunks where batch_id = :batch_id
    """
)


def batch_by_id(
    connection: Connection, tenant_id: UUID, batch_id: UUID
) -> dict[str, Any]:
    """Return a batch's row without its content.

    With it come its config's `config_name`, `channel` and `held_reason`, and as
    `fallback_name` the config that it was sealed to fall back on.
    Raises `NotFoundError` for another tenant's batch.
    """
    found = connection.execute(
        _BATCH.where(batches.c.id == batch_id, batches.c.tenant_id == tenant_id)
    )
    row = found.mappings().first()
    if row is None:
        raise NotFoundError(f"There is no batch {batch_id}.")
    return dict(row)


def batch_page(
    connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int
) -> list[dict[str, Any]]:
    """Return up to `limit` of the tenant's batches, newest first, after that one.

    Single messages are not among them.
    """
    order = tuple_(batches.c.created_at, batches.c.id)
    page = _BATCH.where(batches.c.tenant_id == tenant_id, ~batches.c.priority)
    if after is not None:
        last = batch_by_id(connection, tenant_id, after)
        page = page.where(order < (last["created_at"], last["id"]))
    page = page.order_by(batches.c.created_at.desc(), batches.c.id.desc())
    return [dict(row) for row in connection.execute(page.limit(limit)).mappings()]


def sent_by_fallback(connection: Connection, batch_id: UUID) -> tuple[int, int]:
    """Return how many the ledger has as sent, and how many of them by the fall-back."""
    row = connection.execute(_SENT_BY, {"batch_id": batch_id}).one()
    return row.sent, row.by_fallback


@dataclass(frozen=True, slots=True)
class RecipientPage:
    """Some recipients of a batch by seq.

    Attributes:
        rows: `seq, address, status, provider_message_id, error` each.
        following: The seq to go on after; none at the end. A page of one status may
            be short, even empty, before the end.
    """

    rows: list[dict[str, Any]]
    following: int | None


def recipient_page(
    connection: Connection,
    batch: Mapping[str, Any],
    *,
    status: RecipientStatus | None,
    after: int,
    limit: int,
) -> RecipientPage:
    """Return up to `limit` recipients with a seq above `after`, -1 for the first."""
    searched = limit if status is None else SEARCHED_SEQS
    last = min(after + searched, batch["recipients"] - 1)
    page = select(
        recipients.c.seq,
        recipients.c.address,
        recipients.c.status,
        recipients.c.provider_message_id,
        recipients.c.error,
    ).where(
        recipients.c.batch_id == batch["id"], recipients.c.seq.between(after + 1, last)
    )
    if status is not None:
        page = page.where(recipients.c.status == str(status))
    found = connection.execute(page.order_by(recipients.c.seq).limit(limit))
    rows = [dict(row) for row in found.mappings()]
    reached = rows[-1]["seq"] if len(rows) == limit else last
    return RecipientPage(rows, reached if reached < batch["recipients"] - 1 else None)


@dataclass(frozen=True, slots=True)
class Station:
    """One station of a batch's way.

    Attributes:
        name: `discover`, `expand`, `send`, `sync` or `log`.
        started_at: When it began; none before that.
        ended_at: When its last chunk was through; none before that.
    """

    name: str
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def seconds(self) -> float | None:
        """Return how long it took; none before its end."""
        if self.started_at is None or self.ended_at is None:
            return None
        # A clock set back between two writes must not show as a negative time.
        return max(0.0, (self.ended_at - self.started_at).total_seconds())


def stations(connection: Connection, batch: Mapping[str, Any]) -> list[Station]:
    """Return the times of a batch's stations, read from its ledger."""
    found = connection.execute(_STATION_TIMES, {"batch_id": batch["id"]})
    times = found.mappings().one()
    due = max(filter(None, (batch["queued_at"], batch["scheduled_at"])), default=None)
    begun = batch["started_at"]

    def ended(moment: str, left: str) -> datetime | None:
        return None if times[left] else times[moment]

    return [
        Station("discover", due if batch["queued_at"] else None, begun),
        Station("expand", begun, ended("last_published", "unpublished")),
        Station("send", times["first_published"], ended("last_done", "undone")),
        Station("sync", times["first_done"], ended("last_folded", "unfolded")),
        Station("log", times["first_folded"], ended("last_logged", "unlogged")),
    ]


def audited_batches(connection: Connection, ids: Sequence[UUID]) -> dict[str, UUID]:
    """Return whose batches these are, by id as text; without single messages."""
    found = connection.execute(
        select(batches.c.id, batches.c.tenant_id).where(
            batches.c.id.in_(ids), batches.c.priority.is_(False)
        )
    )
    return {str(row.id): row.tenant_id for row in found}
