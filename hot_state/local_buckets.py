"""Token buckets of one process, for the time in which Dragonfly is away.

Each process gets half the rate divided by the number of processes, so that all of
them together stay below the rate even where some still reach Dragonfly. Buckets
begin empty. They hold half a burst divided likewise, but always enough for the
largest take asked for, since a call cannot be cut: processes that all save up for
a call of a whole burst may make it in the same moment.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from models.limit import Bucket, Shortage


@dataclass(slots=True)
class _Held:
    bucket: Bucket
    tokens: float
    owed: float
    at: float


class LocalBuckets:
    """Buckets by scope, safe for use by several threads.

    Beside what it holds, each remembers what was taken and is not yet earned again:
    that is owed to Dragonfly's bucket when it is back.
    """

    def __init__(
        self, processes: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._part = 0.5 / processes
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._lock = Lock()

    def ask(self, wanted: Sequence[tuple[Bucket, float]]) -> Shortage | None:
        """Take each bucket's tokens, or none and tell which is waited for longest."""
        with self._lock:
            held = [(self._refilled(*one), one[1]) for one in wanted]
            waits = [((n - h.tokens) / self._rate(h.bucket), h) for h, n in held]
            wait_s, slowest = max(waits, key=lambda one: one[0])
            if wait_s > 0:
                # A clock's step is coarser than the last digit of a quotient.
                wait_s = math.ceil(wait_s * 1e6) / 1e6
                return Shortage(slowest.bucket, self._rate(slowest.bucket), wait_s)
            for one, tokens in held:
                one.tokens -= tokens
                one.owed += tokens
            return None

    def give_back(self, unused: Sequence[tuple[Bucket, float]]) -> None:
        """Put back what was not used, up to what a bucket can hold."""
        with self._lock:
            for bucket, tokens in unused:
                one = self._refilled(bucket, tokens)
                one.tokens = min(self._room(bucket, tokens), one.tokens + tokens)
                one.owed = max(0.0, one.owed - tokens)

    def owed(self) -> list[tuple[Bucket, float]]:
        """Return by bucket how many tokens are taken and not yet earned again."""
        with self._lock:
            held = [self._refilled(one.bucket, 0) for one in self._held.values()]
            return [(one.bucket, one.owed) for one in held if one.owed > 0]

    def clear(self) -> None:
        """Forget everything; buckets used later begin empty."""
        with self._lock:
            self._held.clear()

    def _rate(self, bucket: Bucket) -> float:
        return bucket.limit.per_s * self._part

    def _room(self, bucket: Bucket, tokens: float) -> float:
        return max(bucket.limit.burst * self._part, tokens)

    def _refilled(self, bucket: Bucket, tokens: float) -> _Held:
        now = self._clock()
        one = self._held.setdefault(bucket.scope, _Held(bucket, 0.0, 0.0, now))
        earned = (now - one.at) * self._rate(bucket)
        room = max(self._room(bucket, tokens), one.tokens)
        one.bucket, one.at = bucket, now
        one.tokens = min(room, one.tokens + earned)
        one.owed = max(0.0, one.owed - earned)
        return one
