"""What a worker counts of the recipients whom it called, by the group of calls."""

from functools import cache

from prometheus_client import Counter, Histogram

from models.chunk import Chunk
from models.status import RecipientStatus
from telemetry import ANSWERED_RECIPIENTS, PROVIDER_CALL_SECONDS


@cache
def call_seconds(provider: str) -> Histogram:
    """Return what times a provider's calls; looking it up costs more than timing."""
    return PROVIDER_CALL_SECONDS.labels(provider)


def count_answered(provider: str, before: Chunk, after: Chunk) -> None:
    """Count whom one group of calls gave an outcome: three sums, however many."""
    for outcome, was, now in (
        (RecipientStatus.SENT, before.sent, after.sent),
        (RecipientStatus.FAILED, before.failed, after.failed),
        (RecipientStatus.UNKNOWN, before.unknown, after.unknown),
    ):
        if (more := now.bit_count() - was.bit_count()) > 0:
            _answered(provider, outcome).inc(more)


@cache
def _answered(provider: str, outcome: RecipientStatus) -> Counter:
    return ANSWERED_RECIPIENTS.labels(provider, str(outcome))
