"""How reports are stored before their providers hear that they were.

Whatever many requests bring at once goes to NATS together: one of their threads takes
all that wait, the others wait for it. That costs NATS and us much less than a round
trip for each.
"""

import threading
from collections.abc import Callable, Sequence

from dramatiq.errors import BrokerError

from brokers import JetStreamBroker, MessageTooLarge, dispatch
from models.errors import (
    BatchSenderError,
    InvalidInputError,
    NeighbourUnavailableError,
)
from models.jobs import RecordWebhook

#: So many reports go to NATS at a time.
MOST_TOGETHER = 500

#: Stores jobs under these ids; raises what the broker raises.
Send = Callable[[Sequence[RecordWebhook], Sequence[str]], object]


def stored_by(broker: JetStreamBroker) -> Send:
    """Return what stores jobs in NATS; nothing is connected yet."""

    def send(jobs: Sequence[RecordWebhook], dedup_ids: Sequence[str]) -> None:
        dispatch.send_many(broker, jobs, dedup_ids=dedup_ids)

    return send


class Publisher:
    """Stores each report before it returns; any number of threads at once.

    Args:
        send: Stores many.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._is_led = False

    def __call__(self, job: RecordWebhook, *, dedup_id: str) -> None:
        """Store the job; the same id again is stored once.

        Raises:
            InvalidInputError: It is too large, or cannot be written as JSON.
            NeighbourUnavailableError: NATS did not confirm it.
        """
        ours = _Waiting(job, dedup_id)
        with self._lock:
            self._waiting.append(ours)
            leads, self._is_led = not self._is_led, True
        if not leads:
            ours.turn.acquire()
        if not ours.is_over:
            self._lead()
        if not ours.is_stored:
            raise _told(ours.error) from ours.error

    def _lead(self) -> None:
        """Store what waits, our own with it, and leave the rest to the next."""
        with self._lock:
            taken = self._waiting[:MOST_TOGETHER]
            del self._waiting[:MOST_TOGETHER]
        try:
            self._store(taken)
        finally:
            with self._lock:
                follower = self._waiting[0] if self._waiting else None
                self._is_led = follower is not None
            for one in taken:
                one.is_over = True
                one.turn.release()
            if follower is not None:
                follower.turn.release()

    def _store(self, taken: Sequence["_Waiting"]) -> None:
        try:
            self._send([one.job for one in taken], [one.dedup_id for one in taken])
            for one in taken:
                one.is_stored = True
        except (MessageTooLarge, TypeError, ValueError) as error:
            if len(taken) == 1:
                taken[0].error = error
                return
            # One of them is to blame, and nothing was sent: each for itself.
            for one in taken:
                self._store([one])
        except BrokerError as error:
            for one in taken:
                one.error = error


class _Waiting:
    """A report, and the thread that brought it."""

    __slots__ = ("dedup_id", "error", "is_over", "is_stored", "job", "turn")

    def __init__(self, job: RecordWebhook, dedup_id: str) -> None:
        self.job = job
        self.dedup_id = dedup_id
        self.error: Exception | None = None
        self.is_over = self.is_stored = False
        # Let go when all is over, or when it is this thread's turn to lead.
        self.turn = threading.Lock()
        self.turn.acquire()


def _told(error: Exception | None) -> BatchSenderError:
    if isinstance(error, MessageTooLarge):
        return InvalidInputError("The report is too large.")
    if isinstance(error, TypeError | ValueError):
        return InvalidInputError("The report cannot be stored.")
    return NeighbourUnavailableError("NATS did not confirm the report; send it again.")
