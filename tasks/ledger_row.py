"""One delivery's hold on its row of the ledger, and what that makes of the message.

Whoever loses the row begins nothing and settles nothing; the message is acknowledged
only when the ledger says that it is not needed (design, rules 4 and 7).
"""

import logging
import time
from dataclasses import replace
from uuid import uuid4

from brokers import Delivery
from models import chunk as rules
from models.chunk import Chunk
from models.errors import NeighbourUnavailableError
from models.jobs import SendChunk
from models.queries import closing, ledger
from models.queries.ledger import Advanced
from tasks.worker import Worker
from telemetry import CLAIM_SECONDS

log = logging.getLogger("batchsender.send")

#: A chunk that waits longer than this goes back to the ledger, its message acked.
LONGEST_NAK_S = 30.0
#: The shortest wait for a chunk that somebody else holds.
_SHORTEST_NAK_S = 0.1
#: Seconds between attempts while Postgres does not answer.
_RETRY_S = 0.5


class LedgerRow:
    """The row of one job: claimed, advanced, and given up, by one delivery."""

    def __init__(self, worker: Worker, job: SendChunk, delivery: Delivery) -> None:
        self._worker = worker
        self._job = job
        self._delivery = delivery
        # Counted from before the claim, on a clock that a stopped machine keeps.
        self._held_since = 0.0

    @property
    def is_fresh(self) -> bool:
        """Tell whether enough is left of the lease for a call to begin."""
        return now_s() - self._held_since <= self._worker.timing.start_within_s

    def claim(self, fresh: Chunk) -> tuple[Chunk, str] | None:
        """Claim the row; a lost reply is asked again by the claim's id (rule 4c).

        Returns the row and its batch's status; none if it cannot be claimed.
        """
        claim_id = uuid4()
        timing = self._worker.timing
        self._held_since = now_s()
        try:
            with (
                CLAIM_SECONDS.time(),
                self._worker.database.statement() as connection,
            ):
                return ledger.claim(
                    connection,
                    fresh,
                    claim_id,
                    lease_s=timing.lease_s,
                    margin_s=timing.take_over_after_s,
                )
        except NeighbourUnavailableError as error:
            log.warning("The claim's reply was lost: %s", error)
        # No call begins when it is late; but only we know that none began, and a
        # claim that we left behind would make its first group unknown.
        while True:
            self._delivery.touch()
            time.sleep(_RETRY_S)
            try:
                with self._worker.database.statement() as connection:
                    return ledger.claimed_as(connection, fresh, claim_id)
            except NeighbourUnavailableError as error:
                log.warning("Postgres is still away: %s", error)

    def advance(
        self, held: Chunk, then: Chunk | None, *, wait_s: float = 0.0
    ) -> Advanced | None:
        """Write what was answered and, with `then`, declare the next calls.

        A wait that is too long for the queue unpublishes the row. None: the row is
        another holder's, our answers are handed in as facts and the message is left.
        """
        began = now_s()
        unpublish = wait_s > LONGEST_NAK_S and not held.in_call
        advanced = self._written(held, then, wait_s=wait_s, unpublish=unpublish)
        if advanced is None:
            self._lose(held)
        elif advanced.goes_on:
            self._held_since = began
        elif not unpublish:
            self._settle(advanced, wait_s)
        return advanced

    def bury(self, held: Chunk) -> bool:
        """Close the row as a dead letter's; false if it is another holder's."""
        advanced = self._written(held, None, dead=True)
        if advanced is None:
            self._lose(held)
        return advanced is not None

    def wait(self, wait_s: float) -> None:
        """Hold back what was not claimed: nothing is written, or it is unpublished."""
        if wait_s > LONGEST_NAK_S:
            self._unpublish(wait_s)
        else:
            self._delivery.postpone(wait_s)

    def leave_to_others(self, *, lost: bool = False) -> None:
        """Settle a message whose chunk is not ours to send now."""
        with self._worker.database.statement() as connection:
            seen = ledger.look(
                connection,
                self._job.batch_id,
                self._job.no,
                margin_s=self._worker.timing.take_over_after_s,
            )
            if seen.state == "open" and seen.status == "cancelled":
                closing.close_cancelled(connection)
                return
        if seen.state in (None, "done"):
            return
        if seen.state == "open" and (seen.status != "processing" or seen.held_reason):
            self._unpublish(0.0)
        elif lost:
            self._delivery.leave()
        else:
            wait_s = max(seen.wait_s, _SHORTEST_NAK_S)
            self._delivery.postpone(min(wait_s, LONGEST_NAK_S))

    def with_records(self, held: Chunk, *, keyed: bool) -> Chunk:
        """Take what former holders had recorded; Dragonfly away is no record.

        The last holder's record tells which of the calls were answered. An earlier
        one only proves who was sent: since then others may have been called again.
        """
        outcomes = self._worker.outcomes
        try:
            for no, token in outcomes.waiting(held.batch_id):
                record = None
                if no == held.no:
                    record = outcomes.find(held.batch_id, no, token)
                if record is not None and token == held.token - 1:
                    held = rules.recorded(held, record, keyed=keyed)
                elif record is not None:
                    held = replace(held, late=held.late | record.sent)
        except NeighbourUnavailableError as error:
            log.warning("Taken over without a record: %s", error)
        return held

    def record(self, held: Chunk) -> None:
        """Put bits and outcome into Dragonfly, if it is there (rule 4e)."""
        try:
            self._worker.outcomes.record(
                held.batch_id, held.no, held.token, held.first, held.size, held.outcome
            )
        except NeighbourUnavailableError as error:
            log.warning("An outcome is only in the ledger: %s", error)

    def _written(
        self,
        held: Chunk,
        then: Chunk | None,
        *,
        wait_s: float = 0.0,
        unpublish: bool = False,
        dead: bool = False,
    ) -> Advanced | None:
        """Advance; ask again for as long as Postgres is away.

        What was answered must not be forgotten, and nobody else can claim meanwhile.
        A repeated advance writes the same again, or finds the row done.
        """
        while True:
            try:
                with self._worker.database.statement() as connection:
                    return ledger.advance(
                        connection,
                        held,
                        then=then,
                        lease_s=self._worker.timing.lease_s,
                        wait_s=wait_s,
                        unpublish=unpublish,
                        dead=dead,
                    )
            except NeighbourUnavailableError as error:
                log.warning("An advance waits: %s", error)
                self._delivery.touch()
                time.sleep(_RETRY_S)

    def _settle(self, advanced: Advanced, wait_s: float) -> None:
        if advanced.done or advanced.status in ("paused", "held"):
            # Unpublished: it is published anew when the batch goes on.
            return
        if advanced.status == "cancelled":
            with self._worker.database.statement() as connection:
                closing.close_cancelled(connection)
        # A chunk that was closed just now is acked at its next delivery.
        self._delivery.postpone(wait_s)

    def _lose(self, held: Chunk) -> None:
        """Hand in what was answered as facts; the row is another holder's now."""
        with self._worker.database.statement() as connection:
            ledger.add_late_facts(
                connection, held.batch_id, held.no, sent=held.sent, size=held.size
            )
        self.leave_to_others(lost=True)

    def _unpublish(self, wait_s: float) -> None:
        """Give the chunk back to expansion; the message is acked, a copy is too."""
        with self._worker.database.statement() as connection:
            ledger.unpublish(
                connection,
                self._job.batch_id,
                self._job.no,
                epoch=self._job.epoch,
                wait_s=wait_s,
            )


def now_s() -> float:
    """Return seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
