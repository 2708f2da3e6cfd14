"""Token buckets that all processes share, taken from all levels at once.

Promise: in every window of `w` seconds at most `rate * w + burst` tokens are taken,
by the server's clock, whatever restarts, is wiped or fails over: a bucket whose past
is not known for certain begins empty, which costs at most the time of one burst. A
single take that is larger than the burst counts as the burst.

What a provider tells of its own limit lowers a bucket for all processes at once, and
is forgotten after a time. This process remembers it besides, for the time in which
Dragonfly is away or was wiped.

Where Dragonfly does not answer the limit stays bounded, and the caller goes on with
half the rate (see `hot_state.local_buckets`).
"""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock

import redis

from hot_state import keys
from hot_state.client import Script, mark_lifetime
from hot_state.local_buckets import LocalBuckets
from models.errors import NeighbourUnavailableError
from models.limit import Bucket, Limit, Shortage, Told

#: How long a process relies on its own buckets before it asks Dragonfly again.
AWAY_S = 0.5
#: Those who wait get turns within this time; whoever comes later asks again then.
#: It bounds how long a raised limit, or one who does not come back, is not noticed.
TURNS_S = 4.0

_TAKE = Script("take_tokens", after=["read_bucket"])
_HEED = Script("heed_provider", after=["read_bucket"])


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
        self._told: dict[str, tuple[float, float]] = {}

    def take(self, buckets: Sequence[Bucket], tokens: float) -> float:
        """Return the seconds to wait; 0.0 when the tokens were taken, as `ask`."""
        shortage = self.ask(buckets, tokens)
        return shortage.wait_s if shortage else 0.0

    def ask(
        self,
        buckets: Sequence[Bucket],
        recipients: float,
        *,
        requests: float = 0.0,
        first: bool = False,
    ) -> Shortage | None:
        """Take tokens from all buckets, each in what it counts, or tell which is short.

        Nothing is reserved by waiting: who comes back asks again. But each of those
        who are refused is told a time of its own, behind the others'; only who asks
        to be `first` is told when its own tokens come.

        Raises:
            ValueError: No waiting could help: a rate is not above zero.
        """
        wanted = self._wanted(buckets, recipients, requests)
        for bucket, _ in wanted:
            _check(bucket)
        if not wanted:
            return None
        if self._asks_server():
            try:
                return self._ask(wanted, "first" if first else "all")
            except NeighbourUnavailableError:
                self._leave()
        return self._local.ask(wanted)

    def give_back(
        self, buckets: Sequence[Bucket], recipients: float, *, requests: float = 0.0
    ) -> None:
        """Put tokens back that were taken and not used, never above the burst.

        While Dragonfly is away they go to this process's own buckets.
        """
        wanted = self._wanted(buckets, recipients, requests)
        if not wanted:
            return
        if self._asks_server():
            try:
                self._run([(bucket, -tokens) for bucket, tokens in wanted], "all")
            except NeighbourUnavailableError:
                self._leave()
            else:
                return
        self._local.give_back(wanted)

    def heed(self, bucket: Bucket, told: Told) -> None:
        """Lower a bucket by what its provider told; its next word may raise it again.

        Never above the bucket's ceiling. Dragonfly away: only this process knows, and
        a pause is left to the chunk that met it.
        """
        if told.per_s is not None:
            ends = time.monotonic() + told.for_s
            self._told[bucket.scope] = (told.per_s, ends)
        if self._asks_server():
            try:
                self._heed(self._of_region(bucket), told)
            except NeighbourUnavailableError:
                self._leave()

    def limit_of(self, bucket: Bucket) -> Limit:
        """Return a bucket's limit as far as this process knows what was told of it."""
        return self._now(bucket).limit

    def _wanted(
        self, buckets: Sequence[Bucket], recipients: float, requests: float
    ) -> list[tuple[Bucket, float]]:
        amounts = ((bucket, bucket.amount(recipients, requests)) for bucket in buckets)
        return [(self._now(bucket), tokens) for bucket, tokens in amounts if tokens > 0]

    def _now(self, bucket: Bucket) -> Bucket:
        """Return the region's part of a bucket, lowered by what was told here."""
        ours = self._of_region(bucket)
        told = self._told.get(bucket.scope)
        if told is None:
            return ours
        per_s, ends = told
        if time.monotonic() > ends:
            self._told.pop(bucket.scope, None)
            return ours
        per_s = min(per_s * self._share, ours.most_per_s)
        return replace(ours, limit=ours.limit.at_rate(per_s))

    def _of_region(self, bucket: Bucket) -> Bucket:
        if self._share == 1.0:
            return bucket
        limit = Limit(bucket.limit.per_s * self._share, bucket.limit.burst)
        ceiling_per_s = bucket.most_per_s * self._share
        return replace(bucket, limit=limit, ceiling_per_s=ceiling_per_s)

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
            for owed in self._local.owed():
                self._run([owed], "owed")
        except NeighbourUnavailableError:
            return False
        with self._lock:
            self._away = False
        self._local.clear()
        return True

    def _ask(
        self, wanted: Sequence[tuple[Bucket, float]], mode: str
    ) -> Shortage | None:
        answer = self._run(wanted, mode)
        if answer == b"0":
            return None
        if answer == b"-1":
            # Dragonfly was wiped: all buckets begin empty at this moment.
            mark_lifetime(self._client)
            waits = [(tokens / one.limit.per_s, one) for one, tokens in wanted]
            wait_s, bucket = max(waits, key=lambda one: one[0])
            return Shortage(bucket, bucket.limit.per_s, wait_s)
        wait_us, place, per_s = answer.split()
        wait_s = int(wait_us) / 1e6
        if wait_s == TURNS_S:
            # Nobody's turn: they shall not come back together either.
            wait_s *= random.uniform(0.75, 1.25)  # noqa: S311 - it hides nothing
        return Shortage(wanted[int(place)][0], float(per_s), wait_s)

    def _run(self, wanted: Sequence[tuple[Bucket, float]], mode: str) -> bytes:
        names = keys.buckets(bucket.scope for bucket, _ in wanted)
        limits = [
            repr(float(number))
            for bucket, tokens in wanted
            for number in (
                bucket.limit.per_s,
                bucket.limit.burst,
                bucket.most_per_s,
                tokens,
            )
        ]
        times = (keys.LIFETIME_TTL_S, keys.BUCKET_MARGIN_S, int(TURNS_S * 1e6))
        answer = _TAKE.run(
            self._client, [keys.LIFETIME, *names], [mode, *times, *limits]
        )
        return bytes(answer)

    def _heed(self, bucket: Bucket, told: Told) -> None:
        numbers = (
            keys.BUCKET_MARGIN_S,
            bucket.limit.per_s,
            bucket.limit.burst,
            bucket.most_per_s,
            (told.per_s or 0.0) * self._share,
            told.for_s,
            told.pause_s,
        )
        names = [keys.LIFETIME, *keys.buckets([bucket.scope])]
        _HEED.run(self._client, names, [repr(float(number)) for number in numbers])


def _check(bucket: Bucket) -> None:
    if bucket.limit.per_s <= 0:
        raise ValueError(f"{bucket.scope} lets nothing through: hold it instead.")
