"""Token buckets that all processes share, taken from all levels at once.

Promise: in every window of `w` seconds at most `rate * w + burst` tokens are taken,
by the server's clock, whatever restarts, is wiped or fails over: a bucket whose past
is not known for certain begins empty, which costs at most the time of one burst.

Where Dragonfly does not answer the limit stays bounded, and the caller goes on with
half the rate (see `hot_state.local_buckets`).
"""

import time
from collections.abc import Sequence
from threading import Lock

import redis

from hot_state import keys
from hot_state.client import Script, mark_lifetime
from hot_state.local_buckets import LocalBuckets
from models.errors import NeighbourUnavailableError
from models.limit import Bucket, Limit

#: How long a process relies on its own buckets before it asks Dragonfly again.
AWAY_S = 0.5

_TAKE = Script("take_tokens")


class Limiter:
    """Takes tokens for calls from every bucket that applies, or from none.

    Safe for use by several threads. The client must come from `connect`, which
    tells one run of the server from the next.
    """

    def __init__(
        self, client: redis.Redis, *, share: float = 1.0, processes: int = 1
    ) -> None:
        """Begin without a connection.

        Args:
            client: From `hot_state.client.connect`.
            share: The part of every rate that this region may use; bursts are whole,
                because the grid was cut by them.
            processes: How many share the rates while Dragonfly is away.
        """
        self._client = client
        self._share = share
        self._local = LocalBuckets(processes)
        self._lock = Lock()
        self._away = False
        self._ask_at = 0.0

    def take(self, buckets: Sequence[Bucket], tokens: float) -> float:
        """Return the seconds to wait; 0.0 when the tokens were taken from all.

        Nothing is reserved by waiting: who comes back asks again.

        Raises:
            ValueError: No waiting could help: a bucket's burst is smaller than
                `tokens`, or its rate is not above zero.
        """
        ours = [self._shared(bucket) for bucket in buckets]
        for bucket in ours:
            _check(bucket, tokens)
        if not ours or tokens <= 0:
            return 0.0
        if self._asks_server():
            try:
                return self._take(ours, tokens)
            except NeighbourUnavailableError:
                self._leave()
        return self._local.take(ours, tokens)

    def give_back(self, buckets: Sequence[Bucket], tokens: float) -> None:
        """Put tokens back that were taken and not used, never above the burst.

        While Dragonfly is away they go to this process's own buckets.
        """
        ours = [self._shared(bucket) for bucket in buckets]
        if not ours or tokens <= 0:
            return
        if self._asks_server():
            try:
                self._take(ours, -tokens)
            except NeighbourUnavailableError:
                self._leave()
            else:
                return
        self._local.give_back(ours, tokens)

    def _shared(self, bucket: Bucket) -> Bucket:
        limit = Limit(bucket.limit.per_s * self._share, bucket.limit.burst)
        return Bucket(bucket.scope, limit)

    def _asks_server(self) -> bool:
        with self._lock:
            if not self._away:
                return True
            # One thread asks for all; the others do not wait for its time-out.
            now = time.monotonic()
            asks = now >= self._ask_at
            if asks:
                self._ask_at = now + AWAY_S
        return asks and self._return()

    def _leave(self) -> None:
        with self._lock:
            self._away = True
            self._ask_at = time.monotonic() + AWAY_S

    def _return(self) -> bool:
        # What was let through meanwhile is charged, else a full bucket would come
        # on top of it. An error half-way charges some twice, which errs downwards.
        try:
            mark_lifetime(self._client)
            for bucket, tokens in self._local.owed():
                self._run([bucket], tokens, "owed")
        except NeighbourUnavailableError:
            return False
        with self._lock:
            self._away = False
        self._local.clear()
        return True

    def _take(self, buckets: Sequence[Bucket], tokens: float) -> float:
        wait_us = self._run(buckets, tokens, "all")
        if wait_us >= 0:
            return wait_us / 1e6
        # Dragonfly was wiped: all buckets begin empty at this moment.
        mark_lifetime(self._client)
        return max(tokens / bucket.limit.per_s for bucket in buckets)

    def _run(self, buckets: Sequence[Bucket], tokens: float, mode: str) -> float:
        names = [keys.LIFETIME, *keys.buckets(bucket.scope for bucket in buckets)]
        lifetimes = [keys.LIFETIME_TTL_S, keys.BUCKET_MARGIN_S]
        limits = [
            number
            for bucket in buckets
            for number in (bucket.limit.per_s, bucket.limit.burst)
        ]
        arguments = [repr(float(tokens)), mode, *lifetimes, *map(repr, limits)]
        return float(_TAKE.run(self._client, names, arguments))


def _check(bucket: Bucket, tokens: float) -> None:
    if bucket.limit.per_s <= 0:
        raise ValueError(f"{bucket.scope} lets nothing through: hold it instead.")
    if tokens > bucket.limit.burst:
        raise ValueError(f"{bucket.scope} never holds {tokens} tokens at once.")
