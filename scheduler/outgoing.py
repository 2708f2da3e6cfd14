"""Events that tenants subscribed to become deliveries, and deliveries messages."""

import logging

from dramatiq.errors import BrokerError

from brokers import JetStreamBroker, dispatch
from models.database import Database
from models.errors import NeighbourUnavailableError
from models.jobs import DeliverWebhook
from models.queries import deliveries, publishing
from scheduler.timetable import Round

log = logging.getLogger("batchsender.outgoing")

#: What happened within this time is told in one delivery, where there is room.
EVERY_S = 1.0
#: Rows of the outbox that are packed in one transaction.
PACKED_ROWS = 200
#: A wait shorter than this is none.
_NOW_S = 0.5


def publish_deliveries(database: Database, broker: JetStreamBroker) -> Round:
    """Pack what is in the outbox, publish what is due or will be, and mark it.

    Who dies in between publishes again: a copy finds the attempt made, or makes it by
    the same id.

    Raises:
        NeighbourUnavailableError: NATS takes nothing; the next round tries again.
    """
    with database.transaction() as connection:
        taken = deliveries.pack(connection, rows=PACKED_ROWS)
    with database.statement() as connection:
        waiting = deliveries.unpublished(connection)
    if waiting:
        try:
            _publish(broker, waiting)
        except BrokerError as error:
            raise NeighbourUnavailableError(publishing.QUEUE_TAKES_NOTHING) from error
        with database.statement() as connection:
            deliveries.mark_published(connection, [job for job, _ in waiting])
    return Round(again=taken == PACKED_ROWS or bool(waiting))


def _publish(
    broker: JetStreamBroker, waiting: list[tuple[DeliverWebhook, float]]
) -> None:
    now = [job for job, wait_s in waiting if wait_s < _NOW_S]
    dispatch.send_many(broker, now, dedup_ids=[job.message_id for job in now])
    for job, wait_s in waiting:
        if wait_s >= _NOW_S:
            dispatch.send_later(broker, job, delay_s=wait_s)


def recover(database: Database, broker: JetStreamBroker, *, keep_s: float) -> int:
    """Publish again what NATS has lost, and forget what ended long ago.

    Returns how many deliveries will be published again.

    Raises:
        NeighbourUnavailableError: NATS does not answer.
    """
    try:
        stored = broker.stored(DeliverWebhook.queue)
    except BrokerError as error:
        raise NeighbourUnavailableError(
            "NATS does not answer; check NATS_URL."
        ) from error
    with database.statement() as connection:
        again = deliveries.republish_overdue(connection, stored)
        deliveries.purge(connection, keep_s=keep_s)
    if again:
        log.warning("%s outgoing deliveries are published anew.", again)
    return again
