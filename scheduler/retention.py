"""A duty: delete finished batches that their tenants no longer keep."""

import logging

from models.database import Database
from models.queries.retention import (
    delete_batch,
    delete_some_recipients,
    expired_batches,
)

log = logging.getLogger("batchsender.retention")

#: Seconds between two rounds.
EVERY_S = 3600.0

#: Batches deleted in one round, single messages among them.
_MOST = 1000


def delete_expired(database: Database) -> int:
    """Delete what is beyond its tenant's retention, and return how many batches.

    The recipients go first, in steps, then all else at once: cut off, the next round
    finds the batch again. Statistics in the event log, which name nobody, stay.
    """
    with database.statement() as connection:
        found = expired_batches(connection, limit=_MOST)
        for batch_id in found:
            while delete_some_recipients(connection, batch_id):
                pass
    for batch_id in found:
        with database.transaction() as connection:
            delete_batch(connection, batch_id)
    if found:
        log.info("Deleted %d batches beyond their retention.", len(found))
    return len(found)
