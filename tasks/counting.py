"""What a worker counts of the recipients whom it called, by the group of calls."""

from models.chunk import Chunk
from models.status import RecipientStatus
from telemetry import ANSWERED_RECIPIENTS


def count_answered(provider: str, before: Chunk, after: Chunk) -> None:
    """Count whom one group of calls gave an outcome: three sums, however many."""
    for outcome, was, now in (
        (RecipientStatus.SENT, before.sent, after.sent),
        (RecipientStatus.FAILED, before.failed, after.failed),
        (RecipientStatus.UNKNOWN, before.unknown, after.unknown),
    ):
        if (more := now.bit_count() - was.bit_count()) > 0:
            ANSWERED_RECIPIENTS.labels(provider, str(outcome)).inc(more)
