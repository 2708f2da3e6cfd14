"""Finished batches that were kept long enough: found, and deleted."""

from uuid import UUID

from sqlalchemy import Connection, text

#: Recipients deleted by one statement, so that none holds locks for long.
_STEP = 20_000

# What is not logged yet would be missing in the event log for ever.
_EXPIRED = text(
    """
    select b.id from batches b join tenants t on t.id = b.tenant_id
    where t.retention_days is not null
        and b.finished_at < clock_timestamp() - make_interval(days => t.retention_days)
        and not exists (
            select from chunks c where c.batch_id = b.id and c.logged_at is null
        )
    order by b.finished_at limit :limit
    """
)
_SET = text("update tenants set retention_days = :days where id = :tenant_id")
_RECIPIENTS = text(
    """
    delete from recipients r using (
        select batch_id, seq from recipients
        where batch_id = :batch_id order by seq limit :step
    ) d
    where r.batch_id = d.batch_id and r.seq = d.seq
    """
)
_REST = [
    text(f"delete from {table} where {column} = :batch_id")
    for table, column in (
        ("chunks", "batch_id"),
        ("upload_parts", "batch_id"),
        ("batches", "id"),
    )
]


def set_retention(connection: Connection, tenant_id: UUID, days: int | None) -> None:
    """Keep a tenant's finished batches for so many days; none is for ever."""
    connection.execute(_SET, {"tenant_id": tenant_id, "days": days})


def expired_batches(connection: Connection, *, limit: int) -> list[UUID]:
    """Return finished and logged batches beyond their tenant's retention, oldest first.

    Tenants without a retention keep theirs for ever.
    """
    return list(connection.execute(_EXPIRED, {"limit": limit}).scalars())


def delete_some_recipients(connection: Connection, batch_id: UUID) -> int:
    """Delete the next recipients of a batch, and return how many there were."""
    given = {"batch_id": batch_id, "step": _STEP}
    return connection.execute(_RECIPIENTS, given).rowcount


def delete_batch(connection: Connection, batch_id: UUID) -> None:
    """Delete a batch and all that hangs on it but recipients, which go before."""
    for statement in _REST:
        connection.execute(statement, {"batch_id": batch_id})
