"""Every key we keep in Dragonfly, and how long each lives.

What belongs to a batch carries its id in braces, the hash tag, so that the keys of a
batch stay together. Lifetimes are in seconds and start anew with each write.
"""

from collections.abc import Iterable

from models.status import OUTCOMES, RecipientStatus

#: Bitmaps and outcome records of a batch that nothing writes to any more. Longer
#: than a pause over a weekend; afterwards the ledger redraws what is asked for.
BATCH_TTL_S = 4 * 86_400

#: How long the server's lifetime is remembered while no limit is asked for. When
#: it is forgotten, buckets that are begun later begin empty.
LIFETIME_TTL_S = 86_400

#: How long a bucket is kept after it would be full again.
BUCKET_MARGIN_S = 60

#: A breaker whose provider nobody called for so long is closed.
BREAKER_TTL_S = 2 * 86_400

#: How long it is told what a batch waits for, after its last refusal. Longer than
#: the waits between refusals (`limiter.TURNS_S`).
SHORTAGE_TTL_S = 15

#: How long a report is known by its id; providers repeat theirs for 28 hours at most.
REPORT_TTL_S = 48 * 3600

#: The bitmaps' statuses, of highest rank first: who is in one is in none after it.
RANKED: tuple[RecipientStatus, ...] = tuple(
    sorted(OUTCOMES, key=lambda status: status.rank, reverse=True)
)

#: Sorted set: batches that have outcome records, by the second they expire.
WAITING = "outcomes:waiting"

#: String `run since`: the server's run and when it was first met, in microseconds.
LIFETIME = "buckets:lifetime"


def bitmap(batch_id: str, status: str) -> str:
    """Return the string whose bit `seq` tells who of the batch has the status."""
    return f"{{{batch_id}}}:bits:{status}"


def bitmaps(batch_id: str) -> list[str]:
    """Return the batch's bitmaps in the order of `RANKED`."""
    return [bitmap(batch_id, status) for status in RANKED]


def outcomes(batch_id: str) -> str:
    """Return the hash of outcome records, by field `no:token`."""
    return f"{{{batch_id}}}:outcomes"


def buckets(scopes: Iterable[str]) -> list[str]:
    """Return the strings of token buckets; `read_bucket.lua` tells what they hold."""
    return [f"bucket:{scope}" for scope in scopes]


def shortage(batch_id: str) -> str:
    """Return the string that tells what a batch waits for, as JSON."""
    return f"{{{batch_id}}}:shortage"


def lease(name: str) -> str:
    """Return the string that holds the owner of a lease."""
    return f"lease:{name}"


def answer(question: str) -> str:
    """Return the string that holds what one process was told for all."""
    return f"answer:{question}"


def breaker(scope: str) -> str:
    """Return the string that holds a circuit breaker's state as JSON."""
    return f"breaker:{scope}"


def report(digest: str) -> str:
    """Return the string that tells that a report was taken."""
    return f"report:{digest}"
