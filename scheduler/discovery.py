"""Station 3: batches that are due get their ledger, and work that is open a job."""

import logging
from collections.abc import Sequence
from uuid import UUID

from dramatiq.errors import BrokerError

from brokers import JetStreamBroker, dispatch
from models.database import Database
from models.errors import NeighbourUnavailableError
from models.jobs import ExpandBatch
from models.queries import holding, publishing
from scheduler.deeds import note

log = logging.getLogger("batchsender.discovery")

#: A batch that still has something to publish is expanded again after this time.
EXPAND_AGAIN_S = 2.0


def discover(database: Database, broker: JetStreamBroker) -> int:
    """End holds, start what is due, and ask for the expansion of what is unpublished.

    Returns how many expansions were asked for. While NATS takes nothing, that is the
    reason its tenants read; the next round asks again: what is left is a query.
    """
    with database.transaction() as connection:
        if released := holding.release_lapsed(connection):
            log.info("%s holds of configs have come to their end.", released)
        started = publishing.start_due_batches(connection)
    _note(released, started)
    with database.statement() as connection:
        due = publishing.batches_to_expand(connection, again_s=EXPAND_AGAIN_S)
    try:
        dispatch.send_many(broker, [ExpandBatch(batch_id=str(batch)) for batch in due])
    except BrokerError as error:
        with database.statement() as connection:
            for batch_id in due:
                publishing.note_reason(
                    connection, str(batch_id), publishing.QUEUE_TAKES_NOTHING
                )
        raise NeighbourUnavailableError(publishing.QUEUE_TAKES_NOTHING) from error
    return len(due)


def _note(released: int, started: Sequence[UUID]) -> None:
    if released:
        note("configs.resumed", "config", configs=released)
    for batch_id in started:
        note("batch.started", "batch", str(batch_id))
