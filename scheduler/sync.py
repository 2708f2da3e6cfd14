"""Station 9: what the ledger says is done becomes recipients' statuses and counters.

Every step is a compare-and-set; a second leader changes nothing. The fold reads the
ledger alone. Dragonfly's records help where a holder is gone: they close its row, or
prove that somebody counted as unknown was sent.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from hot_state.outcomes import Outcomes
from models import chunk as rules
from models.chunk import Chunk
from models.database import Database
from models.errors import NeighbourUnavailableError
from models.queries import closing, fold, ledger, publishing
from models.timing import Timing
from scheduler import drawing
from scheduler.deeds import note
from telemetry import FOLDED_CHUNKS

log = logging.getLogger("batchsender.sync")

#: Chunks folded in one transaction.
FOLD_CHUNKS = 100
#: How often somebody who stayed unknown is tried again under `at_least_once`.
REOPENS = 3


@dataclass(frozen=True, slots=True)
class Synced:
    """What a round of sync did.

    Attributes:
        folded: How many chunks were folded.
        finished: The batches that it finished.
    """

    folded: int
    finished: Sequence[str]


def sync(database: Database, outcomes: Outcomes, timing: Timing) -> Synced:
    """Do one round; a second one at once finds nothing to do."""
    _close_by_record(database, outcomes, timing)
    folded = 0
    while found := _fold(database, outcomes):
        folded += found
    _take_late_records(database, outcomes)
    with database.statement() as connection:
        closing.close_cancelled(connection)
    with database.transaction() as connection:
        finished = fold.complete_batches(connection, reopens=REOPENS)
    for batch_id in finished:
        log.info("Batch %s is finished.", batch_id)
        note("batch.finished", "batch", batch_id)
    drawing.redraw(database, outcomes)
    return Synced(folded, finished)


def _fold(database: Database, outcomes: Outcomes) -> int:
    with database.transaction() as connection:
        folded = fold.fold(connection, chunks=FOLD_CHUNKS)
    FOLDED_CHUNKS.inc(len(folded))
    by_batch: dict[str, list[tuple[int, int]]] = {}
    for chunk in folded:
        by_batch.setdefault(chunk.batch_id, []).append((chunk.no, chunk.token))
    try:
        for batch_id, records in by_batch.items():
            outcomes.forget(batch_id, records)
    except NeighbourUnavailableError as error:
        log.warning("Records stay until they expire: %s", error)
    return len(folded)


def _close_by_record(database: Database, outcomes: Outcomes, timing: Timing) -> None:
    """Close rows whose holder is gone and had recorded all that it was calling.

    Its message may have been acked on the strength of the bitmaps, so nobody else
    would come.
    """
    with database.statement() as connection:
        over = fold.claims_over(connection, margin_s=timing.take_over_after_s)
    for batch_id, no, token in over:
        try:
            record = outcomes.find(batch_id, no, token)
        except NeighbourUnavailableError as error:
            log.warning("No records to close by: %s", error)
            return
        if record is None:
            continue
        with database.statement() as connection:
            plan = publishing.sealed_plan(connection, batch_id)
            held = ledger.in_call(connection, batch_id, no)
        if plan is None or held is None or held.token != token:
            continue
        after = rules.recorded(held, record, keyed=plan.calling(held).keyed)
        if not after.in_call:
            _close(database, after, timing)


def _close(database: Database, after: Chunk, timing: Timing) -> None:
    bare = Chunk(after.batch_id, after.no, after.first, after.size)
    with database.statement() as connection:
        claimed = ledger.claim(
            connection,
            bare,
            uuid4(),
            lease_s=timing.lease_s,
            margin_s=timing.take_over_after_s,
        )
        if claimed is None or claimed[0].token != after.token + 1:
            return
        ledger.advance(
            connection,
            rules.taken_by(after, claimed[0].token),
            then=None,
            lease_s=timing.lease_s,
        )
    log.info("Chunk %s of batch %s was closed by its record.", after.no, after.batch_id)


def _take_late_records(database: Database, outcomes: Outcomes) -> None:
    """Take records of former holders as facts, and drop what is folded."""
    try:
        for batch_id in outcomes.batches_waiting():
            _take_records_of(database, outcomes, batch_id)
    except NeighbourUnavailableError as error:
        log.warning("No late records: %s", error)


def _take_records_of(database: Database, outcomes: Outcomes, batch_id: str) -> None:
    waiting = outcomes.waiting(batch_id)
    with database.statement() as connection:
        rows = fold.chunk_states(connection, batch_id, [no for no, _ in waiting])
        needless = []
        for no, token in waiting:
            row = rows.get(no)
            if row is None or (token == row["token"] and row["folded"]):
                needless.append((no, token))
            elif token < row["token"]:
                record = outcomes.find(batch_id, no, token)
                if record is not None and record.sent:
                    ledger.add_late_facts(
                        connection, batch_id, no, sent=record.sent, size=row["size"]
                    )
                needless.append((no, token))
    # With none to forget, the batch itself is struck off if nothing waits there.
    outcomes.forget(batch_id, needless)
