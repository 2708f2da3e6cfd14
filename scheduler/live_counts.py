"""Live counts that were lost, or never counted, drawn again from the ledger.

Dragonfly is told by workers as they go, so it is usually ahead of Postgres. Where it is
behind it was emptied, or put back in time, or the ledger was closed by a statement that
Dragonfly knows nothing of (a cancelled batch).
"""

import logging

from hot_state.outcomes import Outcomes
from models.database import Database
from models.queries import fold

log = logging.getLogger("batchsender.live_counts")


def redraw_live_counts(database: Database, outcomes: Outcomes) -> int:
    """Draw the bitmaps of batches whose live counts are behind; returns how many.

    A record that comes in between is painted over and drawn in the next round.
    """
    with database.statement() as connection:
        counters = fold.unfinished_counters(connection)
        live = outcomes.counts_of(list(counters))
        behind = [
            batch_id
            for batch_id, counted in counters.items()
            if any(live[batch_id][status] < n for status, n in counted.items())
        ]
        for batch_id in behind:
            log.info("The live counts of batch %s are drawn again.", batch_id)
            outcomes.redraw(batch_id, fold.chunk_bits(connection, batch_id))
    return len(behind)
