"""What providers report later, moved into recipients and counters together."""

from uuid import UUID

from sqlalchemy import Connection, text

from models.status import RecipientStatus, counted_as

_MOVE = text(
    """
    update recipients r
    set status = cast(:status as recipient_status),
        provider_message_id = coalesce(:provider_message_id, r.provider_message_id)
    where r.batch_id = :batch_id and r.seq = :seq
        and r.status < cast(:status as recipient_status)
    returning old.status as before
    """
)
_COUNT = """
    update batches set {changes} where id = :batch_id
    """


def move_recipient(
    connection: Connection,
    batch_id: UUID,
    seq: int,
    *,
    status: RecipientStatus,
    provider_message_id: str | None = None,
) -> bool:
    """Move one recipient up to `status`; counters follow. False if it did not move."""
    before = connection.execute(
        _MOVE,
        {
            "batch_id": batch_id,
            "seq": seq,
            "status": str(status),
            "provider_message_id": provider_message_id,
        },
    ).scalar()
    if before is None:
        return False
    left, entered = counted_as(RecipientStatus(before)), counted_as(status)
    if left != entered:
        changes = [f"{entered} = {entered} + 1"] if entered else []
        changes += [f"{left} = {left} - 1"] if left else []
        connection.execute(
            text(_COUNT.format(changes=", ".join(changes))), {"batch_id": batch_id}
        )
    return True
