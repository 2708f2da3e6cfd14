"""Single messages that their sender could not publish, or that must go out again."""

from dramatiq.errors import BrokerError

from brokers import JetStreamBroker, dispatch
from models.database import Database
from models.errors import NeighbourUnavailableError
from models.queries import messages, publishing

#: Published in one round; more are published by the next.
_MOST = 1000


def publish_messages(database: Database, broker: JetStreamBroker) -> int:
    """Publish what is left, by name, and mark it; returns how many it was.

    The usual message was published by whoever took it and is not seen here. A second
    copy of one decision has the same message id and is not stored.

    Raises:
        NeighbourUnavailableError: NATS takes nothing; the next round tries again.
    """
    with database.statement() as connection:
        jobs = messages.unpublished_messages(connection, most=_MOST)
    if not jobs:
        return 0
    try:
        dispatch.send_many(broker, jobs, dedup_ids=[job.message_id for job in jobs])
    except BrokerError as error:
        raise NeighbourUnavailableError(publishing.QUEUE_TAKES_NOTHING) from error
    with database.statement() as connection:
        messages.mark_messages_published(connection, jobs)
    return len(jobs)
