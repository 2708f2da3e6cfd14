"""Replaying a chunk's dead letter: the ledger opens the row, and publishes it anew.

The letter's own message would find its row done. Once the row is open again, with a
new epoch, expansion publishes it as it is now; so the letter is only dropped.
"""

import logging

from brokers import DeadLetter
from hot_state.outcomes import Outcomes
from models.database import Database
from models.errors import ConflictError, NeighbourUnavailableError
from models.jobs import SendChunk, SendMessage, job_of
from models.queries import ledger
from models.queries.reopening import Reopened, reopen_dead

log = logging.getLogger("batchsender.dead_letters")


def reopened(database: Database, outcomes: Outcomes, letter: DeadLetter) -> int:
    """Open the letter's chunk again; return how many recipients are sent now.

    0 where the ledger has nobody left to send, or is at it already. The letter is
    not needed any more once this returned. A second time returns 0.

    Raises:
        ConflictError: The letter cannot be replayed; it says why.
        NeighbourUnavailableError: Postgres does not answer.
    """
    job = _job(letter)
    with database.transaction() as connection:
        found = reopen_dead(connection, job.batch_id, job.no)
        if found is None:
            seen = ledger.look(connection, job.batch_id, job.no, margin_s=0.0)
    if found is not None:
        _show(outcomes, job.batch_id, found)
        return found.open
    if seen.state is None:
        raise ConflictError(
            f"Dead letter {letter.sequence} is of a batch that is gone; drop it."
        )
    if seen.status in ("cancelled", "failed"):
        raise ConflictError(
            f"Dead letter {letter.sequence} is of a batch that is {seen.status};"
            " drop it."
        )
    return 0


def _job(letter: DeadLetter) -> SendChunk:
    message = letter.message
    if message is None:
        raise _unreadable(letter)
    try:
        if message.actor_name == SendMessage.actor:
            return job_of(SendMessage, message.kwargs).chunk
        return job_of(SendChunk, message.kwargs)
    except TypeError as error:
        raise _unreadable(letter) from error


def _unreadable(letter: DeadLetter) -> ConflictError:
    return ConflictError(
        f"Dead letter {letter.sequence} cannot be read as a chunk; drop it. Recovery"
        " publishes what its batch still has to send."
    )


def _show(outcomes: Outcomes, batch_id: str, found: Reopened) -> None:
    """Take the burial out of the bitmaps: final bits would skip a redelivery."""
    try:
        outcomes.redraw(batch_id, [(found.first, found.size, found.sets)])
    except NeighbourUnavailableError as error:
        log.warning("The bitmaps still show the burial: %s", error)
