"""A tenant's batches of which the event log cannot know anything yet."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

# A batch is listed from here until its first chunk is logged, so that it is always in
# one list. Finished ones are looked at for a month: a longer outage of the event log
# hides older ones from the lists alone.
_UNLOGGED = text(
    """
    select b.id, b.name, b.status, b.created_at, b.scheduled_at, b.queued_at,
        b.recipients
    from batches b
    where b.tenant_id = :tenant_id and not b.priority
        and (
            b.status in ('draft', 'queued', 'processing', 'paused')
            or b.created_at > clock_timestamp() - interval '30 days'
        )
        and not exists (
            select from chunks c
            where c.batch_id = b.id and c.logged_at is not null
        )
    order by b.created_at desc, b.id desc limit :limit
    """
)


def unlogged_batches(
    connection: Connection, tenant_id: UUID, *, limit: int
) -> list[dict[str, Any]]:
    """Return drafts and batches without a logged chunk, newest first.

    Keys: `id name status created_at scheduled_at queued_at recipients`.
    """
    found = connection.execute(_UNLOGGED, {"tenant_id": tenant_id, "limit": limit})
    return [dict(row) for row in found.mappings()]
