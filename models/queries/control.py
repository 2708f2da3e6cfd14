"""What a tenant does to a batch: send, pause, resume, cancel.

Every change is one statement `where status in (…)`; a second time changes nothing.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from models.errors import ConflictError, NotFoundError
from models.plan import Plan
from models.queries.closing import close_open_chunks
from models.status import BatchStatus, sources_of

_LOCKED = text(
    """
    select b.*, to_jsonb(c) - 'credentials' as config
    from batches b join send_configs c on c.id = b.config_id
    where b.id = :batch_id and b.tenant_id = :tenant_id
    for update of b
    """
)
_QUEUED = text(
    """
    update batches
    set status = 'queued', sealed = :sealed, queued_at = clock_timestamp(),
        scheduled_at = coalesce(:scheduled_at, scheduled_at)
    where id = :batch_id and status = 'draft'
    """
)
_PAUSED = text(
    """
    update batches set status = 'paused', reason = :reason
    where id = :batch_id and tenant_id = :tenant_id
        and status = any(cast(:before as batch_status[]))
    """
)
_RESUMED = text(
    """
    update batches set status = 'processing', reason = null, expanded_at = null
    where id = :batch_id and tenant_id = :tenant_id and status = 'paused'
    """
)
# A copy that was acknowledged while the batch was paused is gone: the epoch makes
# the new message another one for the deduplication window.
_REPUBLISHED = text(
    """
    update chunks set epoch = epoch + 1, published_at = null
    where batch_id = :batch_id and published_at is not null
        and (state = 'open' or (state = 'claimed' and lease_until is null))
    """
)
_CANCELLED = text(
    """
    update batches set status = 'cancelled', reason = :reason,
        finished_at = case when started_at is null then clock_timestamp() end,
        cancelled = case when started_at is null then recipients else cancelled end
    where id = :batch_id and tenant_id = :tenant_id
        and status = any(cast(:before as batch_status[]))
    returning started_at
    """
)
_STATEMENTS = {BatchStatus.PAUSED: _PAUSED, BatchStatus.CANCELLED: _CANCELLED}
_NEVER_STARTED = text(
    """
    update recipients set status = 'cancelled'
    where batch_id = :batch_id and status < 'cancelled'
    """
)


def locked_batch(
    connection: Connection, tenant_id: UUID, batch_id: UUID
) -> dict[str, Any]:
    """Return a batch's row with its config under `config`, locked to the end.

    Uploads and sending both hold this lock, so no part can slip in after a batch was
    sealed. Raises `NotFoundError` for another tenant's batch.
    """
    row = (
        connection.execute(_LOCKED, {"batch_id": batch_id, "tenant_id": tenant_id})
        .mappings()
        .first()
    )
    if row is None:
        raise NotFoundError(f"There is no batch {batch_id}.")
    return dict(row)


def queue_batch(
    connection: Connection,
    batch: dict[str, Any],
    plan: Plan,
    *,
    scheduled_at: datetime | None = None,
) -> None:
    """Seal a locked draft and queue it, at once or for a time to come."""
    if batch["status"] != BatchStatus.DRAFT:
        raise ConflictError(f"The batch is {batch['status']}; only a draft is sent.")
    if not batch["recipients"]:
        raise ConflictError("The batch has no recipients; upload some first.")
    connection.execute(
        _QUEUED,
        {
            "batch_id": batch["id"],
            "sealed": orjson.dumps(plan.sealed()).decode(),
            "scheduled_at": scheduled_at,
        },
    )


def pause_batch(
    connection: Connection, tenant_id: UUID, batch_id: UUID, *, reason: str = ""
) -> None:
    """Stop a batch: calls already begun are finished, no other begins."""
    _change(connection, (tenant_id, batch_id), BatchStatus.PAUSED, reason)


def resume_batch(connection: Connection, tenant_id: UUID, batch_id: UUID) -> None:
    """Let a paused batch go on; its open chunks are published anew."""
    found = connection.execute(_RESUMED, {"batch_id": batch_id, "tenant_id": tenant_id})
    if not found.rowcount:
        _refuse(connection, tenant_id, batch_id, "resumed")
    connection.execute(_REPUBLISHED, {"batch_id": batch_id})


def cancel_batch(
    connection: Connection, tenant_id: UUID, batch_id: UUID, *, reason: str = ""
) -> None:
    """End a batch: whoever was not called yet never will be.

    Claimed chunks end at their next advance or take-over. A batch that had not been
    started has no ledger, so its recipients are cancelled here.
    """
    changed = _change(connection, (tenant_id, batch_id), BatchStatus.CANCELLED, reason)
    if changed["started_at"] is None:
        connection.execute(_NEVER_STARTED, {"batch_id": batch_id})
    close_open_chunks(connection, batch_id)


def _change(
    connection: Connection,
    batch: tuple[UUID, UUID],
    status: BatchStatus,
    reason: str,
) -> dict[str, Any]:
    tenant_id, batch_id = batch
    found = connection.execute(
        _STATEMENTS[status],
        {
            "batch_id": batch_id,
            "tenant_id": tenant_id,
            "before": [str(before) for before in sources_of(status)],
            "reason": reason or None,
        },
    )
    if not found.rowcount:
        _refuse(connection, tenant_id, batch_id, str(status))
    return dict(found.mappings().one()) if found.returns_rows else {}


def _refuse(
    connection: Connection, tenant_id: UUID, batch_id: UUID, wanted: str
) -> None:
    now = connection.execute(
        text("select status from batches where id = :id and tenant_id = :tenant_id"),
        {"id": batch_id, "tenant_id": tenant_id},
    ).scalar()
    if now is None:
        raise NotFoundError(f"There is no batch {batch_id}.")
    raise ConflictError(f"The batch is {now} and cannot become {wanted}.")
