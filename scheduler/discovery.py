"""Station 3: batches that are due get their ledger, and work that is open a job."""

from brokers import JetStreamBroker, dispatch
from models.database import Database
from models.jobs import ExpandBatch
from models.queries import publishing

#: A batch that still has something to publish is expanded again after this time.
EXPAND_AGAIN_S = 2.0


def discover(database: Database, broker: JetStreamBroker) -> int:
    """Start what is due and ask for the expansion of what is unpublished.

    Returns how many expansions were asked for. If the job cannot be published, the
    next round asks again: what is left to do is a query.
    """
    with database.transaction() as connection:
        publishing.start_due_batches(connection)
    with database.statement() as connection:
        due = publishing.batches_to_expand(connection, again_s=EXPAND_AGAIN_S)
    dispatch.send_many(broker, [ExpandBatch(batch_id=str(batch)) for batch in due])
    return len(due)
