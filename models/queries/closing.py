"""Ending rows that nobody holds, when their batch was cancelled (rule 10)."""

from uuid import UUID

from sqlalchemy import Connection, text

# Who was ever in doubt becomes unknown, whom a late answer proved sent is sent, and
# everybody else is cancelled.
_CLOSE = """
    update chunks c
    set state = 'done', done_at = clock_timestamp(), folded_at = null,
        sent = c.sent | (rest.who & c.late),
        unknown = c.unknown | (rest.who & c.doubt & ~c.late),
        cancelled = c.cancelled | (rest.who & ~c.doubt & ~c.late)
    from (
        select o.batch_id, o.no,
            ~(o.sent | o.failed | o.unknown | o.suppressed | o.cancelled) as who
        from chunks o join batches b on b.id = o.batch_id
        where o.state = 'open' and {which}
        for no key update of o {waiting}
    ) rest
    where c.batch_id = rest.batch_id and c.no = rest.no and c.state = 'open'
    """
_OF_BATCH = text(_CLOSE.format(which="b.id = :batch_id", waiting=""))
_OF_CANCELLED = text(
    _CLOSE.format(which="b.status = 'cancelled'", waiting="skip locked")
)


def close_open_chunks(connection: Connection, batch_id: UUID) -> int:
    """End a batch's open rows; those that are held end at their next advance."""
    return connection.execute(_OF_BATCH, {"batch_id": batch_id}).rowcount


def close_cancelled(connection: Connection) -> int:
    """End the open rows of cancelled batches; the second time there are none.

    A holder that gave its row back while the batch was being cancelled leaves such
    a row behind.
    """
    return connection.execute(_OF_CANCELLED).rowcount
