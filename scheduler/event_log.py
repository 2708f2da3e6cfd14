"""Station 10: folded chunks are logged; the ledger itself is the log's spool."""

import logging

from analytics.event_log import Buffer, ChunkEvents, EventLog
from models.database import Database
from models.queries import fold

log = logging.getLogger("batchsender.event_log")

#: Chunks logged in one insert.
LOG_CHUNKS = 100


def log_events(database: Database, event_log: EventLog) -> int:
    """Log what is folded, once there is enough of it or it is old enough.

    Returns the chunks logged. Fails open: while ClickHouse is away events wait in
    the ledger. A chunk logged twice, because we died in between, counts once there.
    """
    with database.statement() as connection:
        waiting = fold.waiting_to_log(connection)
    if not Buffer().due(waiting.recipients, waiting.oldest_s):
        return 0
    logged = 0
    while chunks := _log_some(database, event_log):
        logged += chunks
    return logged


def _log_some(database: Database, event_log: EventLog) -> int:
    with database.statement() as connection:
        rows = fold.chunks_to_log(connection, chunks=LOG_CHUNKS)
    if rows:
        event_log.write([ChunkEvents.of_row(row) for row in rows])
        with database.statement() as connection:
            fold.mark_logged(connection, rows)
    return len(rows)
