"""Rates, and the chunk size that they allow."""

from dataclasses import dataclass

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
        """Return a limit; without a burst, that of one second, and at least 1."""
        return cls(per_s, max(1.0, per_s if burst is None else burst))


@dataclass(frozen=True, slots=True)
class Bucket:
    """One scope's limit: the system's, a provider's, a tenant's or a config's.

    Attributes:
        scope: The scope's name, such as `config:0193…`; part of the key.
        limit: The scope's rate and burst.
    """

    scope: str
    limit: Limit


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

    A call is never larger than the burst, so all-or-none taking always succeeds at
    some time; a chunk is at most `largest_chunk`, and at most what the limit lets
    through in `CHUNK_WINDOW_S`.
    """
    call = max(1, min(max_batch, int(limit.burst), largest_chunk))
    most = min(largest_chunk, int(limit.per_s * CHUNK_WINDOW_S))
    return Grid(chunk=max(call, most // call * call), call=call)
