"""What can become of a batch and of a recipient, and which change is a step forward.

docs/states.md draws both.
"""

from enum import StrEnum


class BatchStatus(StrEnum):
    """The life of a batch."""

    DRAFT = "draft"
    QUEUED = "queued"
    PROCESSING = "processing"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: From a status to those that may follow it. Each change is one statement
#: `where status in (…)`, so that two processes cannot both make it.
BATCH_CHANGES: dict[BatchStatus, frozenset[BatchStatus]] = {
    BatchStatus.DRAFT: frozenset({BatchStatus.QUEUED}),
    BatchStatus.QUEUED: frozenset({BatchStatus.PROCESSING, BatchStatus.CANCELLED}),
    BatchStatus.PROCESSING: frozenset(
        {
            BatchStatus.PAUSED,
            BatchStatus.COMPLETED,
            BatchStatus.FAILED,
            BatchStatus.CANCELLED,
        }
    ),
    BatchStatus.PAUSED: frozenset(
        {BatchStatus.PROCESSING, BatchStatus.COMPLETED, BatchStatus.CANCELLED}
    ),
    # An operator's replay of a dead letter reopens a finished batch.
    BatchStatus.COMPLETED: frozenset({BatchStatus.PROCESSING}),
    BatchStatus.FAILED: frozenset(),
    BatchStatus.CANCELLED: frozenset(),
}


def sources_of(status: BatchStatus) -> list[BatchStatus]:
    """Return the statuses from which a batch may become `status`."""
    return [before for before, after in BATCH_CHANGES.items() if status in after]


class RecipientStatus(StrEnum):
    """What became of one recipient, in the order of rank, lowest first.

    A status only ever gives way to one of higher rank, whatever order the news
    arrive in. `unknown` means that a call was made and no answer came: any fact
    outranks it. A fact that proves a sending outranks our own refusal.
    """

    PENDING = "pending"
    QUEUED = "queued"
    SENDING = "sending"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"
    SUPPRESSED = "suppressed"
    FAILED = "failed"
    SENT = "sent"
    DELIVERED = "delivered"
    OPENED = "opened"
    CLICKED = "clicked"
    BOUNCED = "bounced"
    COMPLAINED = "complained"

    @property
    def rank(self) -> int:
        """Return the place in the order; 0 is `pending`."""
        return _RANKS[self]


_RANKS = {status: rank for rank, status in enumerate(RecipientStatus)}

#: The five ends of our own work; each recipient of a finished batch has one.
OUTCOMES = (
    RecipientStatus.SENT,
    RecipientStatus.FAILED,
    RecipientStatus.UNKNOWN,
    RecipientStatus.SUPPRESSED,
    RecipientStatus.CANCELLED,
)


def follows(status: RecipientStatus, *, after: RecipientStatus) -> bool:
    """Tell whether `status` is a step forward from `after`."""
    return status.rank > after.rank


def counted_as(status: RecipientStatus) -> RecipientStatus | None:
    """Return the outcome counter that holds a recipient of this status, if any.

    Everything a provider reports later happened to a message that was sent.
    """
    if status.rank > RecipientStatus.SENT.rank:
        return RecipientStatus.SENT
    return status if status in OUTCOMES else None
