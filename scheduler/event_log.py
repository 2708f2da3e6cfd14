"""Station 10: folded chunks are logged; the ledger itself is the log's spool."""

import logging
from collections.abc import Mapping
from typing import Any

from analytics.event_log import Buffer, ChunkEvents, EventLog
from models.database import Database
from models.queries import fold
from telemetry import EVENT_ROWS

log = logging.getLogger("batchsender.event_log")

#: Recipients logged in one insert: a large one costs a third of a small one.
LOG_RECIPIENTS = 100_000


def log_events(database: Database, event_log: EventLog) -> int:
    """Log what is folded: when it is enough, or old enough, or a batch is finished.

    Returns the chunks logged. Fails open: while ClickHouse is away events wait in
    the ledger. A chunk logged twice, because we died in between, counts once there.
    """
    with database.statement() as connection:
        waiting = fold.waiting_to_log(connection)
    if not waiting.finished and not Buffer().due(waiting.recipients, waiting.oldest_s):
        return 0
    logged = 0
    while chunks := _log_some(database, event_log):
        logged += chunks
    return logged


def _log_some(database: Database, event_log: EventLog) -> int:
    with database.statement() as connection:
        rows = fold.chunks_to_log(connection, recipients=LOG_RECIPIENTS)
    if rows:
        EVENT_ROWS.inc(event_log.write([_events(row) for row in rows]))
        with database.statement() as connection:
            fold.mark_logged(connection, rows)
    return len(rows)


def _events(row: Mapping[str, Any]) -> ChunkEvents:
    """Return a row of the ledger as the log takes it; bit strings stay text."""
    return ChunkEvents(
        batch_id=row["batch_id"],
        tenant_id=row["tenant_id"],
        first=row["first"],
        size=row["last"] - row["first"] + 1,
        queued_at=row["queued_at"],
        finished_at=row["done_at"],
        sent=row["sent"],
        failed=row["failed"],
        unknown=row["unknown"],
        suppressed=row["suppressed"],
        cancelled=row["cancelled"],
        provider_ids=row["provider_ids"] or (),
        errors={int(at): why for at, why in (row["errors"] or {}).items()},
        name=row["name"],
    )
