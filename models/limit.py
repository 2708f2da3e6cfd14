"""Rates, and the chunk size that they allow."""

from dataclasses import dataclass
from typing import Literal

#: What a limit counts: messages, or the calls that carry them.
Counts = Literal["recipients", "requests"]

#: A chunk never holds more recipients than its limit lets through in this time.
CHUNK_WINDOW_S = 5.0


@dataclass(frozen=True, slots=True)
class Limit:
    """How fast calls may go out.

    Attributes:
        per_s: Tokens that come back each second.
        burst: Tokens that can be saved up; the largest single take.
    """

    per_s: float
    burst: float

    @classmethod
    def of(cls, per_s: float, burst: float | None = None) -> "Limit":
        """Return a limit; without a burst, that of half a second, and at least 1.

        More would be sent at once after a rest, and the provider counts by the
        second; less would be full before a waiting chunk is back.
        """
        return cls(per_s, max(1.0, per_s / 2 if burst is None else burst))

    @property
    def most_at_once(self) -> int:
        """Return the tokens of the largest take that keeps the rate busy.

        It is half the burst: while that much is waited for, the other half takes in
        what comes back until the one who waits has come.
        """
        return max(1, int(self.burst / 2))

    def at_rate(self, per_s: float) -> "Limit":
        """Return this limit at another rate, its burst in the same proportion."""
        return Limit(per_s, max(1.0, self.burst * per_s / self.per_s))


@dataclass(frozen=True, slots=True)
class Bucket:
    """One scope's limit: the system's, a provider's, a tenant's or a config's.

    Attributes:
        scope: The scope's name, such as `config:0193…`; part of the key.
        limit: The scope's rate and burst.
        counts: What its tokens stand for.
        ceiling_per_s: The most that the provider's own word can make of the rate:
            the rate itself, but where that is a guess until the provider tells.
    """

    scope: str
    limit: Limit
    counts: Counts = "recipients"
    ceiling_per_s: float | None = None

    @property
    def most_per_s(self) -> float:
        """Return the ceiling, which is the rate where none is given."""
        return self.limit.per_s if self.ceiling_per_s is None else self.ceiling_per_s

    def amount(self, recipients: float, requests: float) -> float:
        """Return how many tokens so many recipients, in so many calls, are here."""
        return requests if self.counts == "requests" else recipients


@dataclass(frozen=True, slots=True)
class Shortage:
    """Which bucket had too few tokens, of several the one that is waited for longest.

    Attributes:
        bucket: As it was asked for.
        per_s: Its rate at this moment; less than the bucket's where the provider
            told so, or while Dragonfly is away.
        wait_s: The seconds until it is worth asking again.
    """

    bucket: Bucket
    per_s: float
    wait_s: float


@dataclass(frozen=True, slots=True)
class Told:
    """What a provider told of its own limit.

    Attributes:
        per_s: Tokens a second; none when it told no rate.
        for_s: How long that holds unless it is told again, in seconds.
        pause_s: Nothing may be taken for so long.
    """

    per_s: float | None = None
    for_s: float = 0.0
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Grid:
    """How a batch is cut: chunk `no` is the seqs `[no * chunk, (no + 1) * chunk)`.

    Attributes:
        chunk: Recipients in a chunk, a whole number of calls.
        call: Recipients in one provider call.
    """

    chunk: int
    call: int


def grid(limit: Limit, *, max_batch: int, largest_chunk: int) -> Grid:
    """Return the cut that `limit` allows (design, rule 2).

    A call is at most half the burst, so that waiting for its tokens wastes none (see
    `Limit.most_at_once`); a chunk is at most `largest_chunk`, and at most what the
    limit lets through in `CHUNK_WINDOW_S`.
    """
    call = max(1, min(max_batch, limit.most_at_once, largest_chunk))
    most = min(largest_chunk, int(limit.per_s * CHUNK_WINDOW_S))
    return Grid(chunk=max(call, most // call * call), call=call)
