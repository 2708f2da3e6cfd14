"""Bitmaps that show less than the ledger knows are painted from it again.

They are a projection: a server that was wiped, came back from an old copy or was away
has lost some of it, and whoever is cancelled or given up is known to the ledger alone.
"""

import logging
from collections.abc import Mapping, Sequence

from hot_state.outcomes import Outcomes
from models.database import Database
from models.errors import NeighbourUnavailableError
from models.queries import drawing
from models.queries.drawing import Known

log = logging.getLogger("batchsender.drawing")

#: A finished batch is looked at for this long; afterwards Postgres is asked.
RECENT_S = 60.0
#: Rows read and painted at a time.
_ROWS = 500


def redraw(database: Database, outcomes: Outcomes) -> int:
    """Paint the bitmaps that are behind; returns of how many batches.

    While a batch runs its bitmaps are ahead of what is folded, so only fewer people
    than that show a loss; once it is finished every count must agree. Fails open:
    while Dragonfly is away live counts pause.
    """
    try:
        behind = _behind(database, outcomes)
        for batch_id in behind:
            _paint(database, outcomes, batch_id)
    except NeighbourUnavailableError as error:
        log.warning("Bitmaps are painted later: %s", error)
        return 0
    return len(behind)


def _behind(database: Database, outcomes: Outcomes) -> list[str]:
    """Ask the batches' counters first: to sum a large ledger costs as much as a fold.

    Where they find nobody missing there is none. They know more than the ledger where
    a provider's event came first, or while a row is folded anew; so the ledger decides.
    """
    with database.statement() as connection:
        suspects = _short(outcomes, drawing.counted(connection, recent_s=RECENT_S))
        if not suspects:
            return []
        return _short(outcomes, drawing.folded_counts(connection, suspects))


def _short(outcomes: Outcomes, known: Sequence[Known]) -> list[str]:
    """Return the batches whose bitmaps do not show what is known."""
    # Read after what is known: what a batch's bitmaps show only grows.
    shown = outcomes.counts_of([one.batch_id for one in known])
    return [one.batch_id for one in known if _is_behind(one, shown[one.batch_id])]


def _is_behind(known: Known, shown: Mapping[str, int]) -> bool:
    if known.finished:
        return dict(known.counts) != dict(shown)
    return sum(shown.values()) < sum(known.counts.values())


def _paint(database: Database, outcomes: Outcomes, batch_id: str) -> None:
    after = -1
    while True:
        with database.statement() as connection:
            rows = drawing.folded_rows(connection, batch_id, after=after, limit=_ROWS)
        outcomes.redraw(batch_id, [(row.first, row.size, row.sets) for row in rows])
        if len(rows) < _ROWS:
            break
        after = rows[-1].no
    log.info("The bitmaps of batch %s were painted from the ledger.", batch_id)
